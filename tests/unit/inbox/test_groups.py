"""What one job is made of, over real folders: each grouping as its trigger says."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from claraedge.config import Config
from claraedge.inbox.inspection.inspector import EntryInspector
from claraedge.inbox.model import ItemState
from claraedge.jobs.model import Priority
from tests.rig.inbox import InboxRig, drop, ended, inbox_rig, make_config, tree_of

PARAMETERS = """\
api-version: 0.4.0
name: {name}
parameters:
  patient:
  kind: us
operators:
- name: first
  container: {{image: copy, command: ["copy-${{{{patient}}}}-${{{{kind}}}}"]}}
  input:
  - {{path: /in}}
  output:
  - {{path: /out}}
"""


MARKED = {"grouping": "marker", "marker": "READY.dcm"}


def config(state: Path, grouping: str = "entry", rescan: float = 0.5, **more: Any) -> Config:
    trigger = {"folder": "in", "pipeline": "ct", "grouping": grouping, **more}
    return make_config(state, trigger=[trigger], settle=0.1, rescan=rescan)


async def inputs(rig: InboxRig) -> dict[str, dict[str, bytes]]:
    """Job's name -> its files."""
    return {job.name: dict(rig.input_of(job)) for job in await rig.jobs()}


def originals(state: Path) -> dict[str, bytes]:
    """Path below the result folder -> bytes, of all originals."""
    found = tree_of(state / "originals")
    return {name.split("/", 2)[2]: content for name, content in found.items()}


