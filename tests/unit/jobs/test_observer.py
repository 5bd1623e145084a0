"""What the engine reports to an observer: each job and attempt once, with its times."""

from __future__ import annotations

import sqlite3

from claraedge.jobs.model import JobStatus
from claraedge.metrics.observations import Distribution, Durations, Observations
from tests.rig.device import Device, fail
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain

RETRY = ("retry: {attempts: 2, backoff: 1}",)


def attempts(seen: Observations) -> dict[str, int]:
    return {result: count for (result,), count in seen.attempts.items() if count}


def total(found: Distribution) -> int:
    return sum(found.counts)


async def test_attempts_and_jobs_are_reported_once(device: Device) -> None:
    seen = Observations()
    device.runner.add_image("fail:1", fail)
    async with engine_rig(device, observer=seen) as rig:
        good = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        await rig.end(good.id)
        bad = await rig.job(
            await rig.register(chain("one", image="fail", extra=RETRY)), {"x": b"1"}
        )
        assert (await rig.end(bad.id)).status is JobStatus.FAULTED
    assert attempts(seen) == {"completed": 2, "retried": 1, "failed": 1}
    assert seen.queued == 2
    assert (seen.stopped["healthy",], seen.stopped["faulted",]) == (1, 1)
    assert total(seen.waits.values()[()]) == 2
    ran = seen.attempt_seconds.values()
    assert {result: total(found) for (result,), found in ran.items()} == attempts(seen)


async def test_the_wait_of_a_job_counts_from_its_start_also_over_a_restart(device: Device) -> None:
    before, after = Observations(), Observations()
    async with engine_rig(device, run=False, observer=before) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
    with sqlite3.connect(device.state / "claraedge.db") as other:
        other.execute("UPDATE job_log SET time = time - 600 WHERE what = 'queued'")
    other.close()
    async with engine_rig(device, observer=after) as rig:
        await rig.end(job.id)
    assert before.waits.values() == {}
    found = after.waits.values()[()]
    assert total(found) == 1
    assert 600 <= found.total < 700


async def test_an_interrupted_attempt_of_another_boot_has_no_run_time(device: Device) -> None:
    before, after = Observations(), Observations()
    device.runner.block("one")
    async with engine_rig(device, observer=before) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await rig.until_runs("one")
    device.runner.cut_power()
    device.boot = "boot-2"
    device.runner.release("one")
    async with engine_rig(device, observer=after) as rig:
        await rig.end(job.id)
    assert total(before.waits.values()[()]) == 1
    assert after.waits.values() == {}, "it had begun before"
    assert attempts(after) == {"interrupted": 1, "completed": 1}
    assert set(after.attempt_seconds.values()) == {("completed",)}


def test_a_histogram_counts_each_value_in_one_bucket() -> None:
    histogram = Durations((1, 10))
    for seconds in (0.5, 1, 1.5, 10, 11):
        histogram.observe(seconds, "x")
    assert histogram.values() == {("x",): Distribution(counts=(2, 2, 1), total=24.0)}
