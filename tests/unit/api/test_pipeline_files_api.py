"""Pipelines of files, as clients of a whole daemon see them."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from claraedge.config import PipelinesSettings
from claraedge.registry.file_records import id_of
from claraedge.wire.claraedge.v1 import appliance_pb2
from claraedge.wire.claraedge.v1.pipeline_files_pb2 import ListPipelineFilesRequest
from claraedge.wire.claraedge.v1.pipeline_files_pb2_grpc import PipelineFilesStub
from claraedge.wire.nvidia.clara.platform import jobs_pb2, pipelines_pb2
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually
from tests.unit.api.conftest import HEADER, Daemon, an_id, daemon_in, messages

PIPELINE = id_of("ct.yaml")


def write(daemon_folder: Path, name: str, text: str) -> Path:
    path = daemon_folder / "state" / "pipelines.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


async def listed(daemon: Daemon) -> list[str]:
    request = pipelines_pb2.PipelinesListRequest(header=HEADER)
    found = await messages(daemon.pipelines.List(request))
    return [m.details.name for m in found if m.details.name]


async def files(daemon: Daemon) -> list[Any]:
    stub: Any = PipelineFilesStub(daemon.channel)
    return [m.file for m in await messages(stub.List(ListPipelineFilesRequest())) if m.file.name]


async def warnings(daemon: Daemon) -> str:
    status = await daemon.appliance.Status(appliance_pb2.StatusRequest())
    return "\n".join(status.warnings)


def all_events(folder: Path) -> list[Any]:
    """Every change that the log of a daemon that has ended contains."""
    with closing(sqlite3.connect(folder / "state/claraedge.db")) as state:
        return state.execute("SELECT number, kind, body FROM events").fetchall()


async def test_jobs_run_from_a_file_and_keep_what_they_were_made_with(
    folder: Path, daemon: Daemon
) -> None:
    status = await daemon.appliance.Status(appliance_pb2.StatusRequest())
    assert status.pipelines_dir == str(folder / "state/pipelines.d")
    path = write(folder, "ct.yaml", chain("one", "two"))
    await eventually(lambda: listed(daemon), "the pipeline is listed")
    made = await daemon.create(PIPELINE)
    path.write_text(chain("three"))

    async def is_updated() -> bool:
        request = pipelines_pb2.PipelinesDetailsRequest(header=HEADER, pipeline_id=an_id(PIPELINE))
        (message, *_) = await messages(daemon.pipelines.Details(request))
        return [n.name for n in message.dag] == ["three"]

    await eventually(is_updated, "it is updated")
    other = await daemon.create(PIPELINE)
    path.unlink()

    async def is_disabled() -> bool:
        return await listed(daemon) == []

    await eventually(is_disabled, "it is disabled")
    refused = await daemon.create(PIPELINE)
    assert refused.header.code == -0x1001
    assert (
        "its file ct.yaml is gone from the folder of pipelines; put it back"
        in refused.header.messages[0]
    )
    for job, operators in ((made, ["one", "two"]), (other, ["three"])):
        await daemon.upload(job.payload_id.value, ("a.txt", b"a"))
        await daemon.start(job.job_id.value)
        ended = await daemon.end(job.job_id.value)
        assert ended.status == jobs_pb2.JOB_STATUS_HEALTHY
        assert [o.name for o in ended.operator_details] == operators
    (file,) = await files(daemon)
    assert (file.name, file.pipeline_id, file.gone) == ("ct.yaml", PIPELINE, True)


async def test_calls_that_would_change_it_are_refused_and_name_the_file(
    folder: Path, daemon: Daemon
) -> None:
    write(folder, "ct.yaml", chain("one"))
    await eventually(lambda: listed(daemon), "the pipeline is listed")
    update = pipelines_pb2.PipelinesUpdateRequest(
        header=HEADER,
        pipeline_id=an_id(PIPELINE),
        definition=pipelines_pb2.PipelineDefinitionFile(path="p.yaml", content=chain("two")),
    )
    remove = pipelines_pb2.PipelinesRemoveRequest(header=HEADER, pipeline_id=an_id(PIPELINE))
    for reply in (
        await daemon.pipelines.Update(iter([update])),
        await daemon.pipelines.Remove(remove),
    ):
        assert reply.header.code == -0x5010
        assert "the file ct.yaml in the folder of" in reply.header.messages[0]
    assert await listed(daemon) == ["chain"]


async def test_a_dropped_file_waits_for_its_pipeline(folder: Path, daemon: Daemon) -> None:
    drop = folder / "state/inbox/chain"
    drop.mkdir(parents=True)
    (drop / "scan.dcm").write_bytes(b"scan")
    write(folder, "ct.yaml", chain("one"))

    async def is_delivered() -> bool:
        replies = await messages(daemon.inbox.List(appliance_pb2.ListItemsRequest()))
        states = [item.state for reply in replies for item in reply.items]
        return states == [appliance_pb2.ITEM_STATE_DELIVERED]

    await eventually(is_delivered, "it is delivered")


async def test_status_reports_a_wrong_file_with_its_place(folder: Path, daemon: Daemon) -> None:
    path = write(folder, "ct.yaml", chain("one").replace("operators:", "operatros:"))

    async def is_reported() -> bool:
        return f"{path}:" in await warnings(daemon)

    await eventually(is_reported, "there is a warning")
    (file,) = await files(daemon)
    assert (file.pipeline_id, file.path, file.gone) == ("", str(path), False)
    assert all(problem.startswith(f"{path}:") for problem in file.problems)
    path.write_text(chain("one"))
    await eventually(lambda: listed(daemon), "the pipeline is listed")
    assert str(path) not in await warnings(daemon)


async def test_restarts_say_nothing_and_what_changed_meanwhile_is_applied(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        assert await files(daemon) == []
        path = write(folder, "ct.yaml", chain("one"))
        await eventually(lambda: listed(daemon), "the pipeline is listed")
    before = all_events(folder)
    assert [kind for _, kind, _ in before] == ["pipeline"]
    for _ in range(2):
        async with daemon_in(folder) as daemon:
            assert await listed(daemon) == ["chain"]
            await asyncio.sleep(0.2)  # some scans
        assert all_events(folder) == before
    path.unlink()
    async with daemon_in(folder) as daemon:

        async def is_disabled() -> bool:
            return await listed(daemon) == []

        await eventually(is_disabled, "it is disabled")


async def test_the_folder_may_lie_elsewhere(folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    async with daemon_in(folder, pipelines=PipelinesSettings(path=elsewhere)) as daemon:
        (elsewhere / "ct.yaml").write_text(chain("one"))
        await eventually(lambda: listed(daemon), "the pipeline is listed")
        assert [f.path for f in await files(daemon)] == [str(elsewhere / "ct.yaml")]
