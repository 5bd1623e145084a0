"""Bags as files of payloads: damaged ones, and those whose files or payloads clients remove."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest

from claraedge.bags import records
from claraedge.bags.model import Bag, BagJobStatus, BagStatus
from claraedge.deployments import records as deployment_records
from claraedge.deployments.model import DeploymentPhase
from claraedge.errors import BagNotFoundError, DeploymentNotFoundError
from claraedge.packages.bag_jobs import BagUpload
from claraedge.packages.ids import new_kind_id
from claraedge.runner.memory.runner import MemoryRunner
from tests.rig.bag_files import bag_bytes
from tests.rig.deployments import DeploymentRig, deployment_rig
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


async def recorded(rig: DeploymentRig, name: str = "recording") -> Bag:
    """Returns the bag of a new job, which has ended."""
    started = await rig.bags.start("one", "", job(name))
    await until(rig, started.job.id, BagJobStatus.RUNNING)
    await rig.bags.stop(started.job.id)
    await until(rig, started.job.id, BagJobStatus.STOPPED)
    (bag,) = await rig.bags.bags(started.job.id)
    return bag


@pytest.mark.parametrize("at", [2**62, 2**63, 2**64 - 1])
async def test_a_damaged_bag_is_stored_as_it_is_and_can_be_deleted(
    tmp_path: Path, runner: MemoryRunner, image: RosImage, at: int
) -> None:
    pack = app()
    text = bag_bytes((1, 2, 3))
    place = text.index(b"index_pos=") + len(b"index_pos=")
    damaged = text[:place] + struct.pack("<Q", at) + text[place + 8 :]
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job())
        await until(rig, started.job.id, BagJobStatus.RUNNING)
        (image.folder / "damaged.bag").write_bytes(damaged)
        await rig.bags.stop(started.job.id)
        await until(rig, started.job.id, BagJobStatus.STOPPED)
        (bag,) = await rig.bags.bags(statuses=[BagStatus.ERROR])
        assert "its index is not in the file" in bag.reason
        _, file = await rig.payloads.open(bag.payload, bag.name)
        with file:
            assert file.read() == damaged
        await rig.bags.delete(bag.id)
        assert bag.id not in [b.id for b in await rig.bags.bags()]


async def test_what_is_no_file_among_the_bags_does_not_keep_a_job_from_ending(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job())
        await until(rig, started.job.id, BagJobStatus.RUNNING)
        folder = tmp_path / "deployments" / "bags" / started.job.id
        # A container that replaces a bag in the moment in which it is taken does this.
        (folder / "found" / new_kind_id("bag") / "a.bag").mkdir(parents=True)
        await rig.bags.stop(started.job.id)
        await until(rig, started.job.id, BagJobStatus.STOPPED)
        assert not folder.exists()


async def test_a_bag_is_gone_with_its_payload_or_its_file(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        first, second, third = [await recorded(rig, name) for name in ("a", "b", "c")]
        await rig.payloads.delete(first.payload)
        await rig.payloads.remove_file(second.payload, second.name)
        assert await rig.bags.bags() == [third]
        with pytest.raises(BagNotFoundError, match=first.id):
            await rig.bags.bag(first.id)
        assert (await rig.bags.job(first.job)).job.payload == ""
        assert (await rig.bags.job(second.job)).job.payload == second.payload


async def test_a_job_whose_payload_is_deleted_continues_in_another(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job(upload=BagUpload.ON_STOP))
        running = await until(rig, started.job.id, BagJobStatus.RUNNING)
        await rig.payloads.delete(running.job.payload)
        await rig.bags.stop(started.job.id)
        ended = await until(rig, started.job.id, BagJobStatus.STOPPED)
        (bag,) = await rig.bags.bags()
        assert bag.status is BagStatus.UPLOADED
        assert bag.payload == ended.job.payload != running.job.payload


async def test_old_jobs_go_once_the_payloads_of_their_bags_are_deleted(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "KEPT", 1)
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        first, second = await recorded(rig, "a"), await recorded(rig, "b")
        assert len(await rig.bags.jobs()) == 2
        await rig.payloads.delete(first.payload)
        await rig.payloads.delete(second.payload)
        third = await recorded(rig, "c")

        async def left() -> bool:
            return [view.job.id for view in await rig.bags.jobs()] == [second.job, third.job]

        await eventually(left, "the oldest one is dropped")


async def test_jobs_and_bags_are_listed_by_a_deployment_whose_record_is_dropped(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment_records, "KEPT", 0)
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        made = await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        bag, id_ = await recorded(rig), made.deployment.id
        await rig.deployments.undeploy("one")

        async def dropped() -> bool:
            with contextlib.suppress(DeploymentNotFoundError):
                await rig.deployments.get(id_)
                return False
            return True

        await eventually(dropped, "its record is dropped")
        assert await rig.bags.bags(deployment=id_) == [bag]
        assert [view.job.id for view in await rig.bags.jobs(id_)] == [bag.job]
        await rig.bags.delete(bag.id)
        with pytest.raises(DeploymentNotFoundError):
            await rig.bags.bags(deployment=new_kind_id("dep"))
