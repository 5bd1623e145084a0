"""Drops over gRPC: triggers that are listed, uploads of both kinds, and errors by their names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest

from claraedge.wire.claraedge.v1 import (
    appliance_pb2,
    drops_pb2,
    drops_pb2_grpc,
    files_pb2,
)
from claraedge.wire.nvidia.clara.platform import payloads_pb2
from tests.rig.pipelines import chain
from tests.unit.api.conftest import HEADER, Daemon, daemon_in

NOBODY = "0123456789abcdef0123456789abcdef"


def drops_of(daemon: Daemon) -> Any:
    return drops_pb2_grpc.DropsStub(daemon.channel)


async def refused(call: Awaitable[Any], name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as found:
        await call
    assert dict(found.value.trailing_metadata() or ())["claraedge-error"] == name


async def started(daemon: Daemon) -> str:
    (daemon.config.inbox_dir / "ct").mkdir(exist_ok=True)
    drop = await drops_of(daemon).Start(drops_pb2.StartDropRequest(folder="ct"))
    return str(drop.id)


async def begun(daemon: Daemon, drop: str, name: str) -> files_pb2.Upload:
    request = files_pb2.StartUploadRequest(drop_id=drop, name=name, mode=0o755, note="mine")
    upload = await daemon.files.StartUpload(request)
    assert isinstance(upload, files_pb2.Upload)
    return upload


async def write(daemon: Daemon, *messages: files_pb2.WriteFileRequest) -> Any:
    async def each() -> AsyncIterator[files_pb2.WriteFileRequest]:
        for message in messages:
            yield message

    return await daemon.files.Write(each())


async def listed(daemon: Daemon, **place: str) -> list[str]:
    return [one.id async for one in daemon.files.ListUploads(files_pb2.ListUploadsRequest(**place))]


async def test_a_drop_from_its_start_to_its_job(daemon: Daemon) -> None:
    pipeline = chain("copy")
    await daemon.register(pipeline)
    name = next(line for line in pipeline.splitlines() if line.startswith("name:")).split()[1]
    (daemon.config.inbox_dir / name).mkdir()
    (trigger,) = (await daemon.inbox.ListTriggers(appliance_pb2.ListTriggersRequest())).triggers
    assert (trigger.folder, trigger.pipeline, trigger.grouping) == (name, name, "entry")
    assert (trigger.problem, trigger.refused, trigger.quiet_seconds) == ("", "", 0)
    drops = drops_of(daemon)
    drop = await drops.Start(drops_pb2.StartDropRequest(folder=name))
    upload = await begun(daemon, drop.id, "scan.dcm")
    assert (upload.drop_id, upload.payload_id, upload.name) == (drop.id, "", "scan.dcm")
    half = files_pb2.WriteFileRequest(upload_id=upload.id, data=b"01")
    assert (await write(daemon, half)).offset == 2
    found = await daemon.files.GetUpload(files_pb2.GetUploadRequest(upload_id=upload.id))
    assert (found.offset, found.note, found.drop_id) == (2, "mine", drop.id)
    rest = files_pb2.WriteFileRequest(upload_id=upload.id, offset=2, data=b"23", finish=True)
    answer = await write(daemon, rest)
    assert (answer.file.name, answer.file.size, answer.file.mode) == ("scan.dcm", 4, 0o755)
    assert (await drops.Get(drops_pb2.GetDropRequest(drop_id=drop.id))).files == 1
    done = await drops.Finish(drops_pb2.FinishDropRequest(drop_id=drop.id))
    assert (done.finished, done.folder, done.size) == (True, name, 4)
    assert (daemon.config.inbox_dir / name / "scan.dcm").read_bytes() == b"0123"


async def test_uploads_of_payloads_and_drops_do_not_mix(daemon: Daemon) -> None:
    made = await daemon.payloads.Create(payloads_pb2.PayloadsCreateRequest(header=HEADER))
    payload = made.payload_id.value
    drop = await started(daemon)
    mine = await begun(daemon, drop, "a")
    other = await daemon.files.StartUpload(
        files_pb2.StartUploadRequest(payload_id=payload, name="a")
    )
    assert (other.payload_id, other.drop_id) == (payload, "")
    assert set(await listed(daemon)) == {mine.id, other.id}
    assert await listed(daemon, drop_id=drop) == [mine.id]
    assert await listed(daemon, payload_id=payload) == [other.id]
    await daemon.files.CancelUpload(files_pb2.CancelUploadRequest(upload_id=mine.id))
    assert await listed(daemon) == [other.id]
    assert await listed(daemon, drop_id=NOBODY) == []


async def test_refusals_have_names(daemon: Daemon) -> None:
    drops, drop = drops_of(daemon), await started(daemon)
    start = drops_pb2.StartDropRequest
    await refused(drops.Start(start(folder="none")), "trigger-not-found")
    await refused(drops.Get(drops_pb2.GetDropRequest(drop_id=NOBODY)), "drop-not-found")
    await refused(drops.Get(drops_pb2.GetDropRequest(drop_id="x")), "invalid-request")
    await refused(drops.Finish(drops_pb2.FinishDropRequest(drop_id=drop)), "drop-state")
    await refused(drops.Cancel(drops_pb2.CancelDropRequest(drop_id=NOBODY)), "drop-not-found")
    await refused(begun(daemon, drop, "../a"), "invalid-file-name")
    await refused(begun(daemon, drop, "a.part"), "file-not-taken")
    await refused(begun(daemon, NOBODY, "a"), "drop-not-found")
    (daemon.config.inbox_dir / "ct" / "a").touch()
    await refused(begun(daemon, drop, "a"), "name-taken")
    (daemon.config.inbox_dir / "ct").chmod(0o500)
    await refused(drops.Start(start(folder="ct")), "folder-closed")
    (daemon.config.inbox_dir / "ct").chmod(0o700)


async def test_a_cancelled_drop_ends_its_uploads(daemon: Daemon) -> None:
    drop = await started(daemon)
    upload = await begun(daemon, drop, "a")
    await write(daemon, files_pb2.WriteFileRequest(upload_id=upload.id, data=b"01"))
    await drops_of(daemon).Cancel(drops_pb2.CancelDropRequest(drop_id=drop))
    more = files_pb2.WriteFileRequest(upload_id=upload.id, offset=2, data=b"2", finish=True)
    await refused(write(daemon, more), "upload-not-found")
    assert await listed(daemon) == []


async def test_a_restart_of_the_daemon_keeps_drops(folder: Path) -> None:
    async with daemon_in(folder) as daemon:
        drop = await started(daemon)
        upload = await begun(daemon, drop, "a")
        await write(daemon, files_pb2.WriteFileRequest(upload_id=upload.id, data=b"01"))
    async with daemon_in(folder) as daemon:
        more = files_pb2.WriteFileRequest(upload_id=upload.id, offset=2, data=b"2", finish=True)
        await write(daemon, more)
        done = await drops_of(daemon).Finish(drops_pb2.FinishDropRequest(drop_id=drop))
        assert (done.finished, done.files, done.size) == (True, 1, 3)
        assert (daemon.config.inbox_dir / "ct" / "a").read_bytes() == b"012"
