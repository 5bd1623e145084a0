"""Uploads: files on their way into a payload, which appear together or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread, to_its_end, wait_out
from claraedge.errors import ClaraedgeError, InvalidRequestError, StorageFullError
from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.payloads import records
from claraedge.payloads.model import Payload, PayloadFile, PayloadType, stored_mode
from claraedge.payloads.names import check_depth, normalise
from claraedge.payloads.tree import PayloadTree, disposable_blob
from claraedge.store import disposable
from claraedge.store.database import Database, Transaction

#: Why nothing new may be stored now, in words; None: it may.
Held: TypeAlias = Callable[[], str | None]

#: Bytes of one file, and of all files of a stream, that are kept in memory before they are written.
_BUFFER = 256 * 1024
_BUFFERS = 4 * _BUFFER
#: A chunk of so many bytes is written as it comes.
_LARGE = 64 * 1024
#: Memory for the names of one stream's files, each with what is kept beside it.
_NAMES = 16 * 1024 * 1024
_NAME_COST = 200


def refuse_held(held: Held) -> None:
    """Raises StorageFullError where nothing new may be stored now."""
    why = held()
    if why is not None:
        raise StorageFullError(
            f"no upload is taken now: {why}; free some space, or wait for it, and try again"
        )


class _Part:
    """One file of an upload that is still open."""

    def __init__(self, path: Path, mode: int) -> None:
        self.path = path
        self.mode = mode
        self.size = 0
        self.buffer = bytearray()

    def append(self, flag: CancelFlag, data: bytes) -> None:
        """Appends a chunk, past the buffer."""
        flag.check()
        files.append(self.path, data)

    def write(self) -> None:
        """Appends the buffer. No file stays open: a stream may hold more files than we may open."""
        files.append(self.path, self.buffer)
        self.buffer.clear()

    def finish(self) -> None:
        """Makes it durable, with the mode that it will have."""
        self.write()
        self.path.chmod(self.mode & 0o777 | 0o444)
        files.sync_file(self.path)


class Upload:
    """Files on their way into a payload. All appear together at `commit`, or none.

    Source: Clara 0.8.1, Payloads Upload: a job's payload takes them below `input/`; chunks of one
    name append, a name that was there before is replaced.
    """

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        payload: Payload,
        key: str,
        held: Held,
    ) -> None:
        self._held = held
        self._database = database
        self._tree = tree
        self._payload = payload
        self._key = key
        self._folder = tree.uploads / key
        self._prefix = "input/" if payload.type is PayloadType.PIPELINE else ""
        self._parts: dict[str, _Part] = {}
        self._last: str | None = None
        self._buffered = 0
        self._names = 0
        self._stored: dict[str, PayloadFile] = {}
        """Blobs that no row names yet."""
        self._noted = False
        """Whether that is recorded."""
        self._committing: asyncio.Task[PayloadFile] | None = None

    async def __aenter__(self) -> Self:
        try:
            await in_cancellable_thread(self._open)
        except BaseException:  # no `__aexit__` follows
            await self._clean()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._committing is not None:
            await wait_out(self._committing)
        await self._clean()

    async def write(self, name: str, mode: int, data: bytes) -> None:
        """Appends a chunk to a file. Raises StorageFullError as `Payloads.upload`."""
        refuse_held(self._held)
        stored = self._prefix + check_depth(normalise(name))
        part = self._parts.get(stored)
        if part is None:
            self._names += len(stored) + _NAME_COST
            if self._names > _NAMES:
                raise InvalidRequestError(
                    f"the upload names more files than one stream may ({len(self._parts)} so far);"
                    " use several uploads"
                )
            path = self._folder / str(len(self._parts))
            part = self._parts[stored] = _Part(path, stored_mode(mode))
        self._last = stored
        part.size += len(data)
        # What is written is written to its end, also for a caller that goes away: the folder is
        # removed after it.
        if len(data) >= _LARGE and not part.buffer:
            await in_cancellable_thread(part.append, data)
            return
        part.buffer += data
        self._buffered += len(data)
        if len(part.buffer) >= _BUFFER or self._buffered >= _BUFFERS:
            await in_cancellable_thread(self._flush)

    async def commit(self) -> PayloadFile:
        """Makes all files durable and visible; returns the one that was written last."""
        if self._last is None:
            raise InvalidRequestError(
                "the upload holds no message, so it names no file; an empty file needs one message"
                " with its name"
            )
        mine = [self._disposable]
        await self._database.write(lambda tx: disposable.add(tx, mine))
        self._noted = True
        try:
            await in_cancellable_thread(self._store)
        except FileNotFoundError:  # the payload was deleted meanwhile: say so
            await self._database.read(lambda tx: records.get(tx, self._payload.id))
            raise
        # From here to its end, even if the caller goes away: it may be committed already.
        self._committing = asyncio.create_task(self._record(self._last))
        return await asyncio.shield(self._committing)

    async def _record(self, last: str) -> PayloadFile:
        def work(tx: Transaction) -> list[bytes]:
            records.refuse_sealed(records.get(tx, self._payload.id, with_files=False))
            disposable.drop(tx, [self._disposable])
            return records.put_files(tx, self._payload.id, self._stored.values())

        try:
            replaced = await self._database.write(work)
        except asyncio.CancelledError:
            # At the daemon's end: it may be committed, and the sweep of the next start knows.
            self._stored = {}
            self._noted = False
            raise
        file = self._stored[last]
        self._stored = {}
        self._noted = False
        if replaced:
            await in_thread(self._tree.discard, self._payload.id, replaced)
            await self._forget([disposable_blob(self._payload.id, blob) for blob in replaced])
        return file

    async def _clean(self) -> None:
        """Removes all that did not become visible."""
        await to_its_end(in_thread(self._remove))
        if self._noted:
            await to_its_end(self._forget([self._disposable]))

    @property
    def _disposable(self) -> str:
        """Stands for all its blobs."""
        return disposable_blob(self._payload.id, b"blobs/" + self._key.encode())

    async def _forget(self, paths: Sequence[str]) -> None:
        """What is removed needs no record; one that stays is forgotten at the next start."""
        with contextlib.suppress(ClaraedgeError):
            await self._database.write(lambda tx: disposable.drop(tx, paths))

    # --- in threads --------------------------------------------------------------------------

    def _open(self, flag: CancelFlag) -> None:
        flag.check()
        self._folder.mkdir(0o700)

    def _store(self, flag: CancelFlag) -> None:
        for number, (name, part) in enumerate(self._parts.items()):
            flag.check()
            part.finish()
            blob = self._tree.adopt(
                self._payload.id,
                part.path,
                mode=part.mode,
                keep=False,
                name=f"{self._key}-{number}",
            )
            self._stored[name] = PayloadFile(name=name, size=part.size, mode=part.mode, blob=blob)
        self._tree.sync_blobs(self._payload.id)

    def _remove(self) -> None:
        self._tree.discard(self._payload.id, [file.blob for file in self._stored.values()])
        remove(self._folder)

    def _flush(self, flag: CancelFlag) -> None:
        for part in self._parts.values():
            flag.check()
            if part.buffer:
                part.write()
        self._buffered = 0
