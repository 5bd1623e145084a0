"""Slots: each kind of calls has its own, and silence before the first message keeps nobody out."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from claraedge.api.clara import ClaraServicer
from claraedge.api.jobs import JobsServicer
from claraedge.api.monitor import MonitorServicer
from claraedge.api.transport.slots import BOUNDS, CallKind, Slots, kind_of
from claraedge.api.transport.standard import HEALTH, REFLECTION, HealthServicer, ReflectionServicer
from claraedge.errors import CallTimeoutError, TooManyCallsError
from claraedge.wire.claraedge.v1 import events_pb2
from claraedge.wire.nvidia.clara.platform import clara_pb2, jobs_pb2, payloads_pb2
from claraedge.wire.nvidia.clara.platform.node_monitor import metrics_pb2
from tests.unit.api.served import service

FEW = dict.fromkeys(CallKind, 2)


def test_the_kind_of_a_call_follows_from_its_method() -> None:
    events = service(events_pb2, "Events")
    payloads = service(payloads_pb2, "Payloads")
    for descriptor, servicer, method, kind in (
        (service(jobs_pb2, "Jobs"), JobsServicer, "Status", CallKind.UNARY),
        (service(jobs_pb2, "Jobs"), JobsServicer, "Cancel", CallKind.UNARY),
        (service(jobs_pb2, "Jobs"), JobsServicer, "List", CallKind.DOWNLOAD),
        (payloads, None, "Upload", CallKind.UPLOAD),
        (payloads, None, "Download", CallKind.DOWNLOAD),
        (events, None, "Watch", CallKind.WATCH),
        (service(clara_pb2, "Clara"), ClaraServicer, "Utilization", CallKind.WATCH),
        (service(metrics_pb2, "Monitor"), MonitorServicer, "GpuMetrics", CallKind.WATCH),
        (HEALTH, HealthServicer, "Check", CallKind.UNARY),
        (HEALTH, HealthServicer, "Watch", CallKind.WATCH),
        (REFLECTION, ReflectionServicer, "ServerReflectionInfo", CallKind.WATCH),
    ):
        found = kind_of(descriptor.methods_by_name[method], getattr(servicer, method, None))
        assert found is kind, method


def test_a_full_kind_is_refused_and_uses_nothing_of_the_others() -> None:
    slots = Slots(FEW)
    with ExitStack() as open_calls:
        for kind in (CallKind.UPLOAD, CallKind.DOWNLOAD, CallKind.WATCH):
            for _ in range(2):
                open_calls.enter_context(slots.acquire(kind))
            with pytest.raises(TooManyCallsError, match=f"2 {kind.value} are open"):
                slots.refuse_full(kind)
            with pytest.raises(TooManyCallsError), slots.acquire(kind):
                pass
        with slots.acquire(CallKind.UNARY), slots.acquire(CallKind.UNARY):
            pass
    for kind in BOUNDS:
        with slots.acquire(kind), slots.acquire(kind):
            pass


def test_an_ended_call_that_nobody_reads_gives_its_slot_to_others_up_to_a_bound() -> None:
    slots = Slots(FEW)
    with ExitStack() as open_calls:
        for _ in range(2):
            open_calls.enter_context(slots.acquire(CallKind.DOWNLOAD)).leave()
        stays = open_calls.enter_context(slots.acquire(CallKind.DOWNLOAD))
        stays.leave()
        assert stays.kind is CallKind.DOWNLOAD, "too many are unread"
        with slots.acquire(CallKind.DOWNLOAD):
            assert not slots.free(CallKind.DOWNLOAD)
    with slots.acquire(CallKind.UNREAD), slots.acquire(CallKind.UNREAD):
        assert slots.free(CallKind.DOWNLOAD)


async def silent(slots: Slots, seconds: float) -> str:
    try:
        async with slots.opening(seconds):
            await asyncio.sleep(3600)
    except (CallTimeoutError, TooManyCallsError) as error:
        return error.name
    raise AssertionError


async def test_of_too_many_silent_calls_the_oldest_ends() -> None:
    slots = Slots(FEW, opening=3)
    calls = [asyncio.create_task(silent(slots, 3600)) for _ in range(5)]
    assert await asyncio.gather(*calls[:2]) == ["too-many-calls"] * 2
    async with slots.opening(3600):  # one that says something at once
        pass
    assert await calls[2] == "too-many-calls"
    assert not calls[3].done()
    assert not calls[4].done()
    for call in calls[3:]:
        call.cancel()


async def test_a_silent_call_ends_after_the_idle_time() -> None:
    assert await silent(Slots(FEW, opening=1), 0.01) == "call-timeout"


@pytest.mark.parametrize("turns", range(6))
async def test_a_call_may_come_at_the_moment_at_which_the_oldest_times_out(turns: int) -> None:
    slots = Slots(FEW, opening=1)
    first = asyncio.create_task(silent(slots, 0))
    for _ in range(turns):
        await asyncio.sleep(0)
    ends = {await silent(slots, 0.01), await first}
    assert ends <= {"call-timeout", "too-many-calls"}
