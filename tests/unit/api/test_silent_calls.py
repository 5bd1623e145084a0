"""Calls whose client owes a message, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from claraedge.config import ApiSettings
from claraedge.wire.claraedge.v1 import events_pb2
from claraedge.wire.claraedge.v1.events_pb2_grpc import EventsStub
from claraedge.wire.nvidia.clara.platform import clara_pb2
from tests.rig.waiting import DEADLINE
from tests.unit.api.conftest import Daemon, daemon_in

IDLE = 0.3
JOBS = "/nvidia.clara.platform.Jobs"


@pytest.fixture
async def daemon(folder: Path) -> AsyncIterator[Daemon]:
    async with daemon_in(folder, api=ApiSettings(idle_seconds=IDLE)) as daemon:
        yield daemon


async def end(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""

    async def answered() -> None:
        if isinstance(call, grpc.aio.StreamStreamCall):
            await call.read()
        else:
            await call

    async with asyncio.timeout(DEADLINE):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answered()
    return caught.value


@pytest.mark.parametrize("method", ["Status", "List"])
async def test_a_call_without_its_request_ends(daemon: Daemon, method: str) -> None:
    """gRPC starts the handler of such a method only at its request, and waits for it for ever."""
    silent = daemon.channel.stream_stream(f"{JOBS}/{method}")()
    error = await end(silent)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert f"sent no message for {IDLE:g} s" in (error.details() or "")
    error = await end(daemon.channel.stream_stream(f"{JOBS}/{method}")(iter([])))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "holds no request" in (error.details() or "")
    assert (await daemon.clara.Version(clara_pb2.ClaraVersionRequest())).header.code == 0


async def test_a_watch_has_to_say_what_it_follows(daemon: Daemon) -> None:
    watch: Any = EventsStub(daemon.channel).Watch  # type: ignore[no-untyped-call]
    assert (await end(watch())).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    for requests in (
        [],
        [events_pb2.WatchRequest(acknowledge=events_pb2.Acknowledge(number=1))],
    ):
        error = await end(watch(iter(requests)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "follow" in (error.details() or "")


async def test_a_watch_in_which_nothing_happens_stays(daemon: Daemon) -> None:
    watch: Any = EventsStub(daemon.channel).Watch()  # type: ignore[no-untyped-call]
    await watch.write(events_pb2.WatchRequest(follow=events_pb2.Follow(pipelines=True)))
    async with asyncio.timeout(DEADLINE):
        assert (await watch.read()).HasField("reset")
        assert (await watch.read()).HasField("caught_up")
        # Another watch without a word has ended meanwhile, more than once.
        for _ in range(3):
            await end(EventsStub(daemon.channel).Watch())  # type: ignore[no-untyped-call]
    assert not watch.done()
    watch.cancel()


async def test_health_and_reflection_are_as_grpc_defines_them(daemon: Daemon) -> None:
    health: Any = HealthStub(daemon.channel)  # type: ignore[no-untyped-call]
    ask = health_pb2.HealthCheckRequest
    serving = health_pb2.HealthCheckResponse.SERVING
    for name in ("", "nvidia.clara.platform.Jobs", "grpc.health.v1.Health"):
        assert (await health.Check(ask(service=name))).status == serving
        assert (await health.Watch(ask(service=name)).read()).status == serving
    listed = (await health.List(health_pb2.HealthListRequest())).statuses
    assert "nvidia.clara.platform.Jobs" in listed
    assert {status.status for status in listed.values()} == {serving}
    error = await end(health.Check(ask(service="nobody")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    unknown = await health.Watch(ask(service="nobody")).read()
    assert unknown.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

    reflection: Any = ServerReflectionStub(daemon.channel)  # type: ignore[no-untyped-call]
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = await reflection.ServerReflectionInfo(iter([request])).read()
    found = {service.name for service in answer.list_services_response.service}
    assert {"claraedge.v1.Events", "grpc.health.v1.Health"} <= found
