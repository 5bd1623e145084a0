"""An operator that was found running, and is not, is run again with a GPU or not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.jobs.model import JobStatus, OperatorStatus
from tests.engine_bench import Device, bench, chain, copy

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
    device.runner.hold("one")
    async with bench(device) as b:
        extra = [f"requests: {{{asked}}}"]
        job = await b.job(await b.register(chain("one", extra=extra)), {"x": b"1"})
        await b.until_runs("one")
    device.runner.cut_power()
    device.runner.release("one")
    async with bench(device) as b:
        assert (await b.end(job.id)).status is JobStatus.HEALTHY
    assert [spec.devices for spec in device.runner.started] == [GPU, GPU]


@pytest.mark.parametrize("asked", ["gpu: 1", "gpu-memory: 4096"])
async def test_it_waits_where_the_driver_is_not_there_yet(device: Device, asked: str) -> None:
    device.runner.hold("one")
    async with bench(device) as b:
        extra = [f"requests: {{{asked}}}"]
        job = await b.job(await b.register(chain("one", extra=extra)), {"x": b"1"})
        await b.until_runs("one")
    device.runner.cut_power()
    device.runner.release("one")
    device.gpus = ()
    async with bench(device) as b:
        async with asyncio.timeout(20):
            while "no GPU present" not in str((await b.jobs.get(job.id)).messages):
                await asyncio.sleep(0.02)
        (operator,) = (await b.jobs.get(job.id)).operators
        assert operator.status is OperatorStatus.PENDING
        assert len(device.runner.started) == 1, "it did not run without its GPU"
