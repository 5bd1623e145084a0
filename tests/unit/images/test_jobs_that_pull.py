"""Operators whose images are pulled: they wait for it, and end with their job."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.config import ImagesSettings
from claraedge.errors import ImagePullError
from claraedge.images.images import Images
from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.jobs.scheduling import queue
from claraedge.runner.protocol import Runner
from tests.rig.device import Device, copy
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually

NAME = "a.example/team/copy:1"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    settings = ImagesSettings(registries=("a.example/team",), pull="missing")
    monkeypatch.setattr("tests.rig.engine.Images", lambda runner: Images(runner, settings))
    device = Device(tmp_path)
    device.runner.add_remote_image(NAME, copy)
    return device


async def pulling(device: Device) -> None:
    await eventually(lambda: NAME in device.runner.pulling, "the image is pulled")


async def test_a_job_runs_once_its_image_has_come(device: Device) -> None:
    device.runner.block_pull(NAME)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one", "two")), {"x": b"1"})
        await pulling(device)
        device.runner.release_pull(NAME)
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    assert len(device.runner.pulls) == 1


async def test_a_job_that_is_cancelled_meanwhile_gives_the_pull_up(device: Device) -> None:
    device.runner.block_pull(NAME)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await pulling(device)
        await rig.jobs.cancel(job.id, "enough")
        ended = await rig.end(job.id)
        assert (ended.status, ended.operators[0].status) == (
            JobStatus.CANCELED,
            OperatorStatus.PENDING,
        )
        assert device.runner.pulling == set()
        assert device.runner.started == []


async def test_a_pull_that_fails_fails_its_operator_with_the_reason(device: Device) -> None:
    device.runner.fail_pull(NAME, ImagePullError("connection refused"))
    async with engine_rig(device) as rig:
        ended = await rig.end((await rig.job(await rig.register(chain("one")), {"x": b"1"})).id)
        assert ended.status is JobStatus.FAULTED
        assert f"the image {NAME} could not be pulled: connection refused" in ended.messages[0]


async def test_a_job_waits_for_room_to_pull(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = ["disk: the disk of Podman's images has 1 MiB free"]
    settings = ImagesSettings(registries=("a.example/team",), pull="missing")

    def images(runner: Runner) -> Images:
        return Images(runner, settings, blocked_by=lambda: low[-1] if low else None)

    monkeypatch.setattr("tests.rig.engine.Images", images)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await eventually(rig.engine.warnings, "there is a warning")
        assert f"the image {NAME} is not pulled: {low[0]}" in rig.engine.warnings()[0]
        low.clear()
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_an_operator_that_waits_for_its_image_holds_no_slot_memory_or_gpu(
    device: Device,
) -> None:
    device.max_operators, device.memory = 1, 1024
    device.gpus = ("nvidia.com/gpu=0",)
    device.runner.add_image("here:1", copy)
    device.runner.block_pull(NAME)
    extra = ["requests: {memory: 1024, gpu: 1}"]
    async with engine_rig(device) as rig:
        far = await rig.register(chain("one", "two", extra=extra))
        job = await rig.job(far, {"x": b"1"})
        await pulling(device)
        for _ in range(2):
            near = await rig.register(chain("here", image="here", extra=extra))
            assert (
                await rig.end((await rig.job(near, {"x": b"1"})).id)
            ).status is JobStatus.HEALTHY
        (wait, _) = await rig.jobs.waits(job.id)
        assert wait.text == f"the image {NAME}, which is being pulled".replace(
            "a.example/team/", ""
        )
        device.runner.release_pull(NAME)
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
    assert len(device.runner.pulls) == 1


async def test_an_image_of_a_later_operator_is_pulled_while_the_first_one_runs(
    device: Device,
) -> None:
    device.runner.add_image("here:1", copy)
    device.runner.block("first")
    first = chain("first", image="here")
    second = "".join(chain("x", "second").splitlines(keepends=True)[-6:]).replace("x", "first")
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(first + second), {"x": b"1"})
        await rig.until_runs("first")
        await eventually(lambda: device.runner.pulls, "an image is pulled")
        device.runner.release("first")
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY


async def test_jobs_that_wait_for_one_image_delay_no_others_and_fail_together(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "CROWD", 3)
    monkeypatch.setattr(queue, "WINDOW", 2)
    device.runner.add_image("here:1", copy)
    device.runner.block_pull(NAME)
    async with engine_rig(device) as rig:
        far = await rig.register(chain("one"))
        jobs = [await rig.job(far, {"x": b"1"}) for _ in range(12)]
        await pulling(device)
        near = await rig.job(await rig.register(chain("here", image="here")), {"x": b"1"})
        assert (await rig.end(near.id)).status is JobStatus.HEALTHY
        device.runner.fail_pull(NAME, ImagePullError("connection reset"))
        device.runner.release_pull(NAME)
        for job in jobs:
            ended = await rig.end(job.id)
            assert ended.status is JobStatus.FAULTED
            assert "connection reset" in ended.messages[0]
    assert 1 < len(device.runner.pulls) < len(jobs)


async def test_a_daemon_that_is_killed_pulls_again_at_its_next_start(device: Device) -> None:
    device.runner.block_pull(NAME)
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        await pulling(device)
    assert device.runner.pulling == set()
    device.runner.release_pull(NAME)
    async with engine_rig(device) as rig:
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
