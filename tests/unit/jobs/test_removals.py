"""Ended containers are removed in the background, and never more than a few of them are left."""

from __future__ import annotations

import asyncio

import pytest

from claraedge.jobs.model import JobStatus
from claraedge.jobs.operators import removals
from claraedge.runner.memory import MemoryRunner
from tests.rig.device import Device
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain


async def test_containers_are_made_no_faster_than_they_are_removed(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, most = MemoryRunner.remove, 0

    async def slow(runner: MemoryRunner, container: str) -> None:
        nonlocal most
        most = max(most, len(await runner.containers({})))
        await asyncio.sleep(0.05)
        await remove(runner, container)

    monkeypatch.setattr(MemoryRunner, "remove", slow)
    monkeypatch.setattr(removals, "DELAY", 3600.0)  # who waits for room does not wait for this
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one", "two"))
        jobs = [await rig.job(pipeline) for _ in range(15)]
        ended = [await rig.end(job.id) for job in jobs]
    assert {job.status for job in ended} == {JobStatus.HEALTHY}
    # Those that wait, and what each operator's slot may have made meanwhile.
    assert removals.PER_OPERATOR * device.max_operators <= most
    assert most <= (removals.PER_OPERATOR + 2) * device.max_operators
