"""Results and failures reach their folders, whatever becomes of those folders."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path

import pytest

from claraedge.delivery import records
from claraedge.delivery.records import DeliveryState
from claraedge.delivery.roots import Root
from claraedge.fs.trees import copy_tree, move
from claraedge.inbox.model import ItemState
from claraedge.jobs import records as jobs
from claraedge.jobs.model import JobStatus, Priority
from claraedge.registry.pipelines import get, resolve
from claraedge.store.database import Transaction
from tests.rig.inbox import (
    InboxRig,
    document,
    drop,
    ended,
    inbox_rig,
    make_config,
    other_file_system,
    swept,
    tree_of,
)
from tests.rig.waiting import eventually


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.mark.parametrize("status", [JobStatus.FAULTED, JobStatus.CANCELED, JobStatus.EVICTED])
async def test_a_job_that_did_not_end_well_goes_to_the_failures(
    state: Path, status: JobStatus
) -> None:
    async with inbox_rig(make_config(state), status=status) as rig:
        await rig.register("ct")
        drop(state / "inbox/ct/reason.json", b"the original")
        (item,) = await rig.delivered()
        (job,) = await rig.jobs()
    folder = state / f"failed/ct/reason.json-{job.id[:8]}"
    assert (item.state, item.result_path) == (ItemState.FAILED, str(folder))
    assert item.reason == "first: exit code 3"
    assert (folder / "original/reason.json").read_bytes() == b"the original"
    reason = document(folder / "reason.json")
    assert (reason["job_id"], reason["status"]) == (job.id, status.name)
    assert reason["reasons"] == ["first: exit code 3"]
    assert (
        f"into the inbox folder ct again (or: claraedge retry inbox {item.id})"
        in reason["what_to_do"]
    )
    assert reason["item"]["name"] == "reason.json"
    # The last lines of the operator that ran, and no log of the one that did not.
    lines = (folder / "logs/first.log").read_text().splitlines()
    assert (len(lines), lines[0], lines[-1]) == (200, "line 100", "line 299")
    assert [p.name for p in (folder / "logs").iterdir()] == ["first.log"]
    assert not (state / "outbox/ct").exists()


async def parked(rig: InboxRig) -> str:
    """The reason of the one delivery, once it is parked."""

    async def reason() -> str | None:
        rows = await rig.database.read(lambda tx: records.due(tx, healthy=True))
        return rows[0].reason if rows and rows[0].state is DeliveryState.PARKED else None

    return await eventually(reason, "the delivery is parked")


@pytest.mark.parametrize("name", ["outbox", "originals"])
async def test_a_folder_that_is_gone_parks_until_it_is_back(state: Path, name: str) -> None:
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        (state / name).rmdir()
        drop(state / "inbox/ct/scan.dcm")
        assert f"mkdir -p '{state / name}'" in await parked(rig)
        (item,) = await rig.inbox.items()
        assert str(state / name) in item.reason
        assert not (state / name).exists()  # a mount point's place is not filled behind it
        (state / name).mkdir()
        (item,) = await rig.delivered()
    assert item.state is ItemState.DELIVERED


async def test_a_folder_that_is_no_folder_parks_and_stops_nothing_else(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        await rig.register("mr")
        blocker = drop(state / "outbox/ct")
        drop(state / "inbox/ct/one.dcm")
        await parked(rig)
        drop(state / "inbox/mr/two.dcm")
        assert [i.name for i in ended(await rig.delivered())] == ["two.dcm"]
        blocker.unlink()
        await rig.delivered(2)


async def test_several_may_check_a_folder_at_once(tmp_path: Path) -> None:
    root = Root("the outbox", tmp_path / "outbox")
    root.path.mkdir()
    assert await asyncio.gather(root.check(), root.check(), root.check()) == [None] * 3
    root.path.rmdir()
    for trouble in await asyncio.gather(root.check(), root.check()):
        assert "mkdir" in str(trouble)


async def test_a_disk_that_fails_keeps_waiting_what_goes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    root = Root("the outbox", tmp_path)
    monkeypatch.setattr(os, "statvfs", fail)
    assert "Input/output error; check its disk" in str(await root.check())
    monkeypatch.undo()
    assert await root.check() is None


@pytest.mark.parametrize("status", [JobStatus.HEALTHY, JobStatus.FAULTED])
async def test_a_name_of_a_removed_folder_is_not_used_again(state: Path, status: JobStatus) -> None:
    async with inbox_rig(make_config(state), status=status) as rig:
        await rig.register("ct")
        names = []
        for count in range(1, 4):  # the same file, dropped again each time
            drop(state / "inbox/ct/scan.dcm")
            items = await rig.delivered(count)
            (path,) = {str(item.result_path) for item in items} - set(names)
            shutil.rmtree(path)
            names.append(path)
    assert len(set(names)) == 3


async def test_a_result_folder_of_another_is_never_touched(state: Path) -> None:
    async with inbox_rig(make_config(state), run=False) as rig:
        await rig.register("ct")
        drop(state / "inbox/ct/scan.dcm")
        intake = rig.group.create_task(rig.inbox.run())
        await rig.until(lambda items: items and items[0].state is ItemState.SUBMITTED)
        (job,) = await rig.jobs()
        other = drop(state / f"outbox/ct/scan.dcm-{job.id[:8]}/result.json", b"{}").parent
        running = [
            rig.group.create_task(rig.engine.run()),
            rig.group.create_task(rig.delivery.run()),
        ]
        (item,) = await rig.delivered()
        for task in (intake, *running):
            task.cancel()
    assert item.result_path == str(state / f"outbox/ct/scan.dcm-{job.id}")
    assert tree_of(other) == {"result.json": b"{}"}


async def test_a_restart_delivers_what_was_parked(state: Path) -> None:
    config = make_config(state)
    async with inbox_rig(config) as rig:
        await rig.register("ct")
        (state / "outbox").rmdir()
        drop(state / "inbox/ct/scan.dcm")
        await parked(rig)
    async with inbox_rig(config) as rig:  # created again at start
        await rig.delivered()


async def test_a_job_of_the_api_is_delivered_where_a_row_says_so(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        pipeline = await rig.register("ct")

        def work(tx: Transaction) -> None:
            registered = get(tx, pipeline)
            checked = resolve(registered.files, {}, "0" * 32)
            for job, asked in (("1" * 32, True), ("2" * 32, False)):
                jobs.add(
                    tx, job=job, payload=job, name=f"A job: {job[0]}", pipeline=registered,
                    checked=checked, priority=Priority.NORMAL, entries={}, now=1.0,
                )  # fmt: skip
                jobs.start(tx, jobs.get(tx, job), checked, {})
                if asked:
                    records.add_for_job(tx, jobs.get(tx, job), checked, all_jobs=True)

        await rig.database.write(work)
        rig.engine.wake.set()
        await eventually(
            lambda: list((state / "outbox").glob("ct/*/result.json")) and len(rig.engine.ran) >= 2,
            "one is delivered and both ran",
        )
    (folder,) = (state / "outbox/ct").iterdir()
    assert folder.name == "A-job-1-11111111"
    assert document(folder / "result.json")["item"] is None
    assert not list((state / "originals").iterdir())


REGISTERING = """\
api-version: 0.4.0
name: {name}
operators:
- name: first
  container: {{image: copy, command: [run]}}
  input: [{{path: /in}}]
  output: [{{path: /out}}]
