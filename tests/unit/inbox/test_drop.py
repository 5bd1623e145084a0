"""A file dropped into the inbox becomes one job and one result, and is kept."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from pathlib import Path

import pytest

from claraedge.inbox.intake import intake
from claraedge.inbox.model import ItemState
from claraedge.jobs.model import JobState, JobStatus
from tests.rig.inbox import InboxRig, document, drop, inbox_rig, make_config, swept, tree_of


async def test_a_file_becomes_a_result(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        source = drop(state / "inbox/ct/scan 1.dcm", b"pixels")
        (item,) = await rig.delivered()
        (job,) = await rig.jobs()
        await swept(state)
    assert (item.state, item.job, item.name) == (ItemState.DELIVERED, job.id, "scan 1.dcm")
    assert (job.state, job.status, job.name) == (JobState.STOPPED, JobStatus.HEALTHY, "scan 1.dcm")
    assert job.metadata == {"Source": "inbox", "Item": "scan 1.dcm"}
    assert not source.exists()
    folder = state / f"outbox/ct/scan-1.dcm-{job.id[:8]}"
    assert item.result_path == str(folder)
    result = document(folder / "result.json")
    assert tree_of(folder).keys() == {
        "last/Left/raw\\xff", "last/Left/scan 1.dcm",
        "last/right/raw\\xff", "last/right/scan 1.dcm", "result.json",
    }  # fmt: skip
    assert (result["job_id"], result["status"], result["pipeline"]) == (job.id, "HEALTHY", "ct")
    assert [o["name"] for o in result["operators"]] == ["first", "last"]
    assert result["operators"][1]["exit_code"] == 0
    assert result["operators"][1]["image_id"] == "f" * 64
    assert result["files"][1] == {
        "path": "last/Left/scan 1.dcm", "operator": "last", "output": "Left", "size": 6,
        "sha256": hashlib.sha256(b"pixels").hexdigest(),
    }  # fmt: skip
    assert result["files"][0]["path"] == "last/Left/raw\\xff"
    assert result["stopped"].endswith("Z")
    original = state / f"originals/ct/scan-1.dcm-{job.id[:8]}/scan 1.dcm"
    assert original.read_bytes() == b"pixels"
    for path in [folder, *folder.rglob("*")]:
        wanted = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted & ~_umask(), path


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


async def test_a_folder_becomes_one_job_with_its_tree(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        staging = state / "staging/study"
        drop(staging / "a/1.dcm", b"1")
        drop(staging / "b/2.dcm", b"2")
        drop(staging / ".hidden", b"h")
        (state / "inbox/ct").mkdir(parents=True)
        staging.rename(state / "inbox/ct/study")
        (item,) = await rig.delivered()
        (job,) = await rig.jobs()
        assert tree_of(state / "payloads" / job.payload / "input") == {
            "a/1.dcm": b"1",
            "b/2.dcm": b"2",
            ".hidden": b"h",
        }
    original = state / f"originals/ct/study-{job.id[:8]}/study"
    assert tree_of(original) == {"a/1.dcm": b"1", "b/2.dcm": b"2", ".hidden": b"h"}
    assert item.size == 3


async def test_fifty_files_at_once_become_fifty_jobs_in_order(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_IN_ORDER", 60.0)  # else a slow one is overtaken after a second
    names = [f"scan-{i:02}.dcm" for i in range(50)]
    async with inbox_rig(make_config(state, settle=0.4)) as rig:
        await rig.register("ct")
        staging = state / "staging"
        for name in reversed(names):
            drop(staging / name, name.encode())
        staging.rename(state / "inbox/ct")
        items = await rig.delivered(50)
        found = await rig.jobs()
        await swept(state)
    assert [job.name for job in found] == names
    assert {item.state for item in items} == {ItemState.DELIVERED}
    assert len(items) == 50
    results = sorted((state / "outbox/ct").iterdir())
    assert len(results) == 50
    for name, folder in zip(names, results, strict=True):
        assert (folder / "last/Left" / name).read_bytes() == name.encode()
    assert list((state / "inbox/ct").iterdir()) == []


async def test_a_name_that_is_used_again_is_a_new_item(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        for count, content in enumerate((b"one", b"two", b"three"), 1):
            drop(state / "inbox/ct/scan.dcm", content)
            await rig.delivered(count)
    originals = sorted(p.read_bytes() for p in (state / "originals/ct").glob("*/scan.dcm"))
    assert originals == [b"one", b"three", b"two"]


async def test_what_lay_there_before_the_start_is_settled_too(state: Path) -> None:
    drop(state / "inbox/ct/scan.dcm")
    config = make_config(state, settle=0.6)
    async with inbox_rig(config) as rig:
        await rig.register("ct")
        await rig.until(lambda items: items and items[0].state is ItemState.SETTLING)
        (item,) = await rig.delivered()
    assert item.state is ItemState.DELIVERED


async def test_an_open_file_is_not_taken_until_it_is_closed(state: Path) -> None:
    # The watcher delays events for half a second, to pair those of a rename.
    async with inbox_rig(make_config(state, settle=1.0)) as rig:
        await rig.register("ct")
        folder = state / "inbox/ct"
        folder.mkdir(parents=True)
        await _until_watched(rig, folder)
        with (folder / "slow.dcm").open("wb") as file:
            file.write(b"half")
            file.flush()
            await rig.until(lambda items: any("open for writing" in i.reason for i in items))
            await asyncio.sleep(2.5)  # more than twice the settle time
            assert len(await rig.jobs()) == 1
            file.write(b" and half")
        await rig.delivered(2)
    (original,) = (state / "originals/ct").glob("*/slow.dcm")
    assert original.read_bytes() == b"half and half"


async def _until_watched(rig: InboxRig, folder: Path) -> None:
    """Until a new folder's own events arrive."""
    probe = drop(folder / "probe.dcm")
    await rig.delivered(1)
    assert not probe.exists()


