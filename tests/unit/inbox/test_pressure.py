"""A full disk parks; what changes under the claim is taken whole or not at all."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from claraedge.errors import StorageFullError
from claraedge.inbox.intake import intake
from claraedge.inbox.model import ItemState
from tests.rig.inbox import drop, inbox_rig, make_config, swept, tree_of
from tests.unit.inbox.test_kills import FAULTY, OWN, file, link

#: Those that stand where nothing of the disk is asked any more.
AFTER = ("claim: row", "submit: before commit", "submit: committed", "deliver: committed",
         "fail: committed")  # fmt: skip


class FullDisk:
    """A hook: at a failpoint the disk is full, until it is not."""

    def __init__(self, at: str, times: int = 2) -> None:
        self.at = at
        self.left = times

    def __call__(self, name: str) -> None:
        if name == self.at and self.left:
            self.left -= 1
            if "row" in name:
                raise StorageFullError("claraedge.db: the disk is full")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")


@pytest.mark.parametrize(
    ("make", "at"),
    [(file, at) for at in OWN if at not in AFTER]
    + [(link, at) for at in FAULTY if at not in AFTER],
)
async def test_a_full_disk_parks_and_continues_by_itself(
    tmp_path: Path, make: Callable[[Path], Path], at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_FIRST_RETRY", 0.05)
    make(tmp_path)
    disk = FullDisk(at)
    async with inbox_rig(make_config(tmp_path, settle=0.05), hook=disk) as rig:
        await rig.register("ct")
        (item,) = await rig.delivered()
        assert len(await rig.jobs()) == (0 if make is link else 1)
        await swept(tmp_path)
    assert disk.left < 2
    assert item.state is (ItemState.FAILED if make is link else ItemState.DELIVERED)


async def test_a_parked_item_says_what_is_full(tmp_path: Path) -> None:
    disk = FullDisk("claim: checked", times=1_000_000)
    async with inbox_rig(make_config(tmp_path, settle=0.05), hook=disk) as rig:
        await rig.register("ct")
        drop(tmp_path / "inbox/ct/scan.dcm")
        (item,) = await rig.until(lambda items: "free some space there" in str(items))
        assert item.state is ItemState.PARKED
        disk.left = 0
        rig.inbox.poke()
        await rig.delivered()


class Once:
    """Does something at a failpoint, once."""

    def __init__(self, at: str, act: Callable[[], object]) -> None:
        self.at = at
        self.act: Callable[[], object] | None = act

    def __call__(self, name: str) -> None:
        if name == self.at and self.act is not None:
            act, self.act = self.act, None
            act()


@pytest.mark.parametrize("at", ["claim: row", "claim: before rename"])
@pytest.mark.parametrize("change", ["appended", "truncated", "replaced"])
async def test_what_changes_before_it_is_taken_is_taken_as_it_is_then(
    tmp_path: Path, at: str, change: str
) -> None:
    path = tmp_path / "inbox/ct/scan.dcm"

    def act() -> None:
        if change == "appended":
            with path.open("ab") as stream:
                stream.write(b" and more")
        elif change == "truncated":
            os.truncate(path, 2)
        else:
            drop(tmp_path / "inbox/ct/.new", b"another").replace(path)

    async with inbox_rig(make_config(tmp_path), hook=Once(at, act)) as rig:
        await rig.register("ct")
        drop(path, b"first")
        items = await rig.delivered()
        assert len(await rig.jobs()) == 1
    assert [item.state for item in items] == [ItemState.DELIVERED]
    wanted = {"appended": b"first and more", "truncated": b"fi", "replaced": b"another"}[change]
    assert list(tree_of(tmp_path / "originals").values()) == [wanted]
    assert [c for n, c in tree_of(tmp_path / "outbox").items() if n.endswith("Left/scan.dcm")] == [
        wanted
    ]


@pytest.mark.parametrize("at", ["claim: renamed", "claim: checked", "submit: payload"])
async def test_a_writer_that_continues_in_the_spool_is_waited_for(tmp_path: Path, at: str) -> None:
    # One who writes again: no writer when it is taken, and found wherever it is then.
    stream = drop(tmp_path / "elsewhere", b"first").open("rb")

    def act() -> None:
        with Path(f"/proc/self/fd/{stream.fileno()}").open("ab") as again:
            again.write(b" and more")

    async with inbox_rig(make_config(tmp_path), hook=Once(at, act)) as rig:
        await rig.register("ct")
        (tmp_path / "inbox/ct").mkdir()
        (tmp_path / "elsewhere").rename(tmp_path / "inbox/ct/scan.dcm")
        await rig.delivered()
        assert len(await rig.jobs()) == 1
    stream.close()
    assert list(tree_of(tmp_path / "originals").values()) == [b"first and more"]
    assert [c for n, c in tree_of(tmp_path / "outbox").items() if n.endswith("Left/scan.dcm")] == [
        b"first and more"
    ]


@pytest.mark.parametrize("at", ["claim: row", "claim: before rename"])
async def test_a_file_that_is_swapped_for_a_link_is_not_followed(tmp_path: Path, at: str) -> None:
    path = tmp_path / "inbox/ct/scan.dcm"

    def act() -> None:
        path.unlink()
        path.symlink_to("/etc/passwd")

    async with inbox_rig(make_config(tmp_path), hook=Once(at, act)) as rig:
        await rig.register("ct")
        drop(path)
        (item,) = await rig.delivered()
        assert await rig.jobs() == []
    assert item.state is ItemState.FAILED
    assert "symbolic link" in item.reason


@pytest.mark.parametrize("at", ["claim: row", "claim: before rename"])
async def test_a_file_that_is_removed_under_the_claim_leaves_nothing(
    tmp_path: Path, at: str
) -> None:
    path = tmp_path / "inbox/ct/scan.dcm"
    once = Once(at, path.unlink)
    async with inbox_rig(make_config(tmp_path), hook=once) as rig:
        await rig.register("ct")
        drop(path)
        await rig.until(lambda items: once.act is None and not items)
        assert await rig.jobs() == []
        drop(path, b"again")
        await rig.delivered()
    assert list(tree_of(tmp_path / "originals").values()) == [b"again"]


async def test_a_pipeline_that_is_deleted_during_the_claim_blocks_the_item_in_the_spool(
    tmp_path: Path,
) -> None:
    config = make_config(tmp_path)
    async with inbox_rig(config, run=False) as rig:
        await rig.register("ct")

    removed = Once("submit: payload", lambda: _remove_pipelines(tmp_path))
    async with inbox_rig(config, hook=removed) as rig:
        drop(tmp_path / "inbox/ct/scan.dcm")
        (item,) = await rig.until(lambda items: any(i.reason for i in items))
        assert item.state is ItemState.PARKED
        assert item.reason.startswith("no such pipeline: ct ")
        await rig.register("ct")
        await rig.delivered()
        assert len(await rig.jobs()) == 1


def _remove_pipelines(state: Path) -> None:
    with sqlite3.connect(state / "claraedge.db", timeout=10) as database:
        database.execute("UPDATE pipelines SET removed = 1")


async def test_a_folder_that_is_removed_after_the_claim_delays_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "inbox/ct"
    async with inbox_rig(make_config(tmp_path), hook=Once("claim: renamed", folder.rmdir)) as rig:
        await rig.register("ct")
        drop(folder / "scan.dcm")
        await rig.delivered()
    assert not folder.exists()
