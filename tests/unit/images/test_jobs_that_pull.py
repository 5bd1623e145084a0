"""Operators whose images are pulled: they wait for it, and end with their job."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.config import Images as Settings
from claraedge.errors import ImagePullError
from claraedge.images.images import Images
from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.runner.protocol import Space
from tests.engine_bench import DEADLINE, Device, bench, chain, copy

NAME = "a.example/team/copy:1"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    settings = Settings(registries=("a.example/team",), pull="missing")
    monkeypatch.setattr("tests.engine_bench.Images", lambda runner: Images(runner, settings))
    device = Device(tmp_path)
    device.runner.add_remote_image(NAME, copy)
    return device


async def pulling(device: Device) -> None:
    async with asyncio.timeout(DEADLINE):
        while NAME not in device.runner.pulling:
            await asyncio.sleep(0.005)


async def test_a_job_runs_once_its_image_has_come(device: Device) -> None:
    device.runner.hold_pull(NAME)
    async with bench(device) as b:
        job = await b.job(await b.register(chain("one", "two")), {"x": b"1"})
        await pulling(device)
        device.runner.release_pull(NAME)
        assert (await b.end(job.id)).status is JobStatus.HEALTHY
    assert len(device.runner.pulls) == 1


async def test_a_job_that_is_cancelled_meanwhile_gives_the_pull_up(device: Device) -> None:
    device.runner.hold_pull(NAME)
    async with bench(device) as b:
        job = await b.job(await b.register(chain("one")), {"x": b"1"})
        await pulling(device)
        await b.jobs.cancel(job.id, "enough")
        ended = await b.end(job.id)
        assert (ended.status, ended.operators[0].status) == (
            JobStatus.CANCELED,
            OperatorStatus.PENDING,
        )
        assert device.runner.pulling == set()
        assert device.runner.started == []


async def test_a_pull_that_fails_fails_its_operator_with_the_reason(device: Device) -> None:
    device.runner.fail_pull(NAME, ImagePullError("connection refused"))
    async with bench(device) as b:
        ended = await b.end((await b.job(await b.register(chain("one")), {"x": b"1"})).id)
        assert ended.status is JobStatus.FAULTED
        assert f"the image {NAME} could not be pulled: connection refused" in ended.messages[0]


async def test_a_job_waits_for_room_to_pull(device: Device) -> None:
    room = device.runner.space
    device.runner.space = Space(free=1 << 20, total=100 << 30)
    async with bench(device) as b:
        job = await b.job(await b.register(chain("one")), {"x": b"1"})
        async with asyncio.timeout(DEADLINE):
            while not b.engine.warnings():
                await asyncio.sleep(0.005)
        assert f"the image {NAME} is not pulled" in b.engine.warnings()[0]
        device.runner.space = room
        assert (await b.end(job.id)).status is JobStatus.HEALTHY


async def test_a_daemon_that_is_killed_pulls_again_at_its_next_start(device: Device) -> None:
    device.runner.hold_pull(NAME)
    async with bench(device) as b:
        job = await b.job(await b.register(chain("one")), {"x": b"1"})
        await pulling(device)
    assert device.runner.pulling == set()
    device.runner.release_pull(NAME)
    async with bench(device) as b:
        assert (await b.end(job.id)).status is JobStatus.HEALTHY
