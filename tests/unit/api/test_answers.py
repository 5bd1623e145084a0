"""What is true for every method of every service: it does its work, or says that it does not."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from types import ModuleType
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from claraedge.api import answers
from claraedge.api.answers import failure, ok
from claraedge.errors import ClaraedgeError, PipelineLoadError
from claraedge.runner.memory import MemoryRunner
from claraedge.wire.claraedge.v1 import appliance_pb2
from claraedge.wire.nvidia.clara.platform import (
    clara_pb2,
    common_pb2,
    jobs_pb2,
    models_pb2,
    payloads_pb2,
    pipelines_pb2,
)
from claraedge.wire.nvidia.clara.platform.node_monitor import metrics_pb2
from tests.rig.waiting import DEADLINE
from tests.unit.api.conftest import Daemon

FILES: tuple[ModuleType, ...] = (
    clara_pb2,
    common_pb2,
    jobs_pb2,
    models_pb2,
    payloads_pb2,
    pipelines_pb2,
    metrics_pb2,
)
METHODS = [
    method
    for module in (*FILES, appliance_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
IDS = [f"{m.containing_service.name}.{m.name}" for m in METHODS]

#: Methods for which a request without a word is a whole one.
MEAN_SOMETHING_WHEN_EMPTY = {
    "Appliance.Names",
    "Appliance.Settings",
    "Appliance.Status",
    "Appliance.Usage",
    "Clara.Stop",
    "Clara.Utilization",
    "Clara.Version",
    "Images.List",
    "Inbox.List",
    "Inbox.ListTriggers",
    "Jobs.List",
    "Models.CreateCatalog",
    "Models.CreateInstance",
    "Models.ListCatalogs",
    "Models.ListInstances",
    "Models.ListModels",
    "Monitor.GpuMetrics",
    "Payloads.Create",
    "Pipelines.List",
}

UNDECODABLE = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"


def raw_call(daemon: Daemon, method: MethodDescriptor, *requests: bytes) -> Any:
    """A call whose messages are bytes, both ways."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    if method.client_streaming and method.server_streaming:
        return daemon.channel.stream_stream(path)(iter(requests))
    if method.client_streaming:
        return daemon.channel.stream_unary(path)(iter(requests))
    if method.server_streaming:
        return daemon.channel.unary_stream(path)(requests[0])
    return daemon.channel.unary_unary(path)(requests[0])


async def first_answer(call: Any) -> bytes | None:
    """The only message, or the first of a stream; None where the stream ends without one."""
    async with asyncio.timeout(DEADLINE):
        if isinstance(call, grpc.aio.UnaryStreamCall | grpc.aio.StreamStreamCall):
            answer = await call.read()
            call.cancel()
            return None if answer is grpc.aio.EOF else bytes(answer)
        return bytes(await call)


async def outcome(call: Any) -> bytes | grpc.aio.AioRpcError | None:
    """The first answer, or the gRPC status in its place."""
    try:
        return await first_answer(call)
    except grpc.aio.AioRpcError as error:
        return error


