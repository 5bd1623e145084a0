"""The life of bag jobs over clients that disconnect, errors and races."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.bags.model import BagJobStatus
from claraedge.deployments.model import DeploymentPhase
from claraedge.packages.bag_jobs import BagUpload
from claraedge.runner.memory.runner import MemoryRunner
from tests.rig.deployments import deployment_rig, gone_after_commit
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
