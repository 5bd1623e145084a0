"""Jobs that are never started go with their payloads; others stay."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from claraedge.clock import SystemClock
from claraedge.errors import JobNotFoundError, PayloadNotFoundError
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.model import JobState
from claraedge.jobs.retention.artifacts import Artifacts
from claraedge.jobs.retention.keeping import Rules
from claraedge.jobs.retention.retention import Retention
from tests.rig.device import Device
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually

HOUR = 3600.0


@dataclass
class Hands:
    """A clock that is moved by hand."""

    wall: float
    boot: float = 0.0

    def now(self) -> float:
        return self.wall

    def elapsed(self) -> float:
        return self.boot

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds


def retention(rig: EngineRig, clock: Hands) -> Retention:
    artifacts = Artifacts(rig.database, rig.payloads, JobLogs(rig.device.state))
    return Retention(
        rig.database, rig.payloads, artifacts, clock, unstarted_after=24 * HOUR, rules=Rules()
    )


async def counts(rig: EngineRig, job: str, payload: str) -> list[int]:
    def work(tx):
        return [
            len(tx.rows("operators", job=job)),
            len(tx.rows("job_log", job=job)),
            len(tx.rows("metadata", owner=job)),
            len(tx.rows("payload_files", payload=payload)),
        ]

    return await rig.database.read(work)


async def test_a_job_that_is_never_started_goes_with_all_that_is_its_own(device: Device) -> None:
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one"))
        never = await rig.job(pipeline, {"x": b"1"}, start=False)
        await rig.jobs.add_metadata(never.id, {"Source": "CT"})
        ended = await rig.job(pipeline, {"x": b"1"})
        await rig.end(ended.id)
        cancelled = await rig.job(pipeline, start=False)
        await rig.jobs.cancel(cancelled.id, "")

        clock = Hands(wall=never.created)
        keeper = retention(rig, clock)
        await keeper.remove_due()
        clock.passes(24 * HOUR - 1)
        await keeper.remove_due()
        assert (await rig.jobs.get(never.id)).state is JobState.PENDING
        clock.passes(1)
        await keeper.remove_due()

        with pytest.raises(JobNotFoundError):
            await rig.jobs.get(never.id)
        with pytest.raises(JobNotFoundError):
            await rig.jobs.start(never.id, {})
        with pytest.raises(PayloadNotFoundError):
            await rig.payloads.get(never.payload)
        assert await counts(rig, never.id, never.payload) == [0, 0, 0, 0]
        assert not (device.state / "payloads" / never.payload).exists()
        assert list((device.state / "removed").iterdir()) == []
        assert (await rig.jobs.get(ended.id)).state is JobState.STOPPED
        assert (await rig.jobs.get(cancelled.id)).state is JobState.STOPPED
        assert await rig.listing(ended.payload) == ["input/x", "operators/one/x"]


async def test_a_job_that_was_started_meanwhile_stays(device: Device) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"}, start=False)
        clock = Hands(wall=job.created)
        keeper = retention(rig, clock)
        await keeper.remove_due()
        clock.passes(48 * HOUR)
        await rig.jobs.start(job.id, {})
        await keeper.remove_due()
        device.runner.release("one")
        await rig.end(job.id)


async def test_a_clock_that_jumped_removes_nothing_and_says_so(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), start=False)
        clock = Hands(wall=job.created)
        keeper = retention(rig, clock)
        await keeper.remove_due()
        clock.passes(2 * HOUR)
        await keeper.remove_due()
        assert keeper.warnings() == []
        clock.wall += 365 * 24 * HOUR
        await keeper.remove_due()
        assert (await rig.jobs.get(job.id)).state is JobState.PENDING
        assert "jumped" in keeper.warnings()[0]
        clock.passes(HOUR)
        await keeper.remove_due()  # steady for an hour: the new time is believed
        assert keeper.warnings() == []
        with pytest.raises(JobNotFoundError):
            await rig.jobs.get(job.id)


async def test_a_clock_behind_the_records_removes_only_what_was_seen_to_wait(
    device: Device,
) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), start=False)
        clock = Hands(wall=1000.0)
        keeper = retention(rig, clock)
        await keeper.remove_due()
        assert "behind" in keeper.warnings()[0]
        clock.passes(23 * HOUR)
        await keeper.remove_due()
        assert (await rig.jobs.get(job.id)).state is JobState.PENDING
        clock.passes(HOUR)
        await keeper.remove_due()
        with pytest.raises(JobNotFoundError):
            await rig.jobs.get(job.id)


async def test_it_removes_periodically(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), start=False)
        artifacts = Artifacts(rig.database, rig.payloads, JobLogs(device.state))
        keeper = Retention(
            rig.database,
            rig.payloads,
            artifacts,
            SystemClock(),
            unstarted_after=0.01,
            rules=Rules(),
        )

        async def forgotten() -> bool:
            return await rig.listed() == []

        running = asyncio.create_task(keeper.run())
        try:
            await eventually(forgotten, "all jobs are removed")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        with pytest.raises(JobNotFoundError):
            await rig.jobs.get(job.id)


async def test_an_upload_without_activity_is_removed_once_the_clock_is_trusted(
    device: Device,
) -> None:
    async with engine_rig(device) as rig:
        uploads = rig.payloads.resumable
        payload = await rig.payloads.create({})
        await uploads.start(payload.id, "a", mode=0, size=None, note="")
        clock = Hands(wall=SystemClock().now())
        keeper = retention(rig, clock)
        await keeper.remove_due()
        clock.passes(25 * HOUR)
        clock.wall += 10 * HOUR  # it jumped
        await keeper.remove_due()
        assert len(await uploads.all()) == 1
        clock.passes(HOUR)
        await keeper.remove_due()
        assert await uploads.all() == []