async def test_a_rename_from_a_temporary_name_is_taken_at_once(state: Path) -> None:
    async with inbox_rig(make_config(state, settle=60.0, rescan=60.0)) as rig:
        await rig.register("ct")
        folder = state / "inbox/ct"
        folder.mkdir(parents=True)
        part = drop(folder / "scan.dcm.part")
        await asyncio.sleep(0.3)
        (item,) = await rig.inbox.items()
        assert (item.state, item.name) == (ItemState.SETTLING, "scan.dcm.part")
        for _ in range(20):  # the folder's own watch may come after the first rename
            part.rename(folder / "scan.dcm")
            await rig.until(lambda items: {item.name for item in items} == {"scan.dcm"})
            await asyncio.sleep(0.3)
            if not (folder / "scan.dcm").exists():
                break
            (folder / "scan.dcm").rename(part)
        (item,) = await rig.delivered()
    assert item.name == "scan.dcm"


async def test_names_that_are_never_taken_stay_and_say_why(state: Path) -> None:
    reasons = {
        ".hidden": "begins with a dot",
        "a.part": "unfinished file",
        "~$a.docx": "Microsoft Office",
        "Thumbs.db": "Windows Explorer",
        "@eaDir": "Synology",
    }
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        kept = [drop(state / "inbox/ct" / name) for name in reasons]
        drop(state / "inbox/ct/scan.dcm")
        await rig.delivered()
        items = await rig.until(
            lambda items: (
                len(items) == len(reasons) + 1
                and not any(i.state in (ItemState.SEEN, ItemState.SETTLING) for i in items)
            )
        )
        states = {item.name: item.state for item in items}
        assert states == {
            ".hidden": ItemState.PARKED,
            "a.part": ItemState.PARKED,
            "~$a.docx": ItemState.IGNORED,
            "Thumbs.db": ItemState.IGNORED,
            "@eaDir": ItemState.IGNORED,
            "scan.dcm": ItemState.DELIVERED,
        }
        for item in items:
            assert reasons.get(item.name, "") in item.reason, item
            assert not item.reason or item.remedy or "remove it" in item.reason
        for item in items:
            if item.state is ItemState.IGNORED:
                assert await rig.inbox.item(item.id) == item
    assert all(path.exists() for path in kept)


