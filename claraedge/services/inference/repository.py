"""Views: the models as containers see them, `<name>/<version>/...`, read-only.

The repository stores each upload in a folder of its own (`models/tree.py`). A view has selected
models next to each other under their names, as hard links: they cost no space, and do not change
when a model is replaced or deleted. A model's folder appears by one rename, complete.

Services see all models, in their present version. The inference server sees the models that it
should have loaded, in the version that it should have.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread
from claraedge.decoding import decode_json
from claraedge.errors import ModelNotFoundError
from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.fs.walking import walk
from claraedge.ids import NewId
from claraedge.models.models import Models
from claraedge.services.inference.composition import Stored

_log = logging.getLogger(__name__)

#: Id and generation of a model in the view.
_Shown = tuple[str, int]


async def present(models: Models) -> dict[str, Stored]:
    """Returns the present models of the repository, by name."""
    return {
        model.name: Stored(
            model=model.id, generation=model.generation, parts=await models.parts(model)
        )
        for model in await models.list()
    }


class ModelView:
    """One folder with a view of models."""

    def __init__(self, models: Models, folder: Path, work: Path, new_id: NewId) -> None:
        """`folder`: the view; `work`: a folder on the same disk for its records."""
        self.folder = folder
        self._staging = work / "staging"
        self._record = work / "models.json"
        self._repository = models
        self._new_id = new_id
        self._lock = asyncio.Lock()

    async def ready(self) -> None:
        """Creates the folder."""
        async with self._lock:
            await in_thread(self._prepare)

    async def sync(self, *, adds: bool = True) -> None:
        """Updates the view to the present repository; without `adds`, only removes models."""
        found = await self._repository.list()
        wanted = {m.name: Stored(model=m.id, generation=m.generation) for m in found}
        await self.show(wanted, adds=adds)

    async def show(self, wanted: Mapping[str, Stored], *, adds: bool = True) -> frozenset[str]:
        """Updates the view to exactly these models; without `adds`, only removes others.

        Returns the names of those that the repository does not have any more, and that are not
        shown.
        """
        async with self._lock:
            shown = await in_thread(self._prepare)
            versions = {name: (s.model, s.generation) for name, s in wanted.items()}
            for name in [n for n, v in shown.items() if versions.get(n) != v]:
                if name not in versions or not adds:
                    del shown[name]
                    await in_cancellable_thread(self._swap, None, name, shown)
            for name, version in versions.items() if adds else ():
                if shown.get(name) == version:
                    continue
                with contextlib.suppress(ModelNotFoundError):  # it, or its files, were deleted
                    async with self._repository.reading(version[0]) as (found, folder):
                        if found.generation != version[1]:
                            continue
                        shown[name] = version
                        await in_cancellable_thread(self._swap, folder, name, shown)
                        _log.info("model shown", extra={"model": found.id})
            return frozenset(name for name, v in versions.items() if shown.get(name) != v)

    def _prepare(self) -> dict[str, _Shown]:
        for folder in (self.folder.parent, self.folder):
            files.make_folders(folder, 0o755)
            folder.chmod(0o755)  # independent of our umask: containers run as other users
        remove(self._staging)
        files.make_folders(self._staging)
        try:
            recorded = decode_json(self._record.read_bytes(), dict[str, _Shown])
        except (OSError, msgspec.MsgspecError):  # none, or damaged: rebuild the whole view
            recorded = {}
        for entry in self.folder.iterdir():
            if entry.name not in recorded:
                remove(entry)
        return {name: v for name, v in recorded.items() if (self.folder / name).is_dir()}

    def _swap(
        self, flag: CancelFlag, source: Path | None, name: str, shown: dict[str, _Shown]
    ) -> None:
        """Replaces the model of a name, and records the new content.

        A model that is not recorded counts as missing, so after a crash in between it is created
        again.
        """
        staged, old = self._staging / self._new_id(), self._staging / self._new_id()
        if source is not None:
            _link_tree(source, staged, flag)
        others = {key: version for key, version in shown.items() if key != name}
        files.replace(self._record, msgspec.json.encode(others))
        with contextlib.suppress(FileNotFoundError):
            (self.folder / name).rename(old)
        if source is not None:
            staged.rename(self.folder / name)
            files.sync_folder(self.folder)
            files.replace(self._record, msgspec.json.encode(shown))
        remove(old)


def _link_tree(source: Path, target: Path, flag: CancelFlag) -> None:
    for entry in walk(source):
        flag.check()
        made = target / os.fsdecode(entry.path)
        if entry.is_folder:
            made.mkdir(mode=0o755)
            made.chmod(0o755)
        else:
            files.link_or_copy(source / os.fsdecode(entry.path), made, flag=flag)
    files.sync_tree(target)  # before its name: a power cut must not leave a model without files
