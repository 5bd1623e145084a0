"""The daemon dies between any two steps: the next one ends with one job and one result an item."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from claraedge.blocking import in_thread
from claraedge.daemon.backups.backup import backup
from claraedge.daemon.backups.restore import restore
from claraedge.errors import ItemRetryError
from claraedge.inbox.inspection import settling
from claraedge.inbox.model import ItemState
from claraedge.jobs.model import JobStatus
from tests.campaign import CAMPAIGN
from tests.failpoints.delivery import FAILURE, RESULT
from tests.failpoints.inbox import COPIED as TAKEN_AS_COPY
from tests.failpoints.inbox import FAULTY, RETRIED_COPY, TAKEN
from tests.rig.inbox import KilledError, drop, inbox_rig, is_there, make_config, swept, tree_of

#: In this order they are passed by an item, as far as its way has them.
OWN = [*TAKEN, *RESULT]
COPIED = [*TAKEN_AS_COPY, *RESULT]
FAULTED_JOB = [*TAKEN, *FAILURE]


class Fuse:
    """A hook that notes the failpoints it is called at, and kills at one of them, once."""

    def __init__(self, at: str | None = None) -> None:
        self.at = at
        self.passed: list[str] = []

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if name == self.at:
            self.at = None
            raise KilledError(name)


def file(state: Path) -> Path:
    return drop(state / "inbox/ct/scan.dcm", b"content")


def folder(state: Path) -> Path:
    drop(state / "inbox/ct/study/a/1.dcm", b"1")
    drop(state / "inbox/ct/study/2.dcm", b"2")
    return state / "inbox/ct/study"


def linked(state: Path) -> Path:
    (state / "inbox/ct").mkdir(parents=True)
    (state / "inbox/ct/scan.dcm").hardlink_to(drop(state / "outside", b"content"))
    return state / "inbox/ct/scan.dcm"


def linked_inside(state: Path) -> Path:
    path = folder(state)
    (path / "a/3.dcm").hardlink_to(drop(state / "outside", b"3"))
    return path


def link(state: Path) -> Path:
    (state / "inbox/ct/study").mkdir(parents=True)
    (state / "inbox/ct/study/link").symlink_to("/etc/passwd")
    return state / "inbox/ct/study"


WAYS: dict[str, tuple[Callable[[Path], Path], JobStatus, list[str]]] = {
    "file": (file, JobStatus.HEALTHY, OWN),
    "folder": (folder, JobStatus.HEALTHY, OWN),
    "copied": (linked, JobStatus.HEALTHY, COPIED),
    "folder copied": (linked_inside, JobStatus.HEALTHY, COPIED),
    "faulty": (link, JobStatus.HEALTHY, [*FAULTY]),
    "faulted job": (file, JobStatus.FAULTED, FAULTED_JOB),
}


@pytest.fixture(autouse=True)
def _links_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "LINKS_SECONDS", 0.0)


async def live(state: Path, status: JobStatus, fuse: Fuse) -> None:
    """One life of the daemon, until the item is through or the fuse blows."""
    async with inbox_rig(make_config(state, settle=0.05), status=status, hook=fuse) as rig:
        if not await rig.database.read(lambda tx: tx.rows("pipelines", after=0)):
            await rig.register("ct")
        await rig.delivered()
        await swept(state)


@pytest.mark.parametrize("way", WAYS)
async def test_the_steps_are_these(tmp_path: Path, way: str) -> None:
    make, status, steps = WAYS[way]
    make(tmp_path)
    fuse = Fuse()
    await live(tmp_path, status, fuse)
    assert fuse.passed == steps


#: In short, a folder at every fourth step: all that it does other than a file is in some of them.
CASES = [
    (way, at)
    for way, (_, _, steps) in WAYS.items()
    for at in (steps if CAMPAIGN or "folder" not in way else steps[::4])
]


@pytest.mark.parametrize(("way", "at"), CASES)
async def test_a_kill_loses_and_doubles_nothing(tmp_path: Path, way: str, at: str) -> None:
    make, status, _ = WAYS[way]
    entry = make(tmp_path)
    before = tree_of(entry.parent)
    with pytest.raises(KilledError):
        await live(tmp_path, status, Fuse(at))
    async with inbox_rig(make_config(tmp_path, settle=0.05), status=status) as rig:
        (item,) = await rig.delivered()
        jobs = await rig.jobs()
        await swept(tmp_path)
    failed = way.startswith("fault")
    assert item.state is (ItemState.FAILED if failed else ItemState.DELIVERED)
    assert len(jobs) == (0 if way == "faulty" else 1)
    assert not is_there(entry)
    result = Path(item.result_path or "")
    home = tmp_path / ("failed" if failed else "outbox")
    assert [p for p in home.glob("*/*") if p.is_dir()] == [result]
    assert list(home.glob(".*")) == []
    keeper = result / "original" if failed else tmp_path / "originals" / result.relative_to(home)
    assert tree_of(keeper) == before
    assert list((tmp_path / "spool").iterdir()) == []
    if jobs:
        names = {name.rpartition("/")[2] for name in before}
        async with inbox_rig(make_config(tmp_path), run=False) as rig:
            rows = await rig.database.read(
                lambda tx: [r["name"] for r in tx.rows("payload_files", payload=jobs[0].payload)]
            )
        assert {n.rpartition("/")[2] for n in rows if n.startswith("input/")} == names
        blobs = tmp_path / "payloads" / jobs[0].payload / "blobs"
        assert len(list(blobs.iterdir())) == len(names)
        assert len(list((tmp_path / "payloads").iterdir())) == 1


@pytest.mark.parametrize("at", ["claim: raw removed", "submit: committed"])
async def test_a_backup_has_the_copy_of_an_item(tmp_path: Path, at: str) -> None:
    state, restored = tmp_path / "state", tmp_path / "restored"
    linked(state)
    with pytest.raises(KilledError):
        await live(state, JobStatus.HEALTHY, Fuse(at))
    archive = tmp_path / "backup.tar"
    await in_thread(partial(backup, None, {"state_dir": str(state)}, archive, payloads=True))
    folders = {"state_dir": str(restored)}
    await in_thread(partial(restore, None, folders, archive, replace=False))
    async with inbox_rig(make_config(restored, settle=0.05)) as rig:
        (item,) = await rig.delivered()
        assert item.state is ItemState.DELIVERED
        assert len(await rig.jobs()) == 1
    (original,) = (restored / "originals").rglob("scan.dcm")
    assert original.read_bytes() == b"content"


@pytest.mark.parametrize("at", RETRIED_COPY)
async def test_a_retry_that_is_begun_again_after_a_kill_makes_one_job(
    tmp_path: Path, at: str
) -> None:
    file(tmp_path)
    await live(tmp_path, JobStatus.FAULTED, Fuse())
    with pytest.raises(KilledError):
        await _try_again(tmp_path, Fuse(at))
    await _try_again(tmp_path, Fuse())
    (kept,) = (tmp_path / "originals").rglob("scan.dcm")
    assert kept.read_bytes() == b"content"
    (original,) = (tmp_path / "failed").glob("*/*/original")
    assert list(original.iterdir()) == list((tmp_path / "inbox/ct").iterdir()) == []


async def _try_again(state: Path, fuse: Fuse) -> None:
    async with inbox_rig(make_config(state, settle=0.05), hook=fuse) as rig:
        (failed, *_) = await rig.delivered()
        if not failed.reason.startswith("tried again"):
            with contextlib.suppress(ItemRetryError):  # it is in the inbox, or was
                await rig.inbox.retry(failed.id)
        items = await rig.delivered(2)
        await swept(state)
        assert [item.state for item in items] == [ItemState.FAILED, ItemState.DELIVERED]
        assert len(await rig.jobs()) == 2


async def test_a_spool_that_the_state_does_not_know_is_kept_as_a_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    item, hidden = "a" * 32, "d" * 32
    drop(tmp_path / "spool" / item / "scan.dcm", b"content")
    drop(tmp_path / "spool" / f"{item}.new" / "scan.dcm", b"con")
    drop(tmp_path / "spool" / f"{item}.mount", b"/mnt")
    (tmp_path / "spool" / ("b" * 32)).mkdir()
    (tmp_path / "spool" / hidden).mkdir()
    drop(tmp_path / "spool" / f"{hidden}.mount", b"/mnt")
    drop(tmp_path / "spool" / ".c.tmp", b"half of a note")
    async with inbox_rig(make_config(tmp_path), run=False) as rig:
        assert list((tmp_path / "spool").iterdir()) == []
        (warning,) = rig.inbox.warnings()
        assert warning.startswith("2 dropped items that the database does not know lie in")
    assert tree_of(tmp_path / "failed") == {
        f"unknown/{item}/scan.dcm": b"content",
        f"unknown/{item}.new/scan.dcm": b"con",
        f"unknown/{item}.mount": b"/mnt",
        f"unknown/{hidden}.mount": b"/mnt",
    }
    assert f"as .claraedge-{hidden}: rename it there" in caplog.text
