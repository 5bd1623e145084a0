"""Payloads, as the API and the engine use them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from claraedge import files, metadata
from claraedge.blocking import in_cancellable_thread, in_thread
from claraedge.clock import Clock
from claraedge.errors import InvalidRequestError
from claraedge.ids import NewId
from claraedge.payloads import records
from claraedge.payloads.model import Payload, PayloadFile, PayloadType, stored_mode
from claraedge.payloads.names import normalise
from claraedge.payloads.tree import PayloadTree
from claraedge.store.database import Database, Transaction

_BUFFER = 1024 * 1024


class Payloads:
    """Creates, fills and reads payloads."""

    def __init__(self, database: Database, tree: PayloadTree, clock: Clock, new_id: NewId) -> None:
        self.tree = tree
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._materialising: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def prepare(self) -> None:
        """At start: folders, and an end to what broken streams left."""
        await in_thread(self.tree.prepare)

        def named(tx: Transaction) -> dict[str, list[bytes]]:
            return {
                row["id"]: [bytes(r["blob"]) for r in tx.rows("payload_blobs", payload=row["id"])]
                for row in tx.rows("unsealed_payloads")
            }

        for payload, blobs in (await self._database.read(named)).items():
            await in_thread(self.tree.sweep, payload, blobs)

    async def create(self, entries: Mapping[str, str]) -> Payload:
        """A new, empty, reusable payload."""
        checked = metadata.check(entries)
        payload = self._new_id()
        await in_thread(self.tree.make, payload)

        def work(tx: Transaction) -> Payload:
            records.add(tx, payload, PayloadType.REUSABLE, self._clock.now())
            metadata.add(tx, payload, checked)
            return records.get(tx, payload)

        return await self._database.write(work)

    async def get(self, payload: str) -> Payload:
        """The payload with its files, by name bytes. Raises PayloadNotFoundError."""
        return await self._database.read(lambda tx: records.get(tx, payload))

    async def find(self, payload: str, name: str) -> tuple[PayloadFile, Path]:
        """The file that a client means by `name`, and where its bytes are."""
        wanted = normalise(name)
        file = await self._database.read(lambda tx: records.find_file(tx, payload, wanted))
        return file, self.tree.path(payload, file)

    async def materialise(self, payload: str) -> None:
        """Makes the folder that containers read as the job's input; once, whoever else asks."""
        lock = self._materialising.setdefault(payload, asyncio.Lock())
        async with lock:
            found = await self.get(payload)
            inputs = [file for file in found.files if file.name.startswith("input/")]
            await in_cancellable_thread(self.tree.materialise, payload, inputs)

    async def upload(self, payload: str) -> Upload:
        """Opens an upload: `async with await payloads.upload(id) as upload`."""
        found = await self._database.read(lambda tx: records.get(tx, payload, with_files=False))
        records.refuse_sealed(found)
        return Upload(self._database, self.tree, found, self._new_id())


class _Part:
    """One file of an upload that is still open."""

    def __init__(self, path: Path, mode: int) -> None:
        self.path = path
        self.mode = mode
        self.size = 0
        self._buffer = bytearray()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def take(self, data: bytes) -> bool:
        """Buffers data; True when it is time to write."""
        self._buffer += data
        self.size += len(data)
        return len(self._buffer) >= _BUFFER

    def write(self) -> None:
        view = memoryview(bytes(self._buffer))
        self._buffer.clear()
        while view:
            view = view[os.write(self._descriptor, view) :]

    def finish(self) -> None:
        self.write()
        os.fsync(self._descriptor)
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Upload:
    """Files on their way into a payload. All appear together at `commit`, or none.

    Source: Clara 0.8.1, Payloads Upload: a job's payload takes them below `input/`; chunks of one
    name append, a name that was there before is replaced.
    """

    def __init__(self, database: Database, tree: PayloadTree, payload: Payload, key: str) -> None:
        self._database = database
        self._tree = tree
        self._payload = payload
        self._folder = tree.uploads / key
        self._prefix = "input/" if payload.type is PayloadType.PIPELINE else ""
        self._parts: dict[str, _Part] = {}
        self._last: str | None = None
        self._committing: asyncio.Task[PayloadFile] | None = None

    async def __aenter__(self) -> Self:
        await in_thread(self._folder.mkdir, 0o700)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._committing is not None:
            await asyncio.wait([self._committing])
        await asyncio.shield(in_thread(self._remove))

    async def write(self, name: str, mode: int, data: bytes) -> None:
        """Appends a chunk to a file of this upload."""
        stored = self._prefix + normalise(name)
        part = self._parts.get(stored)
        if part is None:
            path = self._folder / str(len(self._parts))
            part = self._parts[stored] = await in_thread(_Part, path, stored_mode(mode))
        self._last = stored
        if part.take(data):
            await in_thread(part.write)

    async def commit(self) -> PayloadFile:
        """Makes all files durable and visible; returns the one that was written last."""
        if self._last is None:
            raise InvalidRequestError(
                "the upload holds no message, so it names no file; an empty file needs one message"
                " with its name"
            )
        # Shielded: once the rename has begun it is finished, even if the caller goes away.
        self._committing = asyncio.create_task(self._commit(self._last))
        return await asyncio.shield(self._committing)

    async def _commit(self, last: str) -> PayloadFile:
        new = await in_thread(self._store)

        def work(tx: Transaction) -> list[bytes]:
            records.refuse_sealed(records.get(tx, self._payload.id, with_files=False))
            return records.put_files(tx, self._payload.id, new.values())

        try:
            replaced = await self._database.write(work)
        except BaseException:
            await in_thread(self._tree.discard, self._payload.id, [f.blob for f in new.values()])
            raise
        await in_thread(self._tree.discard, self._payload.id, replaced)
        return new[last]

    def _store(self) -> dict[str, PayloadFile]:
        stored = {}
        for name, part in self._parts.items():
            part.finish()
            blob = self._tree.adopt(self._payload.id, part.path, mode=part.mode, keep=False)
            stored[name] = PayloadFile(name=name, size=part.size, mode=part.mode, blob=blob)
        self._tree.sync_blobs(self._payload.id)
        return stored

    def _remove(self) -> None:
        for part in self._parts.values():
            part.close()
        files.remove_tree(self._folder)
