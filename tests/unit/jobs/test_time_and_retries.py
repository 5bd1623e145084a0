"""Jobs and operators that exceed their time-out end; failed operators run again as configured."""

from __future__ import annotations

import pytest

from claraedge.clock import SystemClock
from claraedge.jobs.engine.timeouts import Timeouts
from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.jobs.retries import next_attempt
from claraedge.jobs.runtime import RunTime
from claraedge.pipelines.model import ContainerDefinition, Operator, Pipeline, Retry
from claraedge.runner.memory import write_log
from claraedge.runner.protocol import ContainerSpec
from tests.rig.device import Device, copy, emptied
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually

# --- decisions -----------------------------------------------------------------------------------


def test_run_time_stands_still_while_no_operator_runs() -> None:
    time = RunTime().begun(10.0)
    assert time.elapsed(12.0) == 2.0
    time = time.ended(13.0, others=True)  # another one runs on
    assert time.elapsed(14.0) == 4.0
    time = time.ended(15.0, others=False)
    assert time.elapsed(100.0) == 5.0
    assert time.begun(100.0).begun(101.0).elapsed(102.0) == 7.0


def test_run_time_never_runs_backwards() -> None:
    assert RunTime(counted=3.0, since=50.0).elapsed(20.0) == 3.0


@pytest.mark.parametrize(
    ("asked", "seconds", "origin"),
    [
        (None, 600, "engine.timeout_seconds"),
        (300, 300, "`timeout` of the pipeline"),
        (7200, 1800, "engine.timeout_max_seconds"),
    ],
)
def test_the_sites_maximum_holds(asked: int | None, seconds: float, origin: str) -> None:
    operator = Operator(name="o", container=ContainerDefinition(image="i"))
    pipeline = Pipeline(api_version="0.4.0", name="p", operators=(operator,), timeout=asked)
    timeouts = Timeouts(default=600, maximum=1800)
    assert timeouts.of(pipeline) == seconds
    assert origin in timeouts.message(pipeline)


@pytest.mark.parametrize(
    ("retries", "code", "expected"),
    [
        (0, 1, 10),
        (1, 1, 20),
        (0, None, 10),
        (2, 1, "attempt 3 of 3"),
        (0, 64, "exit code 64"),
    ],
)
def test_when_an_operator_is_run_again(retries: int, code: int | None, expected: int | str) -> None:
    found = next_attempt(Retry(attempts=3, backoff=10, exceptions=(64,)), retries, code)
    assert found == expected if isinstance(expected, int) else expected in str(found)


# --- time-outs -----------------------------------------------------------------------------------


async def test_a_job_over_its_timeout_is_terminated(device: Device) -> None:
    device.timeouts = Timeouts(default=1, maximum=2)
    device.runner.block("two")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two", "three")), {"x": b"1"})
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.TERMINATED
        assert any("timed out: its operators ran for 1 s" in m for m in ended.messages)
        assert [o.status.name for o in ended.operators] == ["COMPLETED", "FAULTED", "PENDING"]
        await emptied(device.runner)


async def test_a_single_operator_is_timed_out_although_nothing_else_happens(
    device: Device,
) -> None:
    device.timeouts = Timeouts(default=0.3, maximum=1)
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        assert (await rig.end(job.id)).status is JobStatus.TERMINATED


async def test_a_job_that_waits_is_not_timed_out(device: Device) -> None:
    device.timeouts = Timeouts(default=0.2, maximum=1)
    device.max_operators = 1
    device.runner.block("first")
    async with engine_rig(device) as rig:
        first = await rig.job(await rig.register("timeout: 1\n" + chain("first")), {"x": b"1"})
        await rig.until_runs("first")
        waits = await rig.job(await rig.register(chain("second")), {"x": b"1"})
        assert (await rig.end(first.id)).status is JobStatus.TERMINATED  # after a second
        assert (await rig.end(waits.id)).status is JobStatus.HEALTHY


