"""Creates, fills, reads and deletes payloads, for the API and the engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from io import FileIO
from pathlib import Path
from weakref import WeakValueDictionary

from claraedge import metadata
from claraedge.blocking import in_cancellable_thread, in_thread, to_its_end
from claraedge.bugs import known
from claraedge.clock import Clock, boot_id
from claraedge.errors import (
    ClaraedgeError,
    DamagedFileError,
    PayloadNotFoundError,
    PayloadStateError,
    SetAsideError,
    StorageFullError,
)
from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.ids import NewId
from claraedge.payloads import records
from claraedge.payloads.links import Also, add_link
from claraedge.payloads.lists import Lists
from claraedge.payloads.model import Payload, PayloadFile, PayloadType
from claraedge.payloads.names import folder_name, normalise
from claraedge.payloads.readers import Readers
from claraedge.payloads.resumable import ResumableUploads
from claraedge.payloads.tree import PayloadTree, disposable_blob
from claraedge.payloads.uploads import BlockedBy, PayloadDestination, Upload, refuse_blocked
from claraedge.store import disposable as disposables
from claraedge.store.database import Database, Row, Transaction
from claraedge.store.pages import Listing, pages
from claraedge.suspects import UNRECORDED, Suspects, Work

_log = logging.getLogger(__name__)

#: Makes a tree that containers wrote belong to this user again: the runner's `reclaim`.
Reclaim = Callable[[Path], Awaitable[None]]

#: Attempts to open a file that uploads may replace at the same time.
_TRIES = 5
#: Bytes of memory for a listed file, in addition to its name.
_FILE = 400


class Payloads:
    """Creates, fills, reads and deletes payloads.

    A call that uses the database also raises what `Database.read` and `Database.write` raise.
    """

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        clock: Clock,
        new_id: NewId,
        reclaim: Reclaim | None = None,
        *,
        blocked_by: BlockedBy = lambda: None,
        suspects: Suspects = UNRECORDED,
    ) -> None:
        """`reclaim`: None where no containers run, so that no file belongs to another user.

        `blocked_by` returns why no upload may continue; None where it may.
        """
        self.tree = tree
        self.readers = Readers(clock)
        self._lists = Lists()
        self._blocked_by = blocked_by
        self._suspects = suspects
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._reclaim = reclaim
        self._from_before: set[str] = set()
        """Payloads of unfinished jobs from before this start, which are not checked yet."""
        self._damaged: dict[str, str] = {}
        self.resumable = ResumableUploads(
            tree.resumable,
            PayloadDestination(database, tree, new_id, self._lists.changing),
            clock,
            new_id,
            blocked_by,
            boot_id(),
        )
        self._materialising: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def prepare(self) -> None:
        """Prepares the start: creates folders, and removes what interrupted uploads left."""
        names = await in_thread(self.tree.names)
        found = await self._database.read(lambda tx: records.named(tx, names))
        disposable = await self._database.read(lambda tx: disposables.of(tx, "payloads"))
        deleted = {f"payloads/{payload}" for payload in found.deleted}
        await in_thread(
            self.tree.prepare,
            found.known,
            disposable=disposable | deleted,
            claimed=found.claimed,
        )

        def stored(tx: Transaction) -> list[Payload]:
            return [records.get(tx, row["id"]) for row in tx.rows("open_payloads")]

        payloads = await self._database.read(stored)
        self._from_before = {payload.id for payload in payloads}
        for payload, why in await in_thread(self._sweep, payloads, disposable):
            _log.error("a file is damaged: %s", why, extra={"payload": payload})
            self._damaged.setdefault(payload, why)
        await self.resumable.prepare()
        if disposable:
            with contextlib.suppress(StorageFullError):  # the next start drops them
                await self._database.write(lambda tx: disposables.drop_all(tx, "payloads"))

    def _sweep(
        self, payloads: Iterable[Payload], disposable: Collection[str]
    ) -> list[tuple[str, str]]:
        """Removes blobs without a row; returns payloads with what is wrong with their files."""
        damaged = []
        for payload in payloads:
            self.tree.sweep(payload.id, [file.blob for file in payload.files], disposable)
            damaged += [(payload.id, why) for why in self.tree.damage(payload.id, payload.files)]
        return damaged

    def warnings(self) -> Sequence[str]:
        """Returns payloads that were found damaged at the start, for `claraedge status`."""
        return [
            f"the payload {payload} is damaged: {why}; a job of it fails. Send its files again, and"
            " check `dmesg` for errors of the disk"
            for payload, why in self._damaged.items()
        ]

    async def create(
        self,
        entries: Mapping[str, str],
        also: Callable[[Transaction, str], None] = lambda _tx, _payload: None,
    ) -> Payload:
        """Creates an empty, reusable payload with this metadata. Raises InvalidMetadataError.

        `also` is called in the same transaction, with the id of the payload.
        """
        checked = metadata.check(entries)
        payload = self._new_id()
        await in_thread(self.tree.make, payload)

        def work(tx: Transaction) -> Payload:
            records.add(tx, payload, PayloadType.REUSABLE, self._clock.now())
            metadata.add(tx, payload, checked)
            also(tx, payload)
            return records.get(tx, payload)

        try:
            return await self._database.write(work)
        except (ClaraedgeError, sqlite3.Error):
            await in_thread(self.tree.remove, payload)
            raise

    async def get(self, payload: str, *, with_files: bool = True) -> Payload:
        """Returns the payload; its files are ordered by the bytes of their names.

        Raises PayloadNotFoundError.
        """
        return await self._database.read(lambda tx: records.get(tx, payload, with_files=with_files))

    async def find(self, payload: str, name: str) -> tuple[PayloadFile, Path]:
        """Returns the file that a client means by `name`, and the path of its content.

        Raises PayloadNotFoundError, InvalidFileNameError, FileNotFoundInPayloadError,
        AmbiguousFileNameError.
        """
        wanted = normalise(name)
        file = await self._database.read(lambda tx: records.find_file(tx, payload, wanted))
        return file, self.tree.path(payload, file)

    async def files(self, payload: str) -> AsyncGenerator[PayloadFile, None]:
        """Yields the files of a payload, ordered by the bytes of their names.

        Raises PayloadNotFoundError, and PayloadStateError where a client changes them while a list
        of more than one page is read.
        """
        with self._lists.listing(payload) as one:
            listing = Listing(
                rows=lambda tx, after: tx.each("payload_files_after", payload=payload, after=after),
                key="name",
                first="",
                read=lambda _, row: records.of_row(row),
                cost=lambda file: _FILE + len(file.name),
                check=one.check,
            )
            async with aclosing(pages(self._database, listing)) as found:
                async for file in found:
                    yield file

    async def inside(
        self, payload: str, folder: str, *, deep: bool, after: str = ""
    ) -> AsyncGenerator[PayloadFile | str, None]:
        """Yields what a folder contains, ordered by the bytes of the names: files, and for each
        folder its name. `deep`: all files below it, and no folders. `after`: only what follows it.

        `folder`: empty for the root; a folder that no file lies in yields nothing. Raises as
        `files` does, and InvalidFileNameError.
        """
        folder = folder_name(folder)
        root = f"{folder}/" if folder else ""
        end = f"{folder}0" if folder else "\U0010ffff"  # 0 is the character after a slash

        def entry(row: Row) -> PayloadFile | str:
            name = row["name"]
            at = -1 if deep else name.find("/", len(root))
            return records.of_row(row) if at < 0 else name[:at]

        def rows(tx: Transaction, last: str | int) -> Iterator[Row]:
            if deep:
                return tx.each("payload_files_in", payload=payload, after=last, end=end)
            if last == after and tx.row("payload_file", payload=payload, name=last) is None:
                last = f"{last}/"  # it is a folder
            return records.entries(tx, payload, root, str(last))

        with self._lists.listing(payload) as one:
            listing = Listing(
                rows=rows,
                key="name",
                first=max(root, after),
                read=lambda _, row: entry(row),
                cost=lambda found: _FILE + len(found if isinstance(found, str) else found.name),
                check=one.check,
            )
            async with aclosing(pages(self._database, listing)) as found:
                async for file in found:
                    yield file

    async def open(self, payload: str, name: str) -> tuple[PayloadFile, FileIO]:
        """Returns the file that a client means by `name`, and its opened content; the caller closes
        it.

        Raises what `find` raises, and DamagedFileError where the content is missing or has another
        size.
        """
        for _ in range(_TRIES):
            file, path = await self.find(payload, name)
            why = await in_thread(self.tree.why_damaged, payload, file)
            if why is None:
                with contextlib.suppress(FileNotFoundError):  # another upload replaced it meanwhile
                    return file, await in_thread(_open, path)
        raise DamagedFileError(
            f"the file {file.name!r} of the payload {payload} is damaged: {why or 'it is gone'}. A"
            " power cut or a failing disk does that, see `dmesg`; send the file again"
        )

    async def stat(self, payload: str, name: str) -> tuple[str, PayloadFile | None, float]:
        """Returns the stored name of a file or folder; the file (None: a folder), and the Unix
        seconds at which its content was changed last.

        A name that is empty or ends with a slash is that of a folder. Raises what `open` raises.
        """
        wanted, folder = folder_name(name), name.endswith("/")
        file = await self._database.read(
            lambda tx: records.find_entry(tx, payload, wanted, folder=folder)
        )
        if file is None:
            return wanted, None, 0.0
        file, content = await self.open(payload, wanted)
        with content:
            return file.name, file, os.fstat(content.fileno()).st_mtime

    async def remove_file(self, payload: str, name: str) -> None:
        """Removes the file that a client means by `name`, by the name rules of `find`.

        Raises what `find` raises, and PayloadStateError once its job was started.
        """
        wanted = normalise(name)

        async def remove() -> None:
            with self._lists.changing(payload):
                blob = await self._database.write(
                    lambda tx: records.remove_file(tx, payload, wanted)
                )
            await self.discard_blobs(payload, [blob])

        await to_its_end(remove())  # no blob without its row

    async def delete(self, payload: str) -> None:
        """Deletes a payload permanently: a reusable one at any time, a job's once nothing needs it.

        Raises PayloadNotFoundError, and PayloadStateError if its job has not stopped or its results
        are not delivered.
        """

        def work(tx: Transaction) -> None:
            records.refuse_needed(tx, payload)
            records.delete(tx, payload, self._clock.now())

        async def remove() -> None:
            await self._database.write(work)
            _log.info("payload deleted", extra={"payload": payload})
            await self.discard([payload])

        await to_its_end(remove())  # as above

    async def delete_unneeded(self, payloads: Sequence[str]) -> frozenset[str]:
        """Deletes those payloads that nothing needs, in one transaction; returns their ids."""

        def work(tx: Transaction) -> frozenset[str]:
            gone = set()
            for payload in payloads:
                try:
                    records.refuse_needed(tx, payload)
                except (PayloadNotFoundError, PayloadStateError):
                    continue
                records.delete(tx, payload, self._clock.now())
                gone.add(payload)
            return frozenset(gone)

        async def remove() -> frozenset[str]:
            gone = await self._database.write(work)
            await self.discard(sorted(gone))
            return gone

        return await to_its_end(remove())  # as above

    async def discard_blobs(self, payload: str, blobs: Sequence[bytes]) -> None:
        """Removes blobs that are recorded as disposable, and then their records."""
        await in_thread(self.tree.discard, payload, blobs)
        paths = [disposable_blob(payload, blob) for blob in blobs]
        with contextlib.suppress(ClaraedgeError):  # the next start drops the record
            await self._database.write(lambda tx: disposables.drop(tx, paths))

    async def discard(self, payloads: Collection[str]) -> None:
        """Removes the files of payloads whose deletion is committed. What cannot be removed now is
        tried again later.

        After a crash, `prepare` and `empty` remove the rest.
        """
        for payload in payloads:
            self._damaged.pop(payload, None)
            await in_thread(self.tree.move_to_removed, payload)
        await self.resumable.discard(frozenset(payloads))
        await self.empty()

    async def empty(self) -> None:
        """Removes the files of deleted payloads, including those that belong to users of
        containers.
        """
        for leftover in await in_thread(lambda: sorted(self.tree.removed.iterdir())):
            try:
                async with self._suspects.during(Work.REMOVAL, leftover.name):
                    if self._reclaim is not None and await in_thread(files.has_foreign, leftover):
                        await self._reclaim(leftover)
                    await in_thread(remove, leftover)
            except SetAsideError:
                continue  # `claraedge status` shows it
            except FileNotFoundError:
                continue  # another call empties the folder as well
            except Exception as error:  # noqa: BLE001 - only this removal fails
                why = known(error, "the removal of a payload", payload=leftover.name[:32])
                _log.warning("%s cannot be removed now: %s; tried again later", leftover, why)

    async def add_metadata(self, payload: str, entries: Mapping[str, str]) -> dict[str, str]:
        """Adds entries to a reusable payload; returns the complete set. See `metadata.merge`.

        Raises PayloadNotFoundError, PayloadStateError for a job's payload, InvalidMetadataError.
        """

        def work(tx: Transaction) -> dict[str, str]:
            records.refuse_job(records.get(tx, payload, with_files=False))
            return metadata.merge(tx, payload, entries)

        return await self._database.write(work)

    async def remove_metadata(self, payload: str, keys: Iterable[str]) -> dict[str, str]:
        """Removes keys of a reusable payload; returns the remaining entries. See `metadata.remove`.

        Raises PayloadNotFoundError, PayloadStateError for a job's payload.
        """

        def work(tx: Transaction) -> dict[str, str]:
            records.refuse_job(records.get(tx, payload, with_files=False))
            return metadata.remove(tx, payload, keys)

        return await self._database.write(work)

    async def materialise(self, payload: str) -> None:
        """Creates the folder that containers read as the job's input; concurrent calls create it
        once.

        Raises PayloadNotFoundError, and DamagedFileError where a file of the payload differs from
        what was stored. The daemon may have been started after a power cut: files from before the
        start are read and compared, once.
        """
        lock = self._materialising.setdefault(payload, asyncio.Lock())
        async with lock:
            found = await self.get(payload)
            inputs = [file for file in found.files if file.name.startswith("input/")]
            before = payload in self._from_before
            await in_cancellable_thread(
                self.tree.refuse_damaged, payload, found.files if before else inputs, deep=before
            )
            self._from_before.discard(payload)
            await in_cancellable_thread(self.tree.materialise, payload, inputs)

    async def add_link(
        self, payload: str, source: Path, name: str, *, key: str, also: Also
    ) -> PayloadFile:
        """Adds a file of this machine, as `links.add_link` does."""
        changing = self._lists.changing
        return await add_link(
            self._database, self.tree, changing, payload, source, name, key=key, also=also
        )

    async def upload(self, payload: str) -> Upload:
        """Opens an upload: `async with await payloads.upload(id) as upload`.

        Raises PayloadNotFoundError, PayloadStateError, and StorageFullError while the disk is low.
        """
        found = await self._database.read(lambda tx: records.get(tx, payload, with_files=False))
        records.refuse_sealed(found)
        refuse_blocked(self._blocked_by)
        return Upload(
            self._database, self.tree, found, self._new_id(), self._blocked_by, self._lists.changing
        )


def _open(path: Path) -> FileIO:
    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW)

    return FileIO(path, "r", opener=opener)
