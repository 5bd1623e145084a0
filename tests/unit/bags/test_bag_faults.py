"""The life of bag jobs over clients that disconnect, errors and races."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.bags.kind import BAGS
from claraedge.bags.model import BagJobStatus
from claraedge.bags.storing import BagStore
from claraedge.deployments.model import DeploymentPhase
from claraedge.packages.bag_jobs import BagUpload
from claraedge.runner.memory.runner import MemoryRunner
from claraedge.runner.protocol import Container
from claraedge.supervised.allocations import Allocations
from claraedge.supervised.owner import QuietOwner
from claraedge.supervised.workshop import Workshop
from tests.rig.deployments import deployment_rig, gone_after_commit, noted
from tests.rig.waiting import eventually
from tests.unit.bags.recording_ros import RosImage, app, job, until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def image() -> RosImage:
    return RosImage()


@pytest.fixture
def runner(image: RosImage) -> MemoryRunner:
    runner = MemoryRunner()
    runner.add_image("ros:1", image)
    return runner


async def test_what_was_recorded_of_a_job_is_done_although_the_client_has_gone(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        with monkeypatch.context() as patch:
            await gone_after_commit(patch, rig.bags.start("one", "", job()))
        (made,) = await rig.bags.jobs()
        await until(rig, made.job.id, BagJobStatus.RUNNING)
        with monkeypatch.context() as patch:
            change = rig.bags.update(made.job.id, BagUpload.ON_DEMAND, None)
            await gone_after_commit(patch, change)
        with monkeypatch.context() as patch:
            await gone_after_commit(patch, rig.bags.stop(made.job.id))
        await until(rig, made.job.id, BagJobStatus.STOPPED)
        assert await rig.bags.bags() == []  # they are kept until somebody demands them


async def test_an_error_of_a_job_frees_no_memory_that_its_container_uses(
    tmp_path: Path, runner: MemoryRunner, image: RosImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[str] = []

    async def bug(_store: BagStore, job: str, **_more: object) -> None:
        errors.append(job)
        if len(errors) == 1:
            raise ValueError("a bug")

    monkeypatch.setattr(BagStore, "collect", bug)
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        freed = noted(monkeypatch, Allocations, "release")
        started = await rig.bags.start("one", "", job(upload=BagUpload.CONTINUOUS))
        await eventually(lambda: len(errors) > 1, "it continues after the error")
        await until(rig, started.job.id, BagJobStatus.RUNNING)
        assert len(image.records) == 1
        assert freed == []
        await rig.bags.stop(started.job.id)
        await until(rig, started.job.id, BagJobStatus.STOPPED)
        assert freed == [started.job.id]


async def test_an_error_of_a_keeper_leaves_no_container_of_its_job(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)

        def bug(*_values: object) -> None:
            raise ValueError("a bug")

        monkeypatch.setattr(QuietOwner, "up", bug)
        started = await rig.bags.start("one", "", job())
        await until(rig, started.job.id, BagJobStatus.ERROR)
        assert rig.allocations.allocated().memory == 64
        assert not [name for name in await rig.containers() if started.job.id in name]


async def test_a_job_stopped_after_an_error_ends(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        inside, proceed = asyncio.Event(), asyncio.Event()
        present = Workshop.present

        async def slow(self: Workshop) -> list[Container]:
            if self.kind is BAGS:
                inside.set()
                await proceed.wait()
            return await present(self)

        async def bug(_store: BagStore, _job: str, **_more: object) -> None:
            monkeypatch.undo()
            monkeypatch.setattr(Workshop, "present", slow)
            raise ValueError("a bug")

        monkeypatch.setattr(BagStore, "collect", bug)
        started = await rig.bags.start("one", "", job(upload=BagUpload.CONTINUOUS))
        await inside.wait()
        await rig.bags.stop(started.job.id)
        proceed.set()
        await until(rig, started.job.id, BagJobStatus.STOPPED)