async def test_an_outage_after_the_end_of_an_operator_counts_towards_no_timeout(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = 0.0
    now, elapsed = SystemClock.now, SystemClock.elapsed
    monkeypatch.setattr(SystemClock, "now", lambda clock: now(clock) + ahead)
    monkeypatch.setattr(SystemClock, "elapsed", lambda clock: elapsed(clock) + ahead)
    device.timeouts = Timeouts(default=60, maximum=60)
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        await rig.until_runs("one")
        device.runner.available = False
        device.runner.release("one")
        await eventually(rig.engine.warnings, "there is a warning")
        ahead = 100.0
        await rig.tick()
        assert (await rig.jobs.get(job.id)).status is JobStatus.HEALTHY
        device.runner.available = True
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_time_that_an_ended_operator_ran_is_kept_while_another_one_runs(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage may settle the other one at its start: if nothing is known of its end."""
    ahead = 0.0
    elapsed = SystemClock.elapsed
    monkeypatch.setattr(SystemClock, "elapsed", lambda clock: elapsed(clock) + ahead)
    for name in ("one", "other"):
        device.runner.block(name)
    async with engine_rig(device) as rig:
        definition = chain("one") + chain("other").partition("operators:\n")[2]
        job = await rig.job(await rig.register(definition), {"x": b"1"})
        await rig.until_runs("one")
        await rig.until_runs("other")
        ahead = 50.0
        device.runner.release("one")
        await rig.until(job.id, lambda job: job.operators[0].status is OperatorStatus.COMPLETED)
        await eventually(
            lambda: rig.engine._active[job.id].run_time.counted >= 50, "the 50 s are counted"
        )
        device.runner.release("other")
        assert (await rig.end(job.id)).run_time.counted >= 50


async def test_the_time_of_a_job_continues_over_a_restart(device: Device) -> None:
    device.timeouts = Timeouts(default=0.5, maximum=1)
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await rig.until_runs("one")
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.TERMINATED
        assert [o.attempt for o in ended.operators] == [1]


async def test_an_operator_over_its_timeout_terminates_its_job(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        text = chain("one", "two", extra=["timeout: 1"])
        ended = await rig.end((await rig.job(await rig.register(text), {"x": b"1"})).id)
        assert ended.status is JobStatus.TERMINATED
        (message,) = [m for m in ended.messages if "took longer than its 1 s" in m]
        assert message.startswith("operator one: ")
        assert ended.operators[0].status is OperatorStatus.FAULTED


# --- retries -------------------------------------------------------------------------------------


def failing(times: int, code: int = 3) -> tuple[list[int], object]:
    """An image's program that fails so often, and the attempts that it saw."""
    seen: list[int] = []

    async def program(spec: ContainerSpec) -> int:
        seen.append(int(spec.labels["io.claraedge.attempt"]))
        write_log(spec, f"attempt {seen[-1]}")
        if len(seen) <= times:
            return code
        return await copy(spec)

    return seen, program


def retried(retry: str) -> str:
    return chain("one", "two", image="flaky", extra=[f"retry: {retry}"])


async def test_an_operator_that_fails_is_run_again(device: Device) -> None:
    seen, program = failing(2)
    device.runner.add_image("flaky:1", program)  # type: ignore[arg-type]
    async with engine_rig(device) as rig:
        pipeline = await rig.register(retried("{attempts: 3, backoff: 0}"))
        ended = await rig.end((await rig.job(pipeline, {"x": b"1"})).id)
        assert ended.status is JobStatus.HEALTHY
        assert seen == [1, 2, 3, 1]
        assert [(o.attempt, o.retries) for o in ended.operators] == [(3, 2), (1, 0)]
        retries = [m for m in ended.messages if "run again" in m]
        assert len(retries) == 2
        assert "failed with exit code 3; it is run again in 0 s (attempt 2 of 3)" in retries[0]
        assert "last line: attempt 1" in retries[0]
        await emptied(device.runner)


async def test_after_its_last_attempt_it_has_failed(device: Device) -> None:
    seen, program = failing(9)
    device.runner.add_image("flaky:1", program)  # type: ignore[arg-type]
    async with engine_rig(device) as rig:
        pipeline = await rig.register(retried("{attempts: 2, backoff: 0}"))
        ended = await rig.end((await rig.job(pipeline, {"x": b"1"})).id)
        assert ended.status is JobStatus.FAULTED
        assert seen == [1, 2]
        assert "that was attempt 2 of 2" in ended.messages[-1]


async def test_some_exit_codes_are_final(device: Device) -> None:
    seen, program = failing(9, code=64)
    device.runner.add_image("flaky:1", program)  # type: ignore[arg-type]
    async with engine_rig(device) as rig:
        pipeline = await rig.register(retried("{attempts: 5, backoff: 0, except: [64]}"))
        ended = await rig.end((await rig.job(pipeline, {"x": b"1"})).id)
        assert (ended.status, seen) == (JobStatus.FAULTED, [1])


async def test_without_a_retry_nothing_is_run_again(device: Device) -> None:
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one", image="fail"))
        ended = await rig.end((await rig.job(pipeline, {"x": b"1"})).id)
        assert ended.status is JobStatus.FAULTED
        assert len(device.runner.started) == 1


async def test_a_retry_that_waits_outlives_the_daemon(device: Device) -> None:
    seen, program = failing(1)
    device.runner.add_image("flaky:1", program)  # type: ignore[arg-type]
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(retried("{attempts: 2, backoff: 1}")), {"x": b"1"})
        while not any(o.retries for o in (await rig.jobs.get(job.id)).operators):
            await rig.tick()
    async with engine_rig(device) as rig:
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY
        assert seen == [1, 2, 1]
        first = ended.operators[0]
        assert first.started is not None
        assert first.started - ended.created >= 1


async def test_a_cancelled_job_retries_nothing(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(
            await rig.register(chain("one", extra=["retry: {attempts: 5}"])), {"x": b"1"}
        )
        await rig.until_runs("one")
        ended = await rig.jobs.cancel(job.id, "enough")
        assert ended.status is JobStatus.CANCELED
        assert ended.operators[0].retries == 0


# --- eviction, and what waits --------------------------------------------------------------------


async def test_the_youngest_job_of_the_lowest_class_is_evicted(device: Device) -> None:
    from claraedge.jobs.model import Priority

    for name in ("one", "two"):
        device.runner.block(name)
    async with engine_rig(device) as rig:
        low = await rig.job(await rig.register(chain("one")), {"x": b"1"}, priority=Priority.LOWER)
        await rig.until_runs("one")
        normal = await rig.job(await rig.register(chain("two")), {"x": b"1"})
        await rig.until_runs("two")
        assert await rig.engine.evict("the disk is full") == low.id
        ended = await rig.end(low.id)
        assert ended.status is JobStatus.EVICTED
        text = "evicted: the disk is full; free some space there, then create the job again"
        assert text in ended.messages
        device.runner.release("two")
        assert (await rig.end(normal.id)).status is JobStatus.HEALTHY
        assert await rig.engine.evict("again") is None


async def test_what_waits_says_for_what(device: Device) -> None:
    device.max_operators = 1
    device.runner.block("one")
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one"))
        first = await rig.job(pipeline, {"x": b"1"})
        await rig.until_runs("one")
        second = await rig.job(pipeline, {"x": b"1"})
        await rig.tick()
        assert rig.engine.waits(second.id) == {"one": "all 1 operator slots are taken"}
        assert rig.engine.waits(first.id) == {}


async def test_memory_is_shared_out(device: Device) -> None:
    device.memory = 3000
    names = ["a", "b", "c"]
    for name in names:
        device.runner.block(name)
    async with engine_rig(device) as rig:
        jobs = [
            await rig.job(
                await rig.register(chain(name, extra=["requests: {memory: 1500}"])), {"x": b"1"}
            )
            for name in names
        ]
        await rig.until_runs("a")
        await rig.until_runs("b")
        await rig.tick()
        assert rig.engine.waits(jobs[2].id) == {"c": "1500 MB of memory; 0 of 3000 are free"}
        for name in names:
            device.runner.release(name)
        assert [(await rig.end(job.id)).status for job in jobs] == [JobStatus.HEALTHY] * 3


@pytest.mark.parametrize("unified", [False, True])
async def test_two_jobs_share_a_gpu_and_three_do_not(device: Device, unified: bool) -> None:
    device.gpus = ("nvidia.com/gpu=0",)
    device.gpu_memory, device.unified = 8192, unified
    device.memory = 8192 + 2 * 64 if unified else None
    names = ["a", "b", "c"]
    for name in names:
        device.runner.block(name)
    async with engine_rig(device) as rig:
        extra = ["requests: {gpu-memory: 4096, memory: 64}"]
        jobs = [
            await rig.job(await rig.register(chain(name, extra=extra)), {"x": b"1"})
            for name in names
        ]
        await rig.until_runs("a")
        await rig.until_runs("b")
        await rig.tick()
        assert len(device.runner.started) == 2
        assert {s.devices for s in device.runner.started} == {("nvidia.com/gpu=0",)}
        (waits,) = rig.engine.waits(jobs[2].id).values()
        assert "memory" in waits
        device.runner.release("a")
        await rig.until_runs("c")
        for name in names:
            device.runner.release(name)
        assert [(await rig.end(job.id)).status for job in jobs] == [JobStatus.HEALTHY] * 3
