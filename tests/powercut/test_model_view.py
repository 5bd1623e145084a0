"""Services see complete models after a power cut at any point of a change of their view."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from claraedge.fs import files
from claraedge.ids import new_id
from claraedge.services.inference.composition import Stored
from claraedge.services.inference.repository import ModelView
from tests.campaign import CAMPAIGN
from tests.powercut.audit import contents
from tests.powercut.volatile_disk import Copy, VolatileDisk, sync_tree

_FILES: Mapping[str, int] = {"config.pbtxt": 40, "1/weights": 9000, "1/more/vocabulary": 500}
_MODELS = ("net", "other")


class _Repository:
    """Two durable generations of each model below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        for name in _MODELS:
            for generation in (1, 2):
                for path, size in _FILES.items():
                    made = self.folder / name / str(generation) / path
                    made.parent.mkdir(parents=True, exist_ok=True)
                    made.write_bytes(os.urandom(size))

    @asynccontextmanager
    async def reading(self, model: str) -> AsyncIterator[tuple[SimpleNamespace, Path]]:
        name, generation = model.split("-")
        found = SimpleNamespace(id=model, generation=int(generation))
        yield found, self.folder / name / generation


def _wanted(generation: int) -> dict[str, Stored]:
    return {name: Stored(model=f"{name}-{generation}", generation=generation) for name in _MODELS}


def _show(root: Path, generation: int) -> dict[str, dict[str, str]]:
    """Updates the view to a generation; returns what a service then sees."""
    view = ModelView(_Repository(root / "models"), root / "view/models", root / "view", new_id)
    asyncio.run(view.show(_wanted(generation)))
    return {name: contents(view.folder / name) for name in _MODELS}


def _copied_change(disk: VolatileDisk, stride: int) -> tuple[dict[str, dict[str, str]], list[Copy]]:
    """Returns the files of the new generation, and copies of the disk while it replaces the old."""
    repository = _Repository(disk.mount / "models")
    repository.make()
    _show(disk.mount, 1)
    sync_tree(disk.mount)
    whole = {name: contents(repository.folder / name / "2") for name in _MODELS}
    disk.copy_after(disk.operations + 1, stride, 200)
    assert _show(disk.mount, 2) == whole
    disk.unmount()
    return whole, disk.copies()


@pytest.mark.campaign
@pytest.mark.parametrize("model", ["closed", "random"])
def test_a_view_is_whole_after_a_power_cut(disk: VolatileDisk, model: str) -> None:
    whole, copies = _copied_change(disk, stride=1 if CAMPAIGN else 4)
    assert len(copies) >= 10
    for copy in copies:
        for seed in range(8 if CAMPAIGN else 1):
            disk.cut(copy, model, seed)
            assert _show(disk.mount, 2) == whole, f"{model}, {seed}, after {copy.what}"
            disk.unmount()


def test_it_finds_a_view_that_is_not_synced(
    disk: VolatileDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "sync_tree", lambda _: None)
    whole, copies = _copied_change(disk, stride=1)
    found = []
    for copy in copies:
        disk.cut(copy, "closed", 1)
        found.append(_show(disk.mount, 2))
        disk.unmount()
    assert [one for one in found if one != whole]