- name: second
  container: {{image: copy, command: [run]}}
  input: [{{from: first, path: /in}}]
  output: [{{path: /out}}]
- name: push
  container:
    image: clara/register-results
    command: [python, register.py, --agent, ClaraSCU, --data, '["PACS", "$(NVIDIA_CLARA_JOBID)"]']
  input: [{{path: /study}}, {{from: first, path: /in}}]
- name: show
  container: {{image: register-results, command: [python, register.py]}}
  input: [{{from: second, path: /in}}]
"""


async def test_results_name_what_was_registered_and_contain_what_that_read(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct", REGISTERING)
        drop(state / "inbox/ct/scan.dcm", b"slice")
        (item,) = await rig.delivered()
        (job,) = await rig.jobs()
    folder = Path(str(item.result_path))
    result = document(folder / "result.json")
    assert result["registered"] == [
        {"operator": "push", "agent": "ClaraSCU", "data": ["PACS", job.id]},
        {"operator": "show", "agent": None, "data": None},
    ]
    files = tree_of(folder)
    assert files["push/scan.dcm"] == files["first/scan.dcm"] == files["second/scan.dcm"] == b"slice"
    delivered = {(f["path"], f["operator"]) for f in result["files"]}
    assert ("push/scan.dcm", "push") in delivered


async def test_a_job_of_the_api_that_registers_results_is_delivered_unasked(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        plain, registering = await rig.register("ct"), await rig.register("mr", REGISTERING)

        def work(tx: Transaction) -> None:
            for job, pipeline in (("1" * 32, plain), ("2" * 32, registering)):
                registered = get(tx, pipeline)
                checked = resolve(registered.files, {}, job)
                jobs.add(
                    tx, job=job, payload=job, name="job", pipeline=registered,
                    checked=checked, priority=Priority.NORMAL, entries={}, now=1.0,
                )  # fmt: skip
                records.add_for_job(tx, jobs.get(tx, job), checked, all_jobs=False)

        await rig.database.write(work)
        rows = await rig.database.read(
            lambda tx: [records.get(tx, "1" * 32), records.get(tx, "2" * 32)]
        )
    assert [row is not None for row in rows] == [False, True]


async def test_an_item_whose_pipeline_cannot_run_yet_is_parked_with_the_reason(
    state: Path,
) -> None:
    needing = REGISTERING.replace(
        "  input: [{{path: /in}}]", "  variables: {{MODEL: '${{{{ NET }}}}'}}", 1
    )
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct", needing.replace("{{path: /study}}, ", ""))
        drop(state / "inbox/ct/scan.dcm")
        (item,) = await rig.until(lambda items: items and "NET" in items[0].reason)
        assert "the placeholder `${{ NET }}` names no parameter" in item.reason
        assert not await rig.jobs()
        await rig.register("ct")  # the newest of the name counts
        (item,) = await rig.delivered()
    assert item.state is ItemState.DELIVERED


def test_a_tree_is_copied_as_it_is_and_links_are_not_followed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    drop(source / "a/b.dcm", b"bytes")
    (source / "a/b.dcm").chmod(0o640)
    (source / "link").symlink_to("/etc/passwd")
    (source / "empty").mkdir()
    copy_tree(source, tmp_path / "copy")
    assert tree_of(tmp_path / "copy") == {"a/b.dcm": b"bytes", "link": b"/etc/passwd"}
    assert (tmp_path / "copy/empty").is_dir()
    status = (tmp_path / "copy/a/b.dcm").stat()
    assert status.st_mode & 0o777 == 0o640
    assert status.st_mtime_ns == (source / "a/b.dcm").stat().st_mtime_ns


def test_a_move_that_was_done_already_removes_what_is_left(tmp_path: Path) -> None:
    source, target = drop(tmp_path / "from/x", b"left"), drop(tmp_path / "to/x", b"whole")
    move(source, target)
    assert (source.exists(), target.read_bytes()) == (False, b"whole")


async def test_another_file_system_for_results_and_inbox_works(tmp_path: Path) -> None:
    other = other_file_system(tmp_path)
    try:
        config = make_config(
            tmp_path / "state",
            inbox=other / "inbox",
            path=other / "outbox",
            failed=other / "failed",
            originals=other / "originals",
        )
        async with inbox_rig(config) as rig:
            await rig.register("ct")
            drop(other / "inbox/ct/scan.dcm", b"one")
            drop(other / "inbox/ct/study/a/1.dcm", b"two")
            drop(other / "inbox/ct/bad/1.dcm", b"three")
            (other / "inbox/ct/bad/link").symlink_to("/etc/passwd")
            items = await rig.delivered(3)
            await swept(tmp_path / "state")
        by_name = {item.name: Path(item.result_path or "") for item in items}
        assert [i.name for i in items if i.state is ItemState.FAILED] == ["bad"]
        assert tree_of(by_name["bad"] / "original/bad") == {
            "1.dcm": b"three",
            "link": b"/etc/passwd",
        }
        assert (by_name["study"] / "last/Left/1.dcm").read_bytes() == b"two"
        kept = {name.rpartition("/")[2]: c for name, c in tree_of(other / "originals").items()}
        assert kept == {"scan.dcm": b"one", "1.dcm": b"two"}
        assert list((other / "inbox/ct").iterdir()) == []
        assert list((tmp_path / "state/spool").iterdir()) == []
    finally:
        shutil.rmtree(other)