async def test_a_folder_with_an_unfinished_file_waits_for_it(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        part = drop(state / "inbox/ct/study/2.dcm.part", b"2")
        drop(state / "inbox/ct/study/1.dcm", b"1")
        await rig.until(lambda items: any("2.dcm.part" in i.reason for i in items))
        part.rename(part.with_suffix(""))
        await rig.delivered()
        (job,) = await rig.jobs()
        assert tree_of(state / "payloads" / job.payload / "input") == {"1.dcm": b"1", "2.dcm": b"2"}


async def test_an_empty_folder_is_no_job_until_it_is_filled(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        (state / "inbox/ct/study").mkdir(parents=True)
        await rig.until(lambda items: any("an empty folder" in i.reason for i in items))
        assert await rig.jobs() == []
        drop(state / "inbox/ct/study/1.dcm")
        await rig.delivered()


async def test_no_such_pipeline_parks_until_there_is_one(state: Path) -> None:
    async with inbox_rig(make_config(state, rescan=60)) as rig:
        drop(state / "inbox/CT/scan.dcm")
        (item,) = await rig.until(lambda items: any(i.reason for i in items))
        assert item.state is ItemState.PARKED
        assert item.reason == "no such pipeline: CT (`claraedge list pipelines` shows all)"
        assert (state / "inbox/CT/scan.dcm").exists()
        assert rig.inbox.parked() == 1
        await rig.register("ct")
        await rig.delivered()
        (job,) = await rig.jobs()
        assert job.pipeline_name == "ct"


async def test_a_file_in_no_folder_is_parked_and_says_what_to_do(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        lost = drop(state / "inbox/scan.dcm")
        (item,) = await rig.until(lambda items: items)
        assert item.state is ItemState.PARKED
        assert item.reason.startswith("it lies in the inbox itself: move it into a folder there")
        lost.rename(state / "inbox/ct.tmp")
        (state / "inbox/ct").mkdir()
        (state / "inbox/ct.tmp").rename(state / "inbox/ct/scan.dcm")
        (item,) = await rig.delivered()
        assert item.state is ItemState.DELIVERED


async def test_a_definition_that_cannot_be_run_parks_with_its_text(state: Path) -> None:
    text = "api-version: 0.4.0\nname: {name}\nparameters:\n  size:\noperators:\n" + (
        "- name: a\n  container: {{image: 'copy-${{{{size}}}}'}}\n"
        "  input:\n  - {{path: /in}}\n  output:\n  - {{path: /out}}\n"
    )
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct", text)
        drop(state / "inbox/ct/scan.dcm")
        (item,) = await rig.until(lambda items: any("cannot take it" in i.reason for i in items))
        assert item.state is ItemState.PARKED
        assert "size" in item.reason
        await rig.register("ct")  # the newest of a name counts
        await rig.delivered()


async def test_configured_triggers_choose_folder_pipeline_and_outputs(
    state: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    config = make_config(
        state,
        trigger=[
            {"folder": "scanners/one", "pipeline": "ct", "deliver": ("first",)},
            {"folder": str(outside), "pipeline": "CT"},
        ],
    )
    async with inbox_rig(config) as rig:
        assert (state / "inbox/scanners/one").is_dir()
        await rig.register("ct")
        drop(state / "inbox/scanners/one/in.dcm")
        drop(outside / "out.dcm")
        items = await rig.delivered(2)
    by_name = {i.name: Path(i.result_path or "") for i in items}
    assert (by_name["in.dcm"] / "first/in.dcm").exists()
    assert (by_name["in.dcm"] / "last/Left/in.dcm").exists()
    assert not (by_name["out.dcm"] / "first").exists()


async def test_an_unknown_output_of_a_trigger_parks_with_a_hint(state: Path) -> None:
    config = make_config(state, trigger=[{"folder": "ct", "pipeline": "ct", "deliver": ("lsat",)}])
    async with inbox_rig(config) as rig:
        await rig.register("ct")
        drop(state / "inbox/ct/scan.dcm")
        (item,) = await rig.until(lambda items: any("deliver" in i.reason for i in items))
        assert item.state is ItemState.PARKED
        assert "did you mean `last`?" in item.reason


async def test_an_inbox_that_vanishes_and_comes_back_continues(state: Path) -> None:
    async with inbox_rig(make_config(state, rescan=0.1)) as rig:
        await rig.register("ct")
        drop(state / "inbox/ct/one.dcm")
        await rig.delivered(1)
        (state / "inbox").rename(state / "moved")
        await asyncio.sleep(0.3)
        drop(state / "moved/ct/two.dcm")
        (state / "moved").rename(state / "inbox")
        await rig.delivered(2)
        drop(state / "inbox/ct/three.dcm")
        await rig.delivered(3)


async def test_a_file_that_goes_before_it_is_taken_leaves_nothing(state: Path) -> None:
    async with inbox_rig(make_config(state, settle=1.0, rescan=0.1)) as rig:
        await rig.register("ct")
        path = drop(state / "inbox/ct/scan.dcm")
        await rig.until(lambda items: items)
        path.unlink()
        await rig.until(lambda items: not items)
        assert await rig.jobs() == []
