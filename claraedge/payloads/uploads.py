"""Uploads: files on their way into a payload, which become visible together or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from claraedge import memory
from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread, to_its_end, wait_out
from claraedge.errors import (
    ClaraedgeError,
    InvalidRequestError,
    PayloadNotFoundError,
    PayloadStateError,
    StorageFullError,
)
from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.ids import NewId
from claraedge.payloads import records
from claraedge.payloads.chunks import Chunks, ChunkWriter
from claraedge.payloads.model import Payload, PayloadFile, input_prefix, stored_mode
from claraedge.payloads.names import below, check_depth, normalise
from claraedge.payloads.records import ANY, Condition
from claraedge.payloads.tree import PayloadTree, disposable_blob
from claraedge.store import disposable
from claraedge.store.database import Database, Transaction

#: Returns why nothing new may be stored now, as a text; None where it may.
BlockedBy: TypeAlias = Callable[[], str | None]

#: Bytes of memory for each file of a stream until its end, in addition to its name and chunks.
_FILE = 280


def refuse_blocked(blocked_by: BlockedBy) -> None:
    """Raises StorageFullError where nothing new may be stored now."""
    why = blocked_by()
    if why is not None:
        raise StorageFullError(
            f"no upload is taken now: {why}; free some space, or wait for it, and try again"
        )


def record(
    tx: Transaction,
    payload: str,
    waiting: str,
    files: Iterable[PayloadFile],
    condition: Condition,
) -> list[bytes]:
    """Makes stored files visible, whose blobs are recorded as disposable by the path `waiting`.

    Returns the blobs that they replace, as `records.put_files` does. Raises what `Upload.commit`
    raises.
    """
    records.refuse_sealed(records.get(tx, payload, with_files=False))
    disposable.drop(tx, [waiting])

    def checked() -> Iterator[PayloadFile]:
        for file in files:
            records.refuse_changed(tx, payload, file.name, condition)
            yield file

    return records.put_files(tx, payload, checked())


async def forget(database: Database, paths: Sequence[str]) -> None:
    """Drops the records of what was removed; the next start drops those that remain."""
    with contextlib.suppress(ClaraedgeError):
        await database.write(lambda tx: disposable.drop(tx, paths))


class _Part:
    """One file of an open upload. A stream may contain very many, so it is kept small."""

    __slots__ = ("blob", "mode", "number", "size")

    def __init__(self, number: int, mode: int) -> None:
        self.number = number
        """Number of its file in the upload's folder."""
        self.mode = mode
        self.size = 0
        self.blob: bytes | None = None
        """Set once its file is one of the payload's blobs, which no row names yet."""

    def file(self, name: str) -> PayloadFile:
        """Returns the file as it is recorded under this name."""
        assert self.blob is not None, "stored before it is recorded"
        return PayloadFile(name=name, size=self.size, mode=self.mode, blob=self.blob)


