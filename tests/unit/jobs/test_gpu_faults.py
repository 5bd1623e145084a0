"""Jobs whose GPU is there and cannot be used: they wait with the reason, and do not fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.jobs.model import Job, JobState, JobStatus, OperatorStatus
from tests.rig.device import Device, copy
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain

GPU = "vendor.com/gpu=0"
FAULT = "its user cannot open /dev/nvmap"


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(state=tmp_path)
    device.gpus, device.gpu_memory = (GPU,), 8192
    device.runner.add_image("copy:1", copy)
    return device


async def until_reported(rig: EngineRig, job: str) -> str:
    """Waits for the message that no GPU can be used, and returns it."""

    def reports(found: Job) -> list[str]:
        assert found.state is not JobState.STOPPED, found.messages
        return [text for text in found.messages if "no GPU can be used" in text]

    (text,) = reports(await rig.until(job, reports))
    return text


@pytest.mark.parametrize("asked", ["gpu: 1", "gpu-memory: 4096"])
async def test_they_wait_in_the_queue_and_run_once_it_can_be_used(
    device: Device, asked: str
) -> None:
    device.gpu_faults[GPU] = FAULT
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one", extra=[f"requests: {{{asked}}}"]))
        jobs = [await rig.job(pipeline, {"x": b"1"}) for _ in range(3)]
        assert await until_reported(rig, jobs[0].id) == (
            f"operator one: no GPU can be used: {FAULT}; it waits, and continues by itself once"
            " that is done"
        )
        assert rig.engine.waits(jobs[0].id)["one"] == f"a GPU that can be used: {FAULT}"
        assert (await rig.jobs.get(jobs[0].id)).state is JobState.PENDING
        device.gpu_faults.clear()
        await rig.tick()
        for job in jobs:
            assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_one_that_breaks_just_then_makes_its_operator_wait(device: Device) -> None:
    """Its container cannot be made, and the reason is the GPU's."""
    device.runner.fail_create("one", "refused")

    async def tried_again(_: object) -> str | None:
        device.gpu_faults[GPU] = FAULT
        return FAULT

    device.tried_again = tried_again  # type: ignore[method-assign,assignment]
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one", extra=["requests: {gpu: 1}"]))
        job = await rig.job(pipeline, {"x": b"1"})
        assert FAULT in await until_reported(rig, job.id)
        (operator,) = (await rig.jobs.get(job.id)).operators
        assert operator.status is OperatorStatus.PENDING
        device.gpu_faults.clear()
        await rig.tick()
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_a_container_that_cannot_be_made_for_another_reason_fails(device: Device) -> None:
    device.runner.fail_create("one", "no such program")
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("one", extra=["requests: {gpu: 1}"]))
        job = await rig.job(pipeline, {"x": b"1"})
        found = await rig.end(job.id)
        assert found.status is JobStatus.FAULTED
        assert "no such program" in str(found.messages)


async def test_others_are_not_delayed(device: Device) -> None:
    device.gpu_faults[GPU] = FAULT
    async with engine_rig(device) as rig:
        waits = await rig.job(
            await rig.register(chain("one", extra=["requests: {gpu: 1}"])), {"x": b"1"}
        )
        plain = await rig.job(await rig.register(chain("two")), {"x": b"1"})
        assert (await rig.end(plain.id)).status is JobStatus.HEALTHY
        await until_reported(rig, waits.id)


async def test_services_that_ask_for_it_are_not_begun(device: Device) -> None:
    device.gpu_faults[GPU] = FAULT
    device.runner.add_image("served:1", copy)
    text = chain("one") + (
        "  services:\n"
        "  - name: viewer\n"
        "    container: {image: served, tag: '1'}\n"
        "    requests: {gpu: 1}\n"
        "    connections: {http: [{name: V, port: 8080}]}\n"
    )
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(text), {"x": b"1"})
        assert FAULT in await until_reported(rig, job.id)
        assert device.runner.created == []
