"""Jobs that have begun and wait, as for the GPU, keep others from beginning: up to a bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.jobs.model import JobState, JobStatus, Priority
from claraedge.jobs.scheduling import queue
from tests.rig.device import Device, copy
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually

GPU = ("nvidia.com/gpu=0",)
TWO = """\
api-version: 0.4.0
name: two
operators:
- name: first
  container: {image: copy, tag: '1'}
  input: [{path: /in}]
  output: [{path: /out}]
- name: heavy
  container: {image: copy, tag: '1'}
  requests: {gpu: 1}
  input: [{path: /in, from: first}]
  output: [{path: /out}]
"""


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr(queue, "CROWD", 3)
    device = Device(tmp_path, gpus=GPU)
    device.runner.add_image("copy:1", copy)
    return device


async def begun(rig: EngineRig, jobs: list[str]) -> list[str]:
    return [job for job in jobs if (await rig.jobs.get(job)).state is not JobState.PENDING]


async def until_begun(rig: EngineRig, jobs: list[str], count: int) -> None:
    async def enough() -> bool:
        return len(await begun(rig, jobs)) >= count

    await eventually(enough, f"{count} jobs have begun")


async def test_no_more_jobs_begin_than_wait_in_a_crowd_but_immediate_ones(device: Device) -> None:
    device.runner.block("heavy")
    async with engine_rig(device) as rig:
        two = await rig.register(TWO)
        first = (await rig.job(two, {"x": b"1"})).id
        await rig.until_runs("heavy")
        jobs = [(await rig.job(two, {"x": b"1"})).id for _ in range(8)]
        await until_begun(rig, jobs, 3)
        urgent = await rig.job(await rig.register(chain("now")), priority=Priority.IMMEDIATE)
        assert (await rig.end(urgent.id)).status is JobStatus.HEALTHY
        await rig.tick()
        # Those whose first operator ran while the crowd gathered are no part of it yet.
        assert len(await begun(rig, jobs)) <= 3 + device.max_operators
        waits = await rig.jobs.waits(jobs[-1])
        assert waits[0].text == "its turn: others go before it"
        device.runner.release("heavy")
        for job in (first, *jobs):
            assert (await rig.end(job)).status is JobStatus.HEALTHY


async def test_jobs_without_hope_of_a_gpu_hold_up_nobody_else(device: Device) -> None:
    device.gpus = ()
    async with engine_rig(device) as rig:
        two = await rig.register(TWO)
        jobs = [(await rig.job(two, {"x": b"1"})).id for _ in range(3 + device.max_operators + 3)]
        await until_begun(rig, jobs, 3)
        await rig.tick()
        assert len(await begun(rig, jobs)) <= 3 + device.max_operators
        other = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        assert (await rig.end(other.id)).status is JobStatus.HEALTHY
        device.gpus = GPU
        await rig.tick()
        for job in jobs:
            assert (await rig.end(job)).status is JobStatus.HEALTHY
