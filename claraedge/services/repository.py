"""The models as services and the inference server see them: `<name>/<version>/...`, read-only.

The repository keeps each upload in a folder of its own (`models/tree.py`). Here all present ones
lie side by side under their names, as hard links: they cost no space, and a file that a server has
open stays as it is when its model is replaced. A model's folder appears by a rename, whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

import msgspec

from claraedge import files
from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread
from claraedge.errors import ModelNotFoundError
from claraedge.ids import NewId
from claraedge.models.models import Models

_log = logging.getLogger(__name__)

#: Id and generation of what lies there.
Version = tuple[str, int]


class ModelView:
    """The folder `common` of all services, with `models/` in it."""

    def __init__(self, models: Models, folder: Path, new_id: NewId) -> None:
        self.common = folder / "common"
        self.models = self.common / "models"
        self._staging = folder / "staging"
        self._record = folder / "models.json"
        self._repository = models
        self._new_id = new_id
        self._lock = asyncio.Lock()

    async def sync(self) -> dict[str, Version]:
        """Brings the view to what the repository holds now; returns what it shows."""
        async with self._lock:
            shown = await in_thread(self._prepare)
            present = {m.name: m for m in await self._repository.list()}
            for name in [name for name in shown if name not in present]:
                del shown[name]
                await in_cancellable_thread(self._swap, None, name, shown)
            for name, model in present.items():
                if shown.get(name) == (model.id, model.generation):
                    continue
                with contextlib.suppress(ModelNotFoundError):  # deleted meanwhile, or its files are
                    async with self._repository.reading(model.id) as (found, folder):
                        shown[name] = (found.id, found.generation)
                        await in_cancellable_thread(self._swap, folder, name, shown)
                        _log.info("model shown to services", extra={"model": found.id})
            return shown

    def _prepare(self) -> dict[str, Version]:
        for folder in (self.common, self.models):
            files.make_folders(folder, 0o755)
            folder.chmod(0o755)  # whatever our umask is: services run as other users
        files.remove_tree(self._staging)
        files.make_folders(self._staging)
        try:
            recorded = msgspec.json.decode(self._record.read_bytes(), type=dict[str, Version])
        except (OSError, msgspec.MsgspecError):  # none, or damaged: all of it is made anew
            recorded = {}
        for entry in self.models.iterdir():
            if entry.name not in recorded:
                files.remove_tree(entry)
        return {name: v for name, v in recorded.items() if (self.models / name).is_dir()}

    def _swap(
        self, flag: CancelFlag, source: Path | None, name: str, shown: dict[str, Version]
    ) -> None:
        """Puts a model in place of the one of its name, and records what lies there then.

        While it is not recorded, it is not there: a crash in between means that it is made anew.
        """
        staged, old = self._staging / self._new_id(), self._staging / self._new_id()
        if source is not None:
            _link_tree(source, staged, flag)
        others = {key: version for key, version in shown.items() if key != name}
        files.replace(self._record, msgspec.json.encode(others))
        with contextlib.suppress(FileNotFoundError):
            (self.models / name).rename(old)
        if source is not None:
            staged.rename(self.models / name)
            files.replace(self._record, msgspec.json.encode(shown))
        files.remove_tree(old)


def _link_tree(source: Path, target: Path, flag: CancelFlag) -> None:
    for folder, _, names in os.walk(source):
        flag.check()
        made = target / Path(folder).relative_to(source)
        made.mkdir(mode=0o755)
        made.chmod(0o755)
        for name in names:
            files.link_or_copy(Path(folder, name), made / name, flag=flag)
