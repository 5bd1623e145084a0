"""A kill between any two steps, where originals go to another file system than the state's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.inbox.model import ItemState
from tests.failpoints.delivery import RESULT_ACROSS
from tests.rig.inbox import drop, inbox_rig, make_config, other_file_system, swept, tree_of
from tests.unit.inbox.test_kills import Fuse, KilledError


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Path]:
    folder = other_file_system(tmp_path)
    yield folder
    shutil.rmtree(folder)


async def life(state: Path, other: Path, fuse: Fuse) -> tuple[ItemState, str | None]:
    config = make_config(state, settle=0.05, path=other / "out", originals=other / "originals")
    async with inbox_rig(config, hook=fuse) as rig:
        if not await rig.database.read(lambda tx: tx.rows("pipelines", after=0)):
            await rig.register("ct")
        (item,) = await rig.delivered()
        await swept(state)
    return item.state, item.result_path


def study(state: Path) -> None:
    drop(state / "inbox/ct/study/a/1.dcm", b"1")
    drop(state / "inbox/ct/study/2.dcm", b"2")


async def test_the_steps_are_these(tmp_path: Path, other: Path) -> None:
    study(tmp_path)
    fuse = Fuse()
    await life(tmp_path, other, fuse)
    steps = [name for name in fuse.passed if name.startswith(("deliver", "publish", "move"))]
    assert steps == list(RESULT_ACROSS)


@pytest.mark.parametrize("at", RESULT_ACROSS)
async def test_a_kill_loses_and_doubles_nothing(tmp_path: Path, other: Path, at: str) -> None:
    study(tmp_path)
    with pytest.raises(KilledError):
        await life(tmp_path, other, Fuse(at))
    state, path = await life(tmp_path, other, Fuse())
    assert state is ItemState.DELIVERED
    assert [str(found) for found in (other / "out").glob("*/*")] == [path]
    assert list((other / "out").glob(".*")) == []
    name = Path(str(path)).name
    assert tree_of(other / "originals") == {
        f"ct/{name}/study/2.dcm": b"2",
        f"ct/{name}/study/a/1.dcm": b"1",
    }
    assert [folder.name for folder in (other / "originals/ct" / name).iterdir()] == ["study"]
    assert list((tmp_path / "spool").iterdir()) == []
