"""Stores, provides and deletes models, for the API and the engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from claraedge import metadata
from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread, to_its_end, wait_out
from claraedge.bugs import known
from claraedge.clock import Clock
from claraedge.errors import (
    ClaraedgeError,
    InvalidModelError,
    ModelNotFoundError,
    StorageFullError,
)
from claraedge.formats.filenames import DEFAULT, Names
from claraedge.fs.removal import remove
from claraedge.ids import NewId
from claraedge.models import records
from claraedge.models.archive import unpack
from claraedge.models.config import read_config
from claraedge.models.layout import CONFIG, MAX_BYTES
from claraedge.models.model import Model, ModelType
from claraedge.models.tree import ModelTree
from claraedge.store import disposable
from claraedge.store.database import Database, Transaction
from claraedge.store.pages import Listing, pages
from claraedge.suspects import UNRECORDED, Suspects, Work

_log = logging.getLogger(__name__)

_BUFFER = 1024 * 1024


class Models:
    """Stores, provides and deletes models.

    A call that uses the database also raises what `Database.read` and `Database.write` raise.
    """

    def __init__(
        self,
        database: Database,
        tree: ModelTree,
        clock: Clock,
        new_id: NewId,
        names: Names = DEFAULT,
        *,
        on_changed: Callable[[], None] = lambda: None,
        suspects: Suspects = UNRECORDED,
    ) -> None:
        """`on_changed` is called after a model was stored, replaced or deleted."""
        self.tree = tree
        self.names = names
        self._database = database
        self._suspects = suspects
        self._clock = clock
        self._new_id = new_id
        self._on_changed = on_changed
        self._parts: dict[Path, tuple[str, ...]] = {}
        self._changing = asyncio.Lock()  # guards which version of a model is current
        self._readers: Counter[Path] = Counter()
        self._retired: set[Path] = set()
        self._gone: dict[str, str] = {}

    async def prepare(self) -> None:
        """Prepares the start: creates folders, and removes what a crash left of uploads and old
        versions.
        """
        stored = {self.tree.version(m.id, m.generation): m for m in await self.list()}
        given_up = await self._database.read(lambda tx: disposable.of(tx, "models"))
        left = set()
        for version in await in_thread(self.tree.prepare, stored, given_up):
            try:
                await self._remove(version)
            except Exception as error:  # noqa: BLE001 - only this removal fails
                left.add(self.tree.path(version))
                why = known(error, "the removal of a model", model=version.parent.name)
                _log.warning("%s cannot be removed now: %s", version, why)
        if given_up:
            with contextlib.suppress(StorageFullError):  # the next start drops them
                await self._database.write(lambda tx: disposable.drop(tx, given_up - left))
        for model in stored.values():
            if not await in_thread(self.tree.folder(model).is_dir):
                self._gone[model.id] = model.name
                _log.error(
                    "the files of a model are gone: upload it again, or delete it",
                    extra={"model": model.id, "model_name": model.name},
                )

    def warnings(self) -> Sequence[str]:
        """Returns models whose files are missing, for `claraedge status`."""
        return [
            f"the files of the model {name} ({model}) are gone from the disk; upload it again, or"
            " delete it"
            for model, name in self._gone.items()
        ]

    async def list(self) -> Sequence[Model]:
        """Returns all models, in the order of their first upload."""
        return await self._database.read(
            lambda tx: [records.of_row(tx, row) for row in tx.each("models", after=0)]
        )

    async def each(self) -> AsyncGenerator[Model, None]:
        """Yields the same in pages, for clients that may read slowly."""
        listing = Listing(
            rows=lambda tx, after: tx.each("models", after=after),
            key="sequence",
            first=0,
            read=records.of_row,
            cost=Model.memory,
        )
        async with aclosing(pages(self._database, listing)) as found:
            async for model in found:
                yield model

    async def parts(self, model: Model) -> tuple[str, ...]:
        """Returns the names of other models that it uses, according to its configuration."""
        folder = self.tree.folder(model)
        if folder not in self._parts:
            self._parts[folder] = await in_thread(_parts, folder)
        return self._parts[folder]

    def upload(self) -> ModelUpload:
        """Starts an upload: `async with models.upload() as upload`."""
        return ModelUpload(self, self.tree.staging / self._new_id())

    @asynccontextmanager
    async def reading(self, model_id: str) -> AsyncIterator[tuple[Model, Path]]:
        """Yields the model and its folder, which stays unchanged until the context is left, even
        where the model is replaced or deleted meanwhile.

        Raises ModelNotFoundError.
        """
        async with self._changing:
            model = await self._database.read(lambda tx: records.get(tx, model_id))
            version = self.tree.version(model.id, model.generation)
            self._readers[version] += 1
        try:
            folder = self.tree.folder(model)
            if not await in_thread(folder.is_dir):
                raise ModelNotFoundError(
                    f"the files of model {model_id} ({model.name}) are gone from the disk; upload"
                    " it again, or delete it"
                )
            yield model, folder
        finally:
            self._readers[version] -= 1
            if not self._readers[version]:
                del self._readers[version]
                if version in self._retired:
                    self._retired.discard(version)
                    await to_its_end(self._remove(version))

    async def delete(self, model_id: str) -> None:
        """Removes a model, also from every catalog and instance. Raises ModelNotFoundError."""
        await to_its_end(self._delete(model_id))  # remove files with the row, even if cancelled

    async def _delete(self, model_id: str) -> None:
        def work(tx: Transaction) -> Model:
            model = records.drop(tx, model_id)
            disposable.add(tx, [self._disposable(model)])
            return model

        async with self._changing:
            model = await self._database.write(work)
        self._gone.pop(model_id, None)
        _log.info("model deleted", extra={"model": model.id, "model_name": model.name})
        self._on_changed()
        await self._retire(self.tree.version(model.id, model.generation))

    async def add_metadata(self, model_id: str, entries: Mapping[str, str]) -> dict[str, str]:
        """Adds metadata (by the rules of `metadata.merge`); returns the complete set.

        Raises ModelNotFoundError, InvalidMetadataError.
        """

        def work(tx: Transaction) -> dict[str, str]:
            records.get(tx, model_id)
            return metadata.merge(tx, model_id, entries)

        return await self._database.write(work)

    async def remove_metadata(self, model_id: str, keys: Iterable[str]) -> dict[str, str]:
        """Removes metadata by key; returns the remaining entries. Raises ModelNotFoundError."""
        wanted = list(keys)

        def work(tx: Transaction) -> dict[str, str]:
            records.get(tx, model_id)
            return metadata.remove(tx, model_id, wanted)

        return await self._database.write(work)

    async def accept(
        self, staged: Path, name: str, kind: ModelType, entries: Mapping[str, str]
    ) -> Model:
        """Makes an unpacked version the current one of its model. Do not cancel it: shield it."""
        async with self._changing:
            old = await self._database.read(lambda tx: records.find(tx, name))
            model = Model(
                id=old.id if old else self._new_id(),
                name=name,
                type=kind,
                generation=old.generation + 1 if old else 1,
            )
            mine = [self._disposable(model)]
            await self._database.write(lambda tx: disposable.add(tx, mine))
            await in_thread(self.tree.place, staged, model.id, model.generation)

            def work(tx: Transaction) -> Model:
                disposable.drop(tx, mine)
                disposable.add(tx, [self._disposable(old)] if old is not None else [])
                return records.put(tx, model, entries, self._clock.now())

            try:
                stored = await self._database.write(work)
            except BaseException:
                await in_thread(self.tree.remove, self.tree.version(model.id, model.generation))
                raise
        self._gone.pop(model.id, None)
        _log.info("model stored", extra={"model": model.id, "model_name": name})
        self._on_changed()
        if old is not None:
            await self._retire(self.tree.version(old.id, old.generation))
        return stored

    async def _retire(self, version: Path) -> None:
        """Removes a version that no row names, as soon as nobody reads it."""
        if self._readers[version]:
            self._retired.add(version)
        else:
            await self._remove(version)

    async def _remove(self, version: Path) -> None:
        self._parts = {f: parts for f, parts in self._parts.items() if f.parent != version}
        thing = f"{version.parent.name}/{version.name}"
        # Locked, because the model's folder is removed with its last version.
        async with self._changing, self._suspects.during(Work.MODEL, thing):
            await in_thread(self.tree.remove, version)
            path = [self.tree.path(version)]
            with contextlib.suppress(ClaraedgeError):  # the next start drops the record
                await self._database.write(lambda tx: disposable.drop(tx, path))

    def _disposable(self, model: Model) -> str:
        return self.tree.path(self.tree.version(model.id, model.generation))


def _parts(folder: Path) -> tuple[str, ...]:
    try:
        return read_config((folder / CONFIG).read_bytes()).parts
    except (OSError, InvalidModelError):  # the inference server reports what is wrong with it
        return ()


class ModelUpload:
    """An upload of a model: its archive arrives in chunks, and is stored at `commit`, or not at
    all.
    """

    def __init__(self, models: Models, folder: Path) -> None:
        self._models = models
        self.notes: tuple[str, ...] = ()
        """Texts about the archive for the answer, once it is stored."""
        self._folder = folder
        self._archive = folder / "archive.zip"
        self._buffer = bytearray()
        self._size = 0
        self._descriptor = -1
        self._committing: asyncio.Task[Model] | None = None

    async def __aenter__(self) -> Self:
        try:
            await in_cancellable_thread(self._open)
        except BaseException:  # `__aexit__` is not called then
            await to_its_end(in_thread(self._close))
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
        await to_its_end(in_thread(self._close))

    async def write(self, data: bytes) -> None:
        """Appends a chunk of the archive. Raises InvalidModelError for an archive that is too
        large.
        """
        self._size += len(data)
        if self._size > MAX_BYTES:
            raise InvalidModelError(
                f"the archive is larger than {MAX_BYTES} bytes; archive the model's folder alone"
            )
        self._buffer += data
        if len(self._buffer) >= _BUFFER:
            await in_cancellable_thread(self._flush)

    async def commit(self, name: str, kind: ModelType, entries: Mapping[str, str]) -> Model:
        """Unpacks and stores the model; replaces one of the same name, including type and metadata.

        `name` may be empty where the archive contains it. Raises InvalidModelError if the archive
        is not a model, InvalidMetadataError, and StorageFullError if the disk has no room for it.
        """
        checked = metadata.check(entries)
        await in_cancellable_thread(self._flush)
        staged = self._folder / "tree"
        found = await in_cancellable_thread(unpack, self._archive, staged, name, self._models.names)
        self.notes = found.notes
        # Shielded: once the rename has begun, it is completed even if the caller is cancelled.
        self._committing = asyncio.create_task(
            self._models.accept(staged, found.name, kind, checked)
        )
        return await asyncio.shield(self._committing)

    def _open(self, flag: CancelFlag) -> None:
        flag.check()
        self._folder.mkdir(0o700)
        self._descriptor = os.open(
            self._archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )

    def _flush(self, flag: CancelFlag) -> None:
        with memoryview(bytes(self._buffer)) as data:
            self._buffer.clear()
            written = 0
            while written < len(data):
                flag.check()
                written += os.write(self._descriptor, data[written:])

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        remove(self._folder)
