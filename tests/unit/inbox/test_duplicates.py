"""The same content again: a new job, nothing, or a link to the results of before."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from claraedge.blocking import CancelFlag
from claraedge.config import Config
from claraedge.fs.hashing import Digest, digest
from claraedge.inbox.intake import intake, submit
from claraedge.inbox.intake.duplicates import Duplicates
from claraedge.inbox.model import ItemState
from claraedge.jobs.model import JobStatus
from claraedge.waiting.backoff import Backoff
from tests.failpoints.inbox import LINKED, SKIPPED
from tests.rig.inbox import (
    DEFINITION,
    InboxRig,
    KilledError,
    document,
    drop,
    ended,
    inbox_rig,
    make_config,
    swept,
    tree_of,
)
from tests.rig.waiting import eventually
from tests.unit.inbox.test_kills import Fuse

DONE = ItemState.DELIVERED


@pytest.fixture(autouse=True)
def _blocked_items_are_tried_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_FIRST_RETRY", 0.1)
    monkeypatch.setattr(intake, "_LAST_RETRY", 0.1)


def config(state: Path, duplicates: str, **more: Any) -> Config:
    trigger = {"folder": "in", "pipeline": "ct", "duplicates": duplicates, **more}
    return make_config(state, trigger=[trigger], settle=0.1)


async def two(rig: InboxRig, state: Path) -> tuple[Any, Any]:
    """The items of two files with the same content, one after the other."""
    drop(state / "inbox/in/one.dcm", b"same")
    await rig.delivered(1)
    drop(state / "inbox/in/two.dcm", b"same")
    items = {item.name: item for item in await rig.delivered(2)}
    return items["one.dcm"], items["two.dcm"]


def results(state: Path) -> list[str]:
    return sorted(p.name[:3] for p in (state / "outbox/ct").iterdir() if not p.is_symlink())


def kept(state: Path) -> dict[str, bytes]:
    return {n.rpartition("/")[2]: c for n, c in tree_of(state / "originals").items()}


async def test_run_makes_a_job_of_each(state: Path) -> None:
    async with inbox_rig(config(state, "run")) as rig:
        await rig.register("ct")
        one, other = await two(rig, state)
        assert len(await rig.jobs()) == 2
    assert one.digest == other.digest != ""
    assert (one.duplicate_of, other.duplicate_of) == ("", "")
    assert results(state) == ["one", "two"]


@pytest.mark.parametrize("duplicates", ["skip", "link"])
async def test_a_duplicate_is_no_job_and_its_original_is_kept(state: Path, duplicates: str) -> None:
    async with inbox_rig(config(state, duplicates)) as rig:
        await rig.register("ct")
        one, other = await two(rig, state)
        (job,) = await rig.jobs()
        await swept(state)
        assert (other.state, other.job, other.duplicate_of) == (DONE, job.id, one.id)
        assert other.digest == one.digest
        done = "skipped" if duplicates == "skip" else "linked to its results"
        assert other.reason == f"the same content as one.dcm: {done}"
        # that of the duplicate is removed after its end is said
        await eventually(
            lambda: len(list((state / "payloads").iterdir())) <= 1, "one payload is left"
        )
        drop(state / "inbox/in/three.dcm", b"other")
        await rig.delivered(3)
        assert len(await rig.jobs()) == 2
    assert kept(state) == {"one.dcm": b"same", "two.dcm": b"same", "three.dcm": b"other"}
    if duplicates == "skip":
        assert other.result_path == one.result_path
        assert results(state) == ["one", "thr"]
    else:
        _leads_to(Path(other.result_path), Path(one.result_path), job.id)


def _leads_to(link: Path, results: Path, job: str) -> None:
    assert link.is_symlink()
    assert link.name.startswith("two.dcm-")
    assert link.resolve() == results
    assert document(link / "result.json")["job_id"] == job


@pytest.mark.parametrize("duplicates", ["skip", "link"])
async def test_two_in_one_batch_are_one_job(state: Path, duplicates: str) -> None:
    for name in ("one", "two", "three"):
        drop(state / f"inbox/in/{name}.dcm", b"same")
    async with inbox_rig(config(state, duplicates)) as rig:
        await rig.register("ct")
        items = await rig.delivered(3)
        assert len(await rig.jobs()) == 1
    assert [item.state for item in items] == [DONE] * 3
    assert sorted(bool(item.duplicate_of) for item in items) == [False, True, True]
    assert len(kept(state)) == 3


async def test_one_that_comes_while_the_first_runs_waits_for_its_end(state: Path) -> None:
    async with inbox_rig(config(state, "skip"), run=False) as rig:
        await rig.register("ct")
        tasks = [rig.group.create_task(part) for part in (rig.inbox.run(), rig.delivery.run())]
        drop(state / "inbox/in/one.dcm", b"same")
        await rig.until(lambda items: [i.state for i in items] == [ItemState.SUBMITTED])
        drop(state / "inbox/in/two.dcm", b"same")
        items = await rig.until(
            lambda items: any("same content and still runs" in i.reason for i in items)
        )
        assert [i.state for i in items[:2]] == [ItemState.SUBMITTED, ItemState.PARKED]
        tasks.append(rig.group.create_task(rig.engine.run()))
        items = await rig.delivered(2)
        assert [bool(i.duplicate_of) for i in items] == [False, True]
        assert len(await rig.jobs()) == 1
        for task in tasks:
            task.cancel()


async def test_one_that_waits_is_read_once_and_continues_when_the_first_has_ended(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path, flag: CancelFlag) -> Digest:
        read.append(path.name)
        return digest(path, flag)

    monkeypatch.setattr(submit, "digest", counted)
    monkeypatch.setattr(intake, "_FIRST_RETRY", 0.01)
    async with inbox_rig(config(state, "skip"), run=False) as rig:
        await rig.register("ct")
        tasks = [rig.group.create_task(part) for part in (rig.inbox.run(), rig.delivery.run())]
        drop(state / "inbox/in/one.dcm", b"same")
        await rig.until(lambda items: [i.state for i in items] == [ItemState.SUBMITTED])
        drop(state / "inbox/in/two.dcm", b"same")
        await rig.until(lambda items: any("same content and still runs" in i.reason for i in items))
        await asyncio.sleep(0.3)  # it is tried again and again
        monkeypatch.setattr(intake, "_LAST_RETRY", 600.0)
        monkeypatch.setattr(intake, "_FIRST_RETRY", 600.0)
        for pending in rig.inbox._intake._pending.values():
            pending.backoff = Backoff(600.0, 600.0)
        await asyncio.sleep(0.3)
        assert read == ["one.dcm", "two.dcm"]
        tasks.append(rig.group.create_task(rig.engine.run()))
        items = await rig.delivered(2)
        assert [bool(i.duplicate_of) for i in items] == [False, True]
        for task in tasks:
            task.cancel()


async def test_a_large_duplicate_delays_no_submission(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def slow(*_: object) -> None:
        assert over.wait(20)

    async with inbox_rig(config(state, "skip")) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/one.dcm", b"same")
        await rig.delivered(1)
        monkeypatch.setattr(Duplicates, "_keep_original", slow)
        drop(state / "inbox/in/two.dcm", b"same")
        await rig.until(lambda items: any(i.duplicate_of for i in items))
        drop(state / "inbox/in/three.dcm", b"other")
        items = await rig.delivered(2)
        assert [i.name for i in items] == ["one.dcm", "three.dcm"]
        over.set()
        await rig.delivered(3)


async def test_results_that_go_before_the_link_to_them_is_made_are_made_again(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with inbox_rig(config(state, "link")) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/one.dcm", b"same")
        (one,) = await rig.delivered(1)
        (state / "originals").rename(state / "moved")
        drop(state / "inbox/in/two.dcm", b"same")
        links = lambda: [p for p in (state / "outbox/ct").iterdir() if p.is_symlink()]  # noqa: E731
        await eventually(
            lambda: "cannot be finished as a duplicate" in caplog.text, "it was tried once"
        )
        assert len(links()) == 1
        # The link leads to nothing, and the original is still in the spool.
        shutil.rmtree(one.result_path or "")
        (state / "moved").rename(state / "originals")
        rig.inbox.poke()
        items = await rig.delivered(2)
        assert [(i.state, i.duplicate_of) for i in items] == [(DONE, ""), (DONE, "")]
        assert links() == []
        assert len(await rig.jobs()) == 2
    assert kept(state) == {"one.dcm": b"same", "two.dcm": b"same"}


@pytest.mark.parametrize("duplicates", ["skip", "link"])
async def test_after_a_failure_it_runs_again(state: Path, duplicates: str) -> None:
    async with inbox_rig(config(state, duplicates)) as rig:
        await rig.register("ct")
        rig.engine.status = JobStatus.FAULTED
        drop(state / "inbox/in/one.dcm", b"same")
        await rig.delivered(1)
        rig.engine.status = JobStatus.HEALTHY
        drop(state / "inbox/in/two.dcm", b"same")
        items = await rig.delivered(2)
        assert [(i.state, i.duplicate_of) for i in items] == [(ItemState.FAILED, ""), (DONE, "")]
        drop(state / "inbox/in/three.dcm", b"same")
        items = await rig.delivered(3)
        assert items[2].duplicate_of == items[1].id
        assert len(await rig.jobs()) == 2


@pytest.mark.parametrize("duplicates", ["skip", "link"])
async def test_after_a_change_of_the_definition_it_runs_again(state: Path, duplicates: str) -> None:
    async with inbox_rig(config(state, duplicates)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/one.dcm", b"same")
        await rig.delivered(1)
        await rig.register("ct", DEFINITION + "# other bytes\n")
        drop(state / "inbox/in/two.dcm", b"same")
        items = await rig.delivered(2)
        assert [i.duplicate_of for i in items] == ["", ""]
        assert len(await rig.jobs()) == 2


@pytest.mark.parametrize(("duplicates", "count"), [("skip", 1), ("link", 2)])
async def test_after_the_results_were_removed(state: Path, duplicates: str, count: int) -> None:
    """There is nothing to link to then: they are made again."""
    async with inbox_rig(config(state, duplicates)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/one.dcm", b"same")
        (item,) = await rig.delivered(1)
        shutil.rmtree(item.result_path or "")
        drop(state / "inbox/in/two.dcm", b"same")
        await rig.delivered(2)
        assert len(await rig.jobs()) == count


async def test_other_parameters_are_other_work(state: Path) -> None:
    text = DEFINITION.replace("operators:", "parameters:\n  n: x\noperators:", 1)
    async with inbox_rig(config(state, "skip", parameters={"n": "{stem}"})) as rig:
        await rig.register("ct", text)
        drop(state / "inbox/in/one.dcm", b"same")
        await rig.delivered(1)
        drop(state / "inbox/in/two.dcm", b"same")
        await rig.delivered(2)
        assert len(await rig.jobs()) == 2
        drop(state / "inbox/in/one.txt", b"same")
        items = await rig.delivered(3)
        assert items[2].duplicate_of == items[0].id


async def test_folders_are_the_same_by_their_names_and_bytes(state: Path) -> None:
    trees = {
        "one": {"a/1": b"1", "2": b"2"},
        "same": {"a/1": b"1", "2": b"2"},
        "swapped": {"a/1": b"2", "2": b"1"},
        "moved": {"b/1": b"1", "2": b"2"},
    }
    async with inbox_rig(config(state, "skip")) as rig:
        await rig.register("ct")
        for count, (name, tree) in enumerate(trees.items(), 1):
            for path, content in tree.items():
                drop(state / "staging" / name / path, content)
            (state / "staging" / name).rename(state / "inbox/in" / name)
            await rig.delivered(count)
        assert [job.name for job in await rig.jobs()] == ["one", "swapped", "moved"]
    (original,) = (state / "originals").rglob("same")
    assert tree_of(original) == trees["same"]


async def test_a_group_is_the_same_by_its_bytes(state: Path) -> None:
    rules = config(state, "link", grouping="marker", marker="*.ready")
    async with inbox_rig(rules) as rig:
        await rig.register("ct")
        for count, stem in enumerate(("a", "b"), 1):
            drop(state / f"inbox/in/{stem}.1", b"1")
            drop(state / f"inbox/in/{stem}.2", b"2")
            drop(state / f"inbox/in/{stem}.ready", stem.encode())  # the marker is no content
            await rig.delivered(count)
        items = await rig.delivered(2)
        assert items[1].duplicate_of == items[0].id
        assert len(await rig.jobs()) == 1
    assert set(kept(state)) == {f"{s}.{e}" for s in "ab" for e in ("1", "2", "ready")}


STEPS = {"skip": SKIPPED, "link": LINKED}


async def lives(state: Path, duplicates: str, fuse: Fuse) -> None:
    async with inbox_rig(config(state, duplicates)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/one.dcm", b"same")
        await rig.delivered(1)
        await swept(state)
    drop(state / "inbox/in/two.dcm", b"same")
    async with inbox_rig(config(state, duplicates), hook=fuse) as rig:
        await rig.delivered(2)
        await swept(state)


@pytest.mark.parametrize("duplicates", STEPS)
async def test_the_steps_of_a_duplicate_are_these(state: Path, duplicates: str) -> None:
    fuse = Fuse()
    await lives(state, duplicates, fuse)
    assert fuse.passed == [*STEPS[duplicates]]


@pytest.mark.parametrize(
    ("duplicates", "at"), [(duplicates, at) for duplicates, steps in STEPS.items() for at in steps]
)
async def test_a_kill_between_two_steps_loses_and_doubles_nothing(
    state: Path, at: str, duplicates: str
) -> None:
    with pytest.raises(KilledError):
        await lives(state, duplicates, Fuse(at))
    async with inbox_rig(config(state, duplicates)) as rig:
        items = await rig.delivered(2)
        await swept(state)
        assert [i.duplicate_of for i in items] == ["", items[0].id]
        assert len(await rig.jobs()) == 1
        assert len(ended(items)) == 2
    assert kept(state) == {"one.dcm": b"same", "two.dcm": b"same"}
    links = [p for p in (state / "outbox/ct").iterdir() if p.is_symlink()]
    assert len(links) == (1 if duplicates == "link" else 0)
    assert len(list((state / "payloads").iterdir())) == 1
    assert list((state / "spool").iterdir()) == []
