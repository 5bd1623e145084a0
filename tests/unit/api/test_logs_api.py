"""`claraedge.v1.Logs`: logs of each attempt, as they grow, over the socket."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from claraedge.runner.memory import write_log
from claraedge.wire.claraedge.v1 import logs_pb2, logs_pb2_grpc
from tests.rig.pipelines import chain
from tests.rig.waiting import DEADLINE, eventually
from tests.unit.api.conftest import Daemon


def read(daemon: Daemon, job: str, operator: str = "one", **more: Any) -> Any:
    stub: Any = logs_pb2_grpc.LogsStub(daemon.channel)
    return stub.ReadLog(logs_pb2.ReadLogRequest(job_id=job, operator=operator, **more))


async def lines(call: Any) -> list[tuple[int, str]]:
    async with asyncio.timeout(DEADLINE):
        return [(reply.attempt, line) async for reply in call for line in reply.lines]


async def started(daemon: Daemon, image: str, *extra: str) -> str:
    made = await daemon.create(await daemon.register(chain("one", "two", image=image, extra=extra)))
    await daemon.upload(made.payload_id.value, ("x", b"1"))
    await daemon.start(made.job_id.value)
    return str(made.job_id.value)


def add_counting(daemon: Daemon, gates: list[asyncio.Event]) -> None:
    """An image whose attempts each print two lines, wait for a gate between, and fail."""
    attempts = iter(range(1, 10))

    async def count(spec: Any) -> int:
        attempt = next(attempts)
        write_log(spec, f"begin {attempt}")
        await gates[attempt - 1].wait()
        write_log(spec, f"end {attempt}")
        return 3

    daemon.runner.add_image("count:1", count)


async def test_a_follower_gets_the_lines_of_all_attempts_until_the_end(daemon: Daemon) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    add_counting(daemon, gates)
    job = await started(daemon, "count", "retry: {attempts: 2, backoff: 0}")
    call = aiter(read(daemon, job, follow=True))
    async with asyncio.timeout(DEADLINE):
        first = await anext(call)
    assert (first.attempt, list(first.lines)) == (1, ["begin 1\n"])
    gates[0].set()
    gates[1].set()
    assert await lines(call) == [(1, "end 1\n"), (2, "begin 2\n"), (2, "end 2\n")]
    await daemon.end(job)

    whole = [(n, f"{word} {n}\n") for n in (1, 2) for word in ("begin", "end")]
    assert await lines(read(daemon, job)) == whole[2:]
    for attempt in (1, 2):
        for follow in (False, True):
            found = await lines(read(daemon, job, "ONE", attempt=attempt, follow=follow))
            assert found == whole[2 * attempt - 2 : 2 * attempt]
    assert await lines(read(daemon, job, tail=1)) == whole[3:]


async def test_a_given_attempt_is_followed_to_its_own_end(daemon: Daemon) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    add_counting(daemon, gates)
    job = await started(daemon, "count", "retry: {attempts: 2, backoff: 0}")
    await daemon.until_runs("one")
    call = aiter(read(daemon, job, follow=True, attempt=1, tail=5))
    async with asyncio.timeout(DEADLINE):
        assert list((await anext(call)).lines) == ["begin 1\n"]
    gates[0].set()
    assert await lines(call) == [(1, "end 1\n")]
    gates[1].set()
    await daemon.end(job)


async def test_a_follower_waits_for_an_operator_that_has_not_begun(daemon: Daemon) -> None:
    daemon.runner.block("one")
    job = await started(daemon, "copy")
    call = asyncio.create_task(lines(read(daemon, job, "two", follow=True)))
    await daemon.until_runs("one")
    assert await lines(read(daemon, job, "two")) == []
    daemon.runner.release("one")
    assert await call == [(1, "copied\n")]


async def test_a_follower_of_an_operator_that_never_begins_ends_with_the_job(
    daemon: Daemon,
) -> None:
    job = await started(daemon, "fail")
    assert await lines(read(daemon, job, "two", follow=True)) == []
    await daemon.end(job)


async def test_the_log_of_the_job_itself_is_followed_to_its_end(daemon: Daemon) -> None:
    daemon.runner.block("one")
    job = await started(daemon, "copy")
    await daemon.until_runs("one")
    call = asyncio.create_task(lines(read(daemon, job, "claraedge-engine", follow=True)))
    before = await lines(read(daemon, job, "claraedge-engine"))
    daemon.runner.release("one")
    found = await call
    assert found[: len(before)] == before
    assert found[-1][1].endswith("job stopped: HEALTHY\n")
    assert {attempt for attempt, _ in found} == {0}
    assert await lines(read(daemon, job, "claraedge-engine", tail=1)) == found[-1:]


async def test_a_follower_that_leaves_costs_nothing_more(daemon: Daemon) -> None:
    daemon.runner.block("one")
    job = await started(daemon, "copy")
    await daemon.until_runs("one")
    call = read(daemon, job, follow=True)
    before = {task.get_name() for task in asyncio.all_tasks()}
    reading = asyncio.create_task(call.read())
    await eventually(lambda: len(asyncio.all_tasks()) > len(before), "the call has begun")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    daemon.runner.release("one")
    await daemon.end(job)


@pytest.mark.parametrize(
    ("request_", "status", "name"),
    [
        ({"job_id": "x", "operator": "one"}, grpc.StatusCode.INVALID_ARGUMENT, "invalid-job-id"),
        ({"operator": "one"}, grpc.StatusCode.INVALID_ARGUMENT, "invalid-job-id"),
        ({"job_id": "0" * 32, "operator": "one"}, grpc.StatusCode.NOT_FOUND, "job-not-found"),
        ({"operator": ""}, grpc.StatusCode.INVALID_ARGUMENT, "invalid-request"),
        ({"operator": "none"}, grpc.StatusCode.NOT_FOUND, "operator-not-found"),
        ({"operator": "one", "attempt": 7}, grpc.StatusCode.NOT_FOUND, "operator-not-found"),
    ],
)
async def test_what_is_not_there_is_refused(
    daemon: Daemon, request_: dict[str, Any], status: grpc.StatusCode, name: str
) -> None:
    job = "" if request_ == {"operator": "one"} else await started(daemon, "copy")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await lines(read(daemon, **{"job": request_.pop("job_id", job), **request_}))
    assert refused.value.code() is status
    assert ("claraedge-error", name) in tuple(refused.value.trailing_metadata() or ())