def of_sqlite(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


def test_the_walk_meets_every_method_of_the_platform() -> None:
    names = [m.containing_service.full_name for m in METHODS]
    assert sum(name.startswith("nvidia.clara.platform.") for name in names) == 43
    assert set(IDS) >= MEAN_SOMETHING_WHEN_EMPTY


async def test_undecodable_bytes_are_an_invalid_argument(daemon: Daemon) -> None:
    for name, method in zip(IDS, METHODS, strict=True):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await first_answer(raw_call(daemon, method, UNDECODABLE))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, name
        assert "protos" in (caught.value.details() or ""), name
        trailing = tuple(caught.value.trailing_metadata() or ())
        assert ("claraedge-error", "undecodable-request") in trailing, name


async def test_no_method_answers_success_to_a_request_that_asks_for_nothing(
    daemon: Daemon,
) -> None:
    """A method without an implementation says UNIMPLEMENTED; one that lacks its id an error."""
    for name, method in zip(IDS, METHODS, strict=True):
        response = GetMessageClass(method.output_type)
        answer = await outcome(raw_call(daemon, method, b""))
        if isinstance(answer, grpc.aio.AioRpcError):
            if answer.code() is grpc.StatusCode.UNIMPLEMENTED:
                assert name in (answer.details() or "")
                trailing = tuple(answer.trailing_metadata() or ())
                assert ("claraedge-error", "not-supported") in trailing, name
            else:
                assert "header" not in response.DESCRIPTOR.fields_by_name, name
                assert answer.code() is grpc.StatusCode.INVALID_ARGUMENT, name
            continue
        if name in MEAN_SOMETHING_WHEN_EMPTY:
            continue
        assert answer is not None, f"{name} ended without a word"
        header = response.FromString(answer).header  # type: ignore[attr-defined]
        assert header.code < 0, name
        assert header.messages, name
        assert all(header.messages), name


async def test_a_method_and_a_service_that_nobody_knows_are_unimplemented(daemon: Daemon) -> None:
    for path in ("/nvidia.clara.platform.Jobs/Dance", "/nvidia.clara.platform.Dances/List"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await daemon.channel.unary_unary(path)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_that_a_stream_breaks_at_is_an_invalid_argument(daemon: Daemon) -> None:
    good = payloads_pb2.PayloadsCreateRequest()
    made = await daemon.payloads.Create(good)
    request = payloads_pb2.PayloadsUploadRequest(
        payload_id=made.payload_id, details=payloads_pb2.PayloadFileDetails(name="a"), data=b"1"
    ).SerializeToString()
    method = METHODS[IDS.index("Payloads.Upload")]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await raw_call(daemon, method, request, UNDECODABLE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (reply,) = await daemon.listing(made.payload_id.value)
    assert not reply.HasField("file")


async def test_a_bug_is_an_internal_error_that_points_to_the_journal(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object) -> None:
        raise ZeroDivisionError("by a bug")

    monkeypatch.setattr(MemoryRunner, "list_images", breaks)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await daemon.images.List(appliance_pb2.ListImagesRequest())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "journal" in (caught.value.details() or "")


@pytest.mark.parametrize(
    ("error", "of_a_disk"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/s/payloads"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (OSError(errno.ENOENT, "No such file or directory"), False),
        (of_sqlite(sqlite3.SQLITE_IOERR_WRITE), True),
        (of_sqlite(sqlite3.SQLITE_READONLY), True),
        (of_sqlite(sqlite3.SQLITE_CONSTRAINT), False),
        (sqlite3.ProgrammingError("closed"), False),
    ],
)
def test_a_disk_that_fails_is_no_bug_and_is_reported_with_what_to_check(
    error: Exception, of_a_disk: bool
) -> None:
    message = str(answers._unforeseen(error))
    assert message.startswith(f"a disk of the daemon fails ({error}): `sudo dmesg`") is of_a_disk
    assert message.startswith("internal error") is not of_a_disk


async def test_a_time_out_inside_of_a_call_is_no_time_out_of_the_call(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object) -> None:
        raise TimeoutError("of a part")

    monkeypatch.setattr(MemoryRunner, "load_image", breaks)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await daemon.images.Load(iter([appliance_pb2.LoadRequest(data=b"x")]))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "of a part" in (caught.value.details() or "")


async def test_a_text_that_is_too_long_for_a_header_is_cut_between_characters(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object) -> None:
        raise ClaraedgeError("\N{SNOWMAN}" * 100_000)

    monkeypatch.setattr(MemoryRunner, "list_images", breaks)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await daemon.images.List(appliance_pb2.ListImagesRequest())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert set(caught.value.details() or "") == {"\N{SNOWMAN}"}


async def test_images_are_loaded_and_listed(daemon: Daemon) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await daemon.images.Load(iter([]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert ("claraedge-error", "invalid-image") in tuple(caught.value.trailing_metadata() or ())
    listed = await daemon.images.List(appliance_pb2.ListImagesRequest())
    assert {name for image in listed.images for name in image.names} == {"copy:1", "fail:1"}
    assert list((daemon.config.state_dir / "uploads").iterdir()) == []


async def test_an_image_is_removed_by_its_name(daemon: Daemon) -> None:
    removed = await daemon.images.Remove(appliance_pb2.RemoveImageRequest(reference="fail:1"))
    assert list(removed.names) == ["fail:1"]
    listed = await daemon.images.List(appliance_pb2.ListImagesRequest())
    assert [name for image in listed.images for name in image.names] == ["copy:1"]
    for reference, status, name in (
        ("fail:1", grpc.StatusCode.NOT_FOUND, "image-not-found"),
        (" ", grpc.StatusCode.INVALID_ARGUMENT, "invalid-request"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await daemon.images.Remove(appliance_pb2.RemoveImageRequest(reference=reference))
        assert caught.value.code() is status
        assert ("claraedge-error", name) in tuple(caught.value.trailing_metadata() or ())


async def test_an_image_arrives_whole_and_its_archive_does_not_stay(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []

    async def load(_: object, archive: Any) -> list[Any]:
        seen.append(archive.read_bytes())
        return []

    monkeypatch.setattr(MemoryRunner, "load_image", load)
    data = bytes(range(251)) * 10_000
    step = 1_000_000
    await daemon.images.Load(
        appliance_pb2.LoadRequest(data=data[at : at + step]) for at in range(0, len(data), step)
    )
    assert seen == [data]
    assert list((daemon.config.state_dir / "uploads").iterdir()) == []


async def test_the_status_shows_folders_and_versions(daemon: Daemon) -> None:
    status = await daemon.appliance.Status(appliance_pb2.StatusRequest())
    assert status.state_dir == str(daemon.config.state_dir)
    assert (status.jobs_pending, status.jobs_running, list(status.warnings)) == (0, 0, [])
    assert status.started.seconds > 1_500_000_000
    assert len(status.instance) == 32


def test_headers_of_errors_are_never_without_a_message() -> None:
    assert ok("remark").code == 0
    assert list(failure(ClaraedgeError()).messages) == ["internal"]
    many = failure(PipelineLoadError("one", "two"))
    assert (many.code, list(many.messages)) == (-0x1101, ["one", "two"])
    assert len(failure(ClaraedgeError("x" * 100_000)).messages[0]) < 10_000