class Upload:
    """Files on their way into a payload. All of them become visible at `commit`, or none.

    Source: Clara 0.8.1, Payloads Upload: a job's payload keeps them below `input/`; chunks with the
    same name are appended, a name that existed before is replaced.
    """

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        payload: Payload,
        key: str,
        blocked_by: BlockedBy,
        changing: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        """`changing` is entered while the payload's files change."""
        self._blocked_by = blocked_by
        self._changing = changing
        self._database = database
        self._tree = tree
        self._payload = payload
        self._key = key
        self._folder = tree.uploads / key
        self.prefix = input_prefix(payload.type)
        """What all stored names begin with, in addition to those that are written."""
        self._parts: dict[str, _Part] = {}
        self._sent_name = ""
        """The name in the last chunk, as the client wrote it."""
        self._last: str | None = None
        self._writer = ChunkWriter(self._folder)
        self._noted = False
        """Whether its blobs, which no row names yet, are recorded as disposable."""
        self._committing: asyncio.Task[PayloadFile] | None = None
        self.replaced = False
        """Whether its commit has replaced files."""

    async def __aenter__(self) -> Self:
        try:
            await in_cancellable_thread(self._open)
        except BaseException:  # `__aexit__` is not called then
            await self._clean()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            try:
                if self._committing is not None:
                    await wait_out(self._committing)
            finally:
                await self._writer.stop()
        finally:
            await self._clean()

    async def write(self, name: str, mode: int, data: bytes) -> None:
        """Appends a chunk to a file.

        Raises StorageFullError as `Payloads.upload` does, and InvalidFileNameError.
        """
        refuse_blocked(self._blocked_by)
        if self._last is None or name != self._sent_name:
            self._last = self.prefix + check_depth(normalise(name))
            self._sent_name = name
            if self._last not in self._parts:
                memory.take(sys.getsizeof(self._last) + _FILE)
                self._parts[self._last] = _Part(len(self._parts), stored_mode(mode))
        part = self._parts[self._last]
        part.size += len(data)
        if data:
            await self._writer.write(part.number, data)

    async def commit(self, condition: Condition = ANY) -> PayloadFile:
        """Makes all files durable and visible; returns the one that was written last.

        `condition`: for each file. Raises InvalidRequestError for an upload without a file,
        PayloadNotFoundError, PayloadStateError if its job was started or cancelled,
        FileCollisionError if a name would be both a file and a folder, FileChangedError, and
        StorageFullError if the disk is full.
        """
        if self._last is None:
            raise InvalidRequestError(
                f"the upload to the payload {self._payload.id} holds no message, so it names no"
                " file; an empty file needs one message with its name"
            )
        mine = [self._disposable]
        await self._database.write(lambda tx: disposable.add(tx, mine))
        self._noted = True
        rest = await self._writer.rest()
        try:
            await in_cancellable_thread(self._store, rest)
        except FileNotFoundError:  # the payload was deleted meanwhile: report that
            await self._database.read(lambda tx: records.get(tx, self._payload.id))
            raise
        # Run this to its end even if the caller is cancelled: it may be committed already.
        self._committing = asyncio.create_task(self._record(self._last, condition))
        return await asyncio.shield(self._committing)

    async def _record(self, last: str, condition: Condition) -> PayloadFile:
        def work(tx: Transaction) -> list[bytes]:
            found = (part.file(name) for name, part in self._parts.items())
            return record(tx, self._payload.id, self._disposable, found, condition)

        file = self._parts[last].file(last)
        try:
            with self._changing(self._payload.id):
                replaced = await self._database.write(work)
        except asyncio.CancelledError:
            # When the daemon ends, it may be committed; the sweep at the next start finds out.
            self._parts = {}
            self._noted = False
            raise
        self._parts = {}
        self._noted = False
        self.replaced = bool(replaced)
        if replaced:
            await in_thread(self._tree.discard, self._payload.id, replaced)
            await forget(
                self._database, [disposable_blob(self._payload.id, blob) for blob in replaced]
            )
        return file

    async def _clean(self) -> None:
        """Removes all that did not become visible."""
        await to_its_end(in_thread(self._remove))
        if self._noted:
            await to_its_end(forget(self._database, [self._disposable]))

    @property
    def _disposable(self) -> str:
        """The path that represents all blobs of this upload."""
        return disposable_blob(self._payload.id, b"blobs/" + self._key.encode())

    # --- in threads --------------------------------------------------------------------------

    def _open(self, flag: CancelFlag) -> None:
        flag.check()
        self._folder.mkdir(0o700)

    def _store(self, flag: CancelFlag, rest: Mapping[int, Chunks]) -> None:
        """Makes all files durable with their final modes, and turns them into blobs."""
        for part in self._parts.values():
            flag.check()
            path = self._folder / str(part.number)
            files.append(path, rest.get(part.number, ()))  # creates it if it is empty
            path.chmod(part.mode & 0o777 | 0o444)
            files.sync_file(path)
            part.blob = self._tree.adopt(
                self._payload.id,
                path,
                mode=part.mode,
                keep=False,
                name=f"{self._key}-{part.number}",
            )
        self._tree.sync_blobs(self._payload.id)

    def _remove(self) -> None:
        self._writer.close()
        stored = [part.blob for part in self._parts.values() if part.blob is not None]
        self._tree.discard(self._payload.id, stored)
        remove(self._folder)


class PayloadDestination:
    """Payloads as the destination of uploads that can be continued."""

    ended = (PayloadNotFoundError, PayloadStateError)

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        new_id: NewId,
        changing: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        """`changing` is entered while the files of a payload change."""
        self._database = database
        self._tree = tree
        self._new_id = new_id
        self._changing = changing

    async def accept(self, place: str, name: str) -> str:
        """Returns the name under which a file will be stored.

        Raises PayloadNotFoundError, PayloadStateError, and InvalidFileNameError.
        """
        found = await self._database.read(lambda tx: records.get(tx, place, with_files=False))
        records.refuse_sealed(found)
        return check_depth(below(input_prefix(found.type), normalise(name)))

    async def refuse_ended(self, place: str) -> None:
        """Raises PayloadNotFoundError, or PayloadStateError if it accepts no files any more."""
        found = await self._database.read(lambda tx: records.get(tx, place, with_files=False))
        records.refuse_sealed(found)

    async def publish(
        self, place: str, file: PayloadFile, data: Path, condition: Condition
    ) -> tuple[PayloadFile, bool]:
        """Makes a file visible, as `Destination.publish` says. Raises what `Upload.commit`
        raises.
        """
        key = self._new_id()
        file = replace(file, blob=b"blobs/" + key.encode())
        waiting = disposable_blob(place, file.blob)

        def work(tx: Transaction) -> list[bytes]:
            return record(tx, place, waiting, [file], condition)

        await self._database.write(lambda tx: disposable.add(tx, [waiting]))
        try:
            await in_cancellable_thread(self._store, place, file.mode, data, key)
            with self._changing(place):
                replaced = await self._database.write(work)
        except Exception as error:
            await in_thread(self._tree.discard, place, [file.blob])
            await forget(self._database, [waiting])
            if isinstance(error, FileNotFoundError):  # the payload was deleted meanwhile
                await self.refuse_ended(place)
            raise
        with contextlib.suppress(OSError):  # the next start removes them
            await in_thread(self._tree.discard, place, replaced)
            await forget(self._database, [disposable_blob(place, blob) for blob in replaced])
        return file, bool(replaced)

    def _store(self, _: CancelFlag, payload: str, mode: int, data: Path, key: str) -> None:
        data.chmod(files.readable(mode))
        files.sync_file(data)
        # By a link: a crash before the commit leaves the upload as it is.
        self._tree.adopt(payload, data, mode=mode, keep=True, name=key)
        self._tree.sync_blobs(payload)