def rename_in(state: Path, path: Path, content: bytes) -> None:
    """Whole at once, from outside."""
    staged = drop(state / "staging" / path.name, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged.rename(path)


# --- file -------------------------------------------------------------------------------------


async def test_file_makes_a_job_of_each_file_wherever_it_lies(state: Path) -> None:
    wanted = {"a.dcm": b"a", "p1/a.dcm": b"1", "p1/s/b.dcm": b"2", "p2/a.dcm": b"3"}
    async with inbox_rig(config(state, "file")) as rig:
        await rig.register("ct")
        for name, content in wanted.items():
            drop(state / "inbox/in" / name, content)
        drop(state / "inbox/in/p1/.hidden", b"h")
        drop(state / "inbox/in/.git/config", b"h")
        drop(state / "inbox/in/p1/c.part", b"half")
        items = await rig.delivered(4)
        jobs = await rig.jobs()
        assert sorted(
            (name, content) for job in jobs for name, content in rig.input_of(job).items()
        ) == [("a.dcm", b"1"), ("a.dcm", b"3"), ("a.dcm", b"a"), ("b.dcm", b"2")]
    assert len(jobs) == 4
    places = {(i.folder.removeprefix(f"{state}/inbox/in").strip("/"), i.name) for i in items}
    assert places == {("", "a.dcm"), ("p1", "a.dcm"), ("p1/s", "b.dcm"), ("p2", "a.dcm")}
    assert sorted(tree_of(state / "originals").values()) == [b"1", b"2", b"3", b"a"]
    left = {"p1/.hidden": b"h", ".git/config": b"h", "p1/c.part": b"half"}
    assert tree_of(state / "inbox/in") == left


async def test_files_next_to_another_triggers_folder_are_taken(state: Path) -> None:
    triggers = [
        {"folder": "in", "pipeline": "ct", "grouping": "file"},
        {"folder": "in/site/urgent", "pipeline": "fast"},
    ]
    async with inbox_rig(make_config(state, trigger=triggers, settle=0.1, rescan=0.5)) as rig:
        await rig.register("ct")
        await rig.register("fast")
        for name in ("a", "site/b", "site/normal/c", "site/urgent/d", "site/urgent/e/f"):
            drop(state / "inbox/in" / name, name.encode())
        items = await rig.delivered(5)
    assert {(i.name, i.pipeline) for i in items} == {
        ("a", "ct"),
        ("b", "ct"),
        ("c", "ct"),
        ("d", "fast"),
        ("e", "fast"),
    }


async def test_what_lies_between_the_folders_of_two_triggers_is_reported(state: Path) -> None:
    triggers = [
        {"folder": "in", "pipeline": "ct"},
        {"folder": "in/a/b/urgent", "pipeline": "fast"},
    ]
    async with inbox_rig(make_config(state, trigger=triggers, settle=0.1, rescan=0.1)) as rig:
        await rig.register("ct")
        await rig.register("fast")
        for name in ("x", "c/d", "a/lost", "a/b/lost too", "a/b/urgent/y", "a/.hidden"):
            drop(state / "inbox/in" / name, name.encode())
        assert {item.name for item in await rig.delivered(3)} == {"x", "c", "y"}
        await rig.until(lambda _: rig.inbox.warnings())
        (warning,) = rig.inbox.warnings()
        assert warning.startswith(f"a/.hidden and 2 more in the inbox folder {state}/inbox/in")
        (state / "inbox/in/a/.hidden").unlink()
        for name in ("a/lost", "a/b/lost too"):
            (state / "inbox/in" / name).rename(state / "inbox/in" / Path(name).name)
        await rig.delivered(5)
        await rig.until(lambda _: not rig.inbox.warnings())


async def test_files_of_a_folder_that_is_moved_in_are_found_without_a_rescan(state: Path) -> None:
    async with inbox_rig(config(state, "file", rescan=600)) as rig:
        await rig.register("ct")
        drop(state / "staging/study/a/1.dcm", b"1")
        drop(state / "staging/study/2.dcm", b"2")
        await rig.until(lambda _: (state / "inbox/in").is_dir())
        (state / "staging/study").rename(state / "inbox/in/study")
        await rig.delivered(2)


async def test_what_is_not_included_is_not_taken_by_an_event_either(state: Path) -> None:
    rules = {"include": ("*.dcm",), "ignore": ("skip/*", "x*")}
    async with inbox_rig(config(state, "file", rescan=600, **rules)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/a.dcm", b"1")
        await rig.delivered(1)
        stays = ["a.txt", "sub/b.json", "skip/a.dcm", "x.dcm", "sub/xy.dcm"]
        for name in stays:
            drop(state / "inbox/in" / name)
        drop(state / "staging/more/c.dcm")
        drop(state / "staging/more/c.txt")
        (state / "staging/more").rename(state / "inbox/in/more")
        drop(state / "inbox/in/sub/b.dcm", b"2")
        items = await rig.delivered(3)
        assert sorted(item.name for item in items) == ["a.dcm", "b.dcm", "c.dcm"]
        # Nothing but events of the two: no folder comes that would have all listed.
        drop(state / "inbox/in/z.txt")
        drop(state / "inbox/in/z.dcm", b"3")
        await rig.delivered(4)
        assert len(ended(list(await rig.inbox.items()))) == 4
    assert sorted(tree_of(state / "inbox/in")) == sorted([*stays, "more/c.txt", "z.txt"])


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
@pytest.mark.parametrize("grouping", ["file", "dicom-study"])
async def test_a_folder_below_that_cannot_be_read_is_reported_and_continues(
    state: Path, grouping: str
) -> None:
    locked = drop(state / "inbox/in/sub/locked/a.dcm").parent
    locked.chmod(0)
    more = {"quiet_seconds": 0.5} if grouping == "dicom-study" else {}
    try:
        async with inbox_rig(config(state, grouping, **more)) as rig:
            await rig.register("ct")
            (item,) = await rig.until(lambda items: any("adopt" in i.remedy for i in items))
            assert (item.state, item.name) == (ItemState.PARKED, "sub/locked")
            assert item.remedy == f"sudo claraedge adopt {item.id}"
            locked.chmod(0o755)
            rig.inbox.poke()
            if grouping == "file":
                (item,) = await rig.delivered()
                assert (item.name, item.state) == ("a.dcm", ItemState.DELIVERED)
            else:
                (item,) = await rig.until(lambda items: any("DICOM" in i.reason for i in items))
    finally:
        locked.chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
async def test_a_dicom_file_that_cannot_be_read_says_what_corrects_it(state: Path) -> None:
    path = drop(state / "inbox/in/a.dcm")
    path.chmod(0)
    async with inbox_rig(config(state, "dicom-study")) as rig:
        await rig.register("ct")
        (item,) = await rig.until(lambda items: any("adopt" in i.remedy for i in items))
        assert (item.state, item.remedy) == (ItemState.PARKED, f"sudo claraedge adopt {item.id}")


# --- folder -----------------------------------------------------------------------------------


async def test_folder_makes_a_job_of_each_folder_and_loose_files_are_reported_and_wait(
    state: Path,
) -> None:
    async with inbox_rig(config(state, "folder")) as rig:
        await rig.register("ct")
        loose = drop(state / "inbox/in/loose.dcm")
        drop(state / "inbox/in/one/a/1.dcm", b"1")
        drop(state / "inbox/in/two/2.dcm", b"2")
        await rig.delivered(2)
        items = await rig.until(lambda items: any(i.state is ItemState.PARKED for i in items))
        (item,) = [i for i in items if i.name == "loose.dcm"]
        assert item.reason == "this trigger accepts only folders: put the file into a folder here"
        assert await inputs(rig) == {"one": {"a/1.dcm": b"1"}, "two": {"2.dcm": b"2"}}
        staged = state / "inbox/in/.staged"
        staged.mkdir()
        loose.rename(staged / "loose.dcm")
        staged.rename(state / "inbox/in/three")
        await rig.delivered(3)
        assert (await inputs(rig))["three"] == {"loose.dcm": b"content"}


# --- quiet ------------------------------------------------------------------------------------


async def test_quiet_gathers_what_arrives_until_nothing_more_does(state: Path) -> None:
    async with inbox_rig(config(state, "quiet", quiet_seconds=1.5)) as rig:
        await rig.register("ct")
        for i in range(6):
            drop(state / f"inbox/in/{9 - i}.dcm", b"%d" % i)
            await asyncio.sleep(0.4)
        drop(state / "inbox/in/more/x/y.dcm", b"y")
        (state / "inbox/in/empty").mkdir()
        (item,) = [i for i in await rig.delivered() if ended([i])]
        (job,) = await rig.jobs()
        tree = {f"{9 - i}.dcm": b"%d" % i for i in range(6)} | {"more/x/y.dcm": b"y"}
        assert rig.input_of(job) == tree
        assert item.name == job.name == "9.dcm"
        assert list(item.members) == [*(f"{9 - i}.dcm" for i in range(6)), "more"]
        drop(state / "inbox/in/late.dcm", b"late")
        await rig.delivered(2)
        assert (await inputs(rig))["late.dcm"] == {"late.dcm": b"late"}
    assert originals(state) == {f"9.dcm/{k}": v for k, v in tree.items()} | {
        "late.dcm/late.dcm": b"late"
    }
    assert [p.name for p in (state / "inbox/in").iterdir()] == ["empty"]


async def test_a_group_waits_for_one_that_is_being_written(state: Path) -> None:
    async with inbox_rig(config(state, "quiet", quiet_seconds=0.3)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/a.dcm")
        with (state / "inbox/in/b.dcm").open("wb") as file:
            file.write(b"half")
            file.flush()
            await rig.until(lambda items: any("open for writing" in i.reason for i in items))
            items = await rig.until(
                lambda items: any(i.reason.startswith("whole; its group") for i in items)
            )
            assert {i.name for i in items} == {"a.dcm", "b.dcm"}
            await asyncio.sleep(1.0)
            assert await rig.jobs() == []
            file.write(b" and half")
        await rig.delivered()
        assert await inputs(rig) == {"a.dcm": {"a.dcm": b"content", "b.dcm": b"half and half"}}


async def test_a_group_that_lies_there_at_the_start_is_not_taken_before_all_was_inspected(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first files are complete and quiet long before the last is inspected."""
    for i in range(40):
        drop(state / f"inbox/in/{i:02}.dcm", b"%d" % i)
    inspect = EntryInspector.inspect

    def slow(self: Any, *args: Any, **more: Any) -> Any:
        time.sleep(0.02)
        return inspect(self, *args, **more)

    monkeypatch.setattr(EntryInspector, "inspect", slow)
    monkeypatch.setattr("claraedge.inbox.inbox._INSPECTIONS", 4)
    async with inbox_rig(config(state, "quiet", quiet_seconds=0.1)) as rig:
        await rig.register("ct")
        (item,) = await rig.delivered()
        assert len(item.members) == 40


async def test_a_group_waits_for_the_first_inspection_of_what_just_came(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a folder with very many files: until a file is inspected, nobody knows its group."""
    inspect, resume = EntryInspector.inspect, threading.Event()

    def slow(self: Any, trigger: Any, name: bytes, *args: Any, **more: Any) -> Any:
        if name == b"b.dcm":
            resume.wait(20)
        return inspect(self, trigger, name, *args, **more)

    monkeypatch.setattr(EntryInspector, "inspect", slow)
    async with inbox_rig(config(state, "quiet", quiet_seconds=1.5)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/a.dcm", b"a")
        await rig.until(lambda items: any(i.reason.startswith("whole") for i in items))
        drop(state / "inbox/in/b.dcm", b"b")
        await rig.until(lambda items: len(items) == 2)
        await asyncio.sleep(2.0)  # a.dcm alone was quiet for long enough
        assert await rig.jobs() == []
        resume.set()
        (item,) = await rig.delivered()
        assert item.members == ("a.dcm", "b.dcm")


async def test_a_group_with_a_faulty_entry_loses_that_alone(state: Path) -> None:
    (state / "inbox/in").mkdir(parents=True)
    (state / "inbox/in/link").symlink_to("/etc/passwd")
    drop(state / "inbox/in" / os.fsdecode(b"\xff.dcm"))
    drop(state / "inbox/in/good.dcm", b"good")
    async with inbox_rig(config(state, "quiet", quiet_seconds=0.3, incomplete="run")) as rig:
        await rig.register("ct")
        items = await rig.delivered(3)
        assert await inputs(rig) == {"good.dcm": {"good.dcm": b"good"}}
        (job,) = await rig.jobs()
        assert job.messages[0].startswith("the input is incomplete: 1 of 3 files: 'link': ")
    assert {i.raw_name: i.state for i in items} == {
        b"link": ItemState.FAILED,
        b"\xff.dcm": ItemState.FAILED,
        b"good.dcm": ItemState.DELIVERED,
    }


# --- marker -----------------------------------------------------------------------------------


async def test_a_marker_ends_a_group_and_is_kept_and_is_no_input(state: Path) -> None:
    async with inbox_rig(config(state, "marker", marker="READY", include=("*.dcm",))) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/b.dcm", b"b")
        drop(state / "inbox/in/a.dcm", b"a")
        drop(state / "inbox/in/notes.txt", b"n")
        await rig.until(lambda items: sum(i.reason.startswith("whole") for i in items) == 2)
        await asyncio.sleep(0.5)
        assert await rig.jobs() == []
        drop(state / "inbox/in/READY", b"go")
        (item,) = await rig.delivered()
        (job,) = await rig.jobs()
        assert rig.input_of(job) == {"a.dcm": b"a", "b.dcm": b"b"}
    assert item.members[-1] == "READY"
    assert originals(state) == {
        f"{item.name}/{name}": content
        for name, content in {"a.dcm": b"a", "b.dcm": b"b", "READY": b"go"}.items()
    }
    assert tree_of(state / "inbox/in") == {"notes.txt": b"n"}


@pytest.mark.parametrize("ends", [{"grouping": "quiet", "quiet_seconds": 0.5}, MARKED])
async def test_an_unfinished_file_keeps_its_group_waiting_where_only_some_names_are_included(
    state: Path, ends: dict[str, Any]
) -> None:
    async with inbox_rig(config(state, **ends, include=("*.dcm",))) as rig:
        await rig.register("ct")
        half = drop(state / "inbox/in/b.dcm.filepart", b"b")
        drop(state / "inbox/in/a.dcm", b"a")
        drop(state / "inbox/in/READY.dcm", b"go")
        await rig.until(lambda items: any("its group waits" in i.reason for i in items))
        assert await rig.jobs() == []
        half.rename(half.with_suffix(""))
        await rig.delivered()
        (job,) = await rig.jobs()
        assert {"a.dcm", "b.dcm"} <= set(rig.input_of(job))


@pytest.mark.parametrize("rescan", [0.5, 600])
async def test_a_group_continues_when_what_lacks_is_removed(state: Path, rescan: float) -> None:
    async with inbox_rig(config(state, "quiet", rescan, quiet_seconds=0.5)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/a.dcm", b"a")
        half = drop(state / "inbox/in/b.dcm.filepart", b"b")
        await rig.until(lambda items: any("its group waits" in i.reason for i in items))
        half.unlink()
        await rig.delivered()


async def test_a_file_next_to_a_control_file_waits_where_only_some_names_are_included(
    state: Path,
) -> None:
    async with inbox_rig(config(state, include=("*.dcm",))) as rig:
        await rig.register("ct")
        control = drop(state / "inbox/in/a.dcm.aria2", b"")
        drop(state / "inbox/in/a.dcm", b"a")
        await rig.until(lambda items: any("next to it" in i.reason for i in items))
        control.unlink()
        await rig.delivered()


@pytest.mark.parametrize("lacks", ["b.aria2", "c/b.part"])
async def test_a_group_is_run_without_what_is_unfinished_by_the_name_of_another_file(
    state: Path, lacks: str
) -> None:
    rules = {"quiet_seconds": 0.5, "incomplete": "run"}
    async with inbox_rig(config(state, "quiet", **rules)) as rig:
        await rig.register("ct")
        for name in ("a", "b", lacks):
            drop(state / "inbox/in" / name, name.encode())
        drop(state / "inbox/in/c/d", b"d")
        (item,) = await rig.delivered()
    assert "a" in item.members
    assert ("b" in item.members) is (lacks != "b.aria2")
    assert ("c" in item.members) is (lacks != "c/b.part")


async def test_a_marker_that_came_first_or_for_nothing_waits(state: Path) -> None:
    async with inbox_rig(config(state, "marker", marker="READY")) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/READY", b"")
        (item,) = await rig.until(lambda items: any(i.reason.startswith("a marker") for i in items))
        assert item.reason == "a marker; what it ends is not here yet, or is not whole"
        await asyncio.sleep(0.5)
        assert await rig.jobs() == []
        staged = drop(state / "staging/study/1.dcm").parent
        drop(staged / "2.dcm")
        staged.rename(state / "inbox/in/study")
        await rig.delivered()
        assert await inputs(rig) == {
            "study": {"study/1.dcm": b"content", "study/2.dcm": b"content"}
        }


async def test_a_marker_with_a_star_ends_what_it_names(state: Path) -> None:
    async with inbox_rig(config(state, "marker", marker="*.ready")) as rig:
        await rig.register("ct")
        for name in ("a.dcm", "a.json", "ab.dcm", "b.dcm"):
            drop(state / "inbox/in" / name, name.encode())
        drop(state / "inbox/in/a/deep/1.dcm", b"1")
        drop(state / "inbox/in/a.ready", b"")
        await rig.delivered(1)
        drop(state / "inbox/in/b.ready", b"")
        await rig.delivered(2)
        assert await inputs(rig) == {
            "a": {"a.dcm": b"a.dcm", "a.json": b"a.json", "a/deep/1.dcm": b"1"},
            "b": {"b.dcm": b"b.dcm"},
        }
    assert tree_of(state / "inbox/in") == {"ab.dcm": b"ab.dcm"}


# --- what names say ---------------------------------------------------------------------------


async def test_names_reach_the_job_as_parameters_and_metadata(state: Path) -> None:
    rules = config(
        state,
        "file",
        match=r"(?P<patient>p\d+)/(?P<kind>ct|mr)-.*",
        parameters={"patient": "{patient}", "kind": "{kind}"},
        metadata={"From": "{folder} ({name})", "Fixed": "yes"},
        priority="higher",
    )
    async with inbox_rig(rules) as rig:
        await rig.register("ct", PARAMETERS)
        drop(state / "inbox/in/p1/ct-1.dcm")
        drop(state / "inbox/in/p2/mr-1.dcm")
        stays = drop(state / "inbox/in/x/ct-1.dcm")
        items = await rig.delivered(2)
        jobs = {job.metadata["From"]: job for job in await rig.jobs()}
        items = await rig.until(lambda items: any("`match`" in i.reason for i in items))
    assert {k: dict(j.variables or {}) for k, j in jobs.items()} == {
        "p1 (ct-1.dcm)": {"patient": "p1", "kind": "ct"},
        "p2 (mr-1.dcm)": {"patient": "p2", "kind": "mr"},
    }
    assert "copy-p1-ct" in (jobs["p1 (ct-1.dcm)"].snapshot or "")
    assert {job.priority for job in jobs.values()} == {Priority.HIGHER}
    assert jobs["p1 (ct-1.dcm)"].metadata == {
        "From": "p1 (ct-1.dcm)",
        "Fixed": "yes",
        "Source": "inbox",
        "Item": "ct-1.dcm",
    }
    (waits,) = [i for i in items if not ended([i])]
    assert (waits.state, waits.name) == (ItemState.PARKED, "x/ct-1.dcm")
    assert stays.exists()


@pytest.mark.parametrize(
    "parameters", [{"patient": "x", "size": "1"}, {"patient": "{name}", "size": "1"}]
)
async def test_a_parameter_that_the_pipeline_does_not_have_is_reported(
    state: Path, parameters: dict[str, str]
) -> None:
    async with inbox_rig(config(state, parameters=parameters)) as rig:
        await rig.register("ct", PARAMETERS)
        drop(state / "inbox/in/a.dcm")
        (item,) = await rig.until(lambda items: any("size" in i.reason for i in items))
        assert item.state is ItemState.PARKED
        assert await rig.jobs() == []


async def test_doubled_braces_of_a_parameter_are_a_brace(state: Path) -> None:
    async with inbox_rig(config(state, parameters={"patient": "{{}}"})) as rig:
        await rig.register("ct", PARAMETERS)
        drop(state / "inbox/in/a.dcm")
        await rig.delivered()
        (job,) = await rig.jobs()
    assert dict(job.variables or {})["patient"] == "{}"


# --- when and in which order ------------------------------------------------------------------


async def test_each_trigger_has_its_own_settle_time(state: Path) -> None:
    triggers = [
        {"folder": "fast", "pipeline": "ct", "settle_seconds": 0.1},
        {"folder": "slow", "pipeline": "ct", "settle_seconds": 3.0},
    ]
    async with inbox_rig(make_config(state, trigger=triggers, settle=60)) as rig:
        await rig.register("ct")
        began = time.monotonic()
        drop(state / "inbox/slow/a.dcm")
        drop(state / "inbox/fast/b.dcm")
        await rig.until(lambda items: [i.name for i in ended(items)] == ["b.dcm"])
        await rig.delivered(2)
        assert time.monotonic() - began >= 3.0


async def test_a_full_queue_parks_and_continues_by_itself(state: Path) -> None:
    waiting_jobs = [5]
    rules = make_config(state, max_queued=5)
    async with inbox_rig(rules, queued=lambda: waiting_jobs[0]) as rig:
        await rig.register("ct")
        drop(state / "inbox/ct/a.dcm")
        (item,) = await rig.until(lambda items: any("queue is full" in i.reason for i in items))
        assert item.state is ItemState.PARKED
        assert item.reason.startswith(
            "the queue is full: 5 jobs wait for their turn, and inbox.max_queued is 5; "
        )
        await asyncio.sleep(0.5)
        assert await rig.jobs() == []
        assert rig.inbox.parked() == 1
        waiting_jobs[0] = 4
        await rig.delivered()
        assert rig.inbox.parked() == 0


async def test_jobs_come_in_the_order_first_seen_then_by_name_bytes(state: Path) -> None:
    async with inbox_rig(config(state, "file", rescan=600, settle_seconds=2.0)) as rig:
        await rig.register("ct")
        await rig.until(lambda _: (state / "inbox/in").is_dir())
        for count, name in enumerate(("z.dcm", "m.dcm"), 1):
            drop(state / "inbox/in" / name)
            await rig.until(lambda items, n=count: len(items) == n)  # type: ignore[misc]
        together = [b"a.dcm", "é.dcm".encode(), b"B.dcm", b"Z.dcm"]
        for raw in together:
            drop(state / "staging/more" / os.fsdecode(raw))
        (state / "staging/more").rename(state / "inbox/in/more")
        await rig.delivered(6)
        names = [job.name for job in await rig.jobs()]
    assert names[:2] == ["z.dcm", "m.dcm"]
    assert names[2:] == ["B.dcm", "Z.dcm", "a.dcm", "é.dcm"]
