"""An operator that was found running, and is not, is run again with a GPU or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.jobs.model import JobStatus, OperatorStatus
from tests.rig.device import Device, copy
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually

GPU = ("vendor.com/gpu=0",)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(state=tmp_path)
    device.gpus, device.gpu_memory = GPU, 8192
    device.runner.add_image("copy:1", copy)
    return device


@pytest.mark.parametrize("asked", ["gpu: 1", "gpu-memory: 4096"])
async def test_an_operator_that_the_machine_ended_has_its_gpu_again(
    device: Device, asked: str
) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        extra = [f"requests: {{{asked}}}"]
        job = await rig.job(await rig.register(chain("one", extra=extra)), {"x": b"1"})
        await rig.until_runs("one")
    device.runner.cut_power()
    device.runner.release("one")
    async with engine_rig(device) as rig:
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    assert [spec.devices for spec in device.runner.started] == [GPU, GPU]


@pytest.mark.parametrize("asked", ["gpu: 1", "gpu-memory: 4096"])
async def test_it_waits_where_the_driver_is_not_there_yet(device: Device, asked: str) -> None:
    device.runner.block("one")
    async with engine_rig(device) as rig:
        extra = [f"requests: {{{asked}}}"]
        job = await rig.job(await rig.register(chain("one", extra=extra)), {"x": b"1"})
        await rig.until_runs("one")
    device.runner.cut_power()
    device.runner.release("one")
    device.gpus = ()
    async with engine_rig(device) as rig:
        waiting = await rig.until(job.id, lambda job: "no GPU present" in str(job.messages))
        (operator,) = waiting.operators
        assert operator.status is OperatorStatus.PENDING
        assert len(device.runner.started) == 1, "it did not run without its GPU"


async def test_shares_count_after_a_restart_as_well(device: Device) -> None:
    device.runner.block("one")
    text = chain("one", extra=["requests: {gpu-memory: 4096}"])
    async with engine_rig(device) as rig:
        pipeline = await rig.register(text)
        first = [await rig.job(pipeline, {"x": b"1"}) for _ in range(2)]
        await eventually(lambda: len(device.runner.started) >= 2, "two containers were started")
    async with engine_rig(device) as rig:
        third = await rig.job(pipeline, {"x": b"1"})
        waits = "4096 MB of GPU memory; 0 of 8192 are free"
        await eventually(lambda: rig.engine.waits(third.id) == {"one": waits}, "the third waits")
        assert len(device.runner.started) == 2
        device.runner.release("one")
        for job in (*first, third):
            assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    assert [spec.devices for spec in device.runner.started] == [GPU] * 3


async def test_each_job_has_the_gpu_again_that_its_container_has(device: Device) -> None:
    device.gpus = ("vendor.com/gpu=0", "vendor.com/gpu=1")
    device.runner.block("one")
    device.runner.block("other")
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one", extra=["requests: {gpu: 1}"]))
        other = await rig.register(chain("other", extra=["requests: {gpu: 1}"]))
        first = await rig.job(pipeline, {"x": b"1"})
        await rig.until_runs("one")
        second = await rig.job(other, {"x": b"1"})
        await rig.until_runs("other")
        device.runner.release("one")
        await rig.end(first.id)
    device.runner.block("one")
    async with engine_rig(
        device
    ) as rig:  # the second job has the second GPU; the first one is free
        third = await rig.job(pipeline, {"x": b"1"})
        await rig.until_runs("one")
        device.runner.release("one")
        device.runner.release("other")
        for job in (second, third):
            assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    assert [spec.devices for spec in device.runner.started] == [
        ("vendor.com/gpu=0",),
        ("vendor.com/gpu=1",),
        ("vendor.com/gpu=0",),
    ]
