"""The life of bag jobs on the runner in memory: recording, storing, restarts, crashes, the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from claraedge.bags.model import Bag, BagJobStatus, BagStatus, TimeRange
from claraedge.deployments.model import ComponentRequest, DeploymentPhase
from claraedge.errors import (
    BagJobExistsError,
    BagJobNotFoundError,
    BagNotFoundError,
    DeploymentNotReadyError,
    InvalidBagJobError,
    InvalidDeploymentError,
    StorageFullError,
)
from claraedge.packages.bag_jobs import BagJobDefinition, BagUpload, RecordOptions
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


async def bags(rig: DeploymentRig, count: int = 1) -> Sequence[Bag]:
    """Waits until there are so many bags that are stored, and returns them."""
    found: list[Bag] = []

    async def are() -> bool:
        found[:] = await rig.bags.bags()
        return len(found) == count and all(b.status is not BagStatus.UPLOADING for b in found)

    await eventually(are, f"{count} bags are stored", details=lambda: found)
    return found


async def content(rig: DeploymentRig, bag: Bag) -> bytes:
    _, file = await rig.payloads.open(bag.payload, bag.name)
    with file:
        return file.read()


async def test_a_job_records_and_its_bag_is_stored_at_its_end(
    tmp_path: Path, runner: MemoryRunner, image: RosImage
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job(topics=("/a",), all_topics=False))
        assert started.status is BagJobStatus.STARTING
        running = await until(rig, started.job.id, BagJobStatus.RUNNING)
        assert running.job.payload
        (spec,) = image.records
        assert spec.joins
        assert spec.command[-1] == "/a"
        assert spec.environment["RIO_DEVICE_ID"] == "d"
        assert rig.allocations.allocated().memory == 64 + 256
        await rig.bags.stop(started.job.id[:12])
        ended = await until(rig, started.job.id, BagJobStatus.STOPPED)
        assert ended.job.ended is not None
        (bag,) = await bags(rig)
        assert (bag.name, bag.status, bag.messages) == ("r0.bag", BagStatus.UPLOADED, 3)
        assert (bag.started, bag.ended) == (100.0, 200.5)
        assert bag.payload == running.job.payload
        assert await content(rig, bag) == bag_bytes((100, 200, 3))
        assert not (tmp_path / "deployments" / "bags" / started.job.id).exists()
        assert rig.allocations.allocated().memory == 64
        again = await rig.bags.stop(started.job.id)
        assert again.status is BagJobStatus.STOPPED
        assert await rig.bags.delete(bag.id) == bag
        assert await rig.bags.bags() == []
        assert (await rig.payloads.get(bag.payload)).files == ()
        with pytest.raises(BagNotFoundError, match=bag.id):
            await rig.bags.delete(bag.id)


async def test_jobs_of_the_package_start_with_the_deployment_and_end_with_it(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = app({"name": "all", "recordOptions": {"allTopics": True}})
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        made = await rig.deploy("one", pack)
        (first,) = await rig.bags.jobs("one")
        await until(rig, first.job.id, BagJobStatus.RUNNING)
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        await until(rig, first.job.id, BagJobStatus.STOPPED)
        (bag,) = await bags(rig)
        assert bag.status is BagStatus.UPLOADED
        assert await runner.containers({}) == []
        assert [v.job.id for v in await rig.bags.jobs(made.deployment.id)] == [first.job.id]


async def test_jobs_of_a_request_replace_those_of_the_package(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = app({"name": "all", "recordOptions": {"allTopics": True}})
    component_id = pack.plans[0].components[0].id
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        own = ComponentRequest(component=component_id, bag_jobs=(job("own"), job("other")))
        await rig.deploy("one", pack, components=(own,))
        await rig.deploy(
            "two", pack, components=(ComponentRequest(component=component_id, bag_jobs=()),)
        )
        assert [v.job.name for v in await rig.bags.jobs("one")] == ["own", "other"]
        assert await rig.bags.jobs("two") == []
        twice = ComponentRequest(component=component_id, bag_jobs=(job("x"), job("x")))
        with pytest.raises(InvalidDeploymentError, match="name of two jobs"):
            await rig.deploy("three", pack, components=(twice,))


async def test_a_manifest_with_a_job_that_has_no_effect_is_refused(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    override = {"topicOverrideInfo": [{"topicName": "/a", "recordFrequency": 5}]}
    given = {
        "name": "a",
        "recordOptions": {"allTopics": True},
        "overrideOptions": override,
    }
    pack, plain = app(given), app({"name": "a", "recordOptions": {"allTopics": True}}, ros=False)
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        with pytest.raises(InvalidDeploymentError, match="throttle"):
            await rig.deploy("one", pack)
    async with deployment_rig(tmp_path / "2", runner, packages=[plain]) as rig:
        with pytest.raises(InvalidDeploymentError, match="has no ROS"):
            await rig.deploy("one", plain)


async def test_wrong_requests_are_refused(tmp_path: Path, runner: MemoryRunner) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        with pytest.raises(InvalidBagJobError, match="no component 'x'"):
            await rig.bags.start("one", "x", job())
        with pytest.raises(InvalidBagJobError, match="select nothing"):
            await rig.bags.start("one", "main", job(all_topics=False))
        bad = BagJobDefinition(name="j", record=RecordOptions(all_topics=True), executable="nobody")
        with pytest.raises(InvalidBagJobError, match="its executables: run"):
            await rig.bags.start("one", "", bad)
        first = await rig.bags.start("one", "", job())
        with pytest.raises(BagJobExistsError, match=first.job.id):
            await rig.bags.start("one", "", job())
        with pytest.raises(BagJobNotFoundError):
            await rig.bags.stop("bagjob-" + "z" * 24)
        with pytest.raises(InvalidBagJobError, match="swap"):
            await rig.bags.update(first.job.id, None, TimeRange(start=2, end=1))
        rig.blocked[0] = "the disk is low"
        with pytest.raises(StorageFullError, match="the disk is low"):
            await rig.bags.start("one", "", job("other"))
        rig.blocked[0] = None
        await rig.deployments.undeploy("one")
        with pytest.raises(DeploymentNotReadyError):
            await rig.bags.start("one", "", job("late"))


async def test_an_image_without_rosbag_is_an_error_with_advice(
    tmp_path: Path, runner: MemoryRunner, image: RosImage
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job())
        await eventually(lambda: image.records, "it records")
        image.code.set_result(127)
        failed = await until(rig, started.job.id, BagJobStatus.ERROR)
        assert "install ROS 1's `rosbag`" in failed.reason
        assert (await rig.deployments.get("one")).deployment.phase is DeploymentPhase.SUCCEEDED


async def test_a_crash_of_record_leaves_a_partial_bag_and_a_new_one(
    tmp_path: Path, runner: MemoryRunner, image: RosImage
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job())
        await until(rig, started.job.id, BagJobStatus.RUNNING)
        (image.folder / "r0.bag.active").rename(image.folder / "kept.bag.active")
        (image.folder / "r0.bag.active").write_bytes(b"")
        image.code.set_result(139)
        await eventually(lambda: len(image.records) == 2, "it records again")
        await until(rig, started.job.id, BagJobStatus.RUNNING)
        await rig.bags.stop(started.job.id)
        await until(rig, started.job.id, BagJobStatus.STOPPED)
        found = {bag.name: bag for bag in await bags(rig, 3)}
        assert set(found) == {"kept.bag.active", "r0.bag", "r1.bag"}
        partial = found["kept.bag.active"]
        assert partial.status is BagStatus.ERROR
        assert "rosbag reindex kept.bag.active" in partial.reason
        assert await content(rig, partial) == bag_bytes(whole=False)


async def test_jobs_go_on_over_a_restart_of_the_daemon(
    tmp_path: Path, runner: MemoryRunner, image: RosImage
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job())
        await until(rig, started.job.id, BagJobStatus.RUNNING)
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await until(rig, started.job.id, BagJobStatus.RUNNING)
        assert len(image.records) == 1
        assert rig.allocations.allocated().memory == 64 + 256
        await rig.deployments.undeploy("one")
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        await until(rig, started.job.id, BagJobStatus.STOPPED)
        (bag,) = await bags(rig)
        assert bag.status is BagStatus.UPLOADED
        assert await runner.containers({}) == []


async def test_a_killed_recording_is_stored_as_a_partial_bag(
    tmp_path: Path, runner: MemoryRunner, image: RosImage
) -> None:
    image.hangs = True
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job())
        await until(rig, started.job.id, BagJobStatus.RUNNING)
        await rig.bags.stop(started.job.id)
        await until(rig, started.job.id, BagJobStatus.STOPPED)
        (bag,) = await bags(rig)
        assert (bag.name, bag.status) == ("r0.bag.active", BagStatus.ERROR)


async def test_continuous_jobs_store_each_bag_once_it_is_closed(
    tmp_path: Path, runner: MemoryRunner, image: RosImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claraedge.bags.recorder._SEARCH", 0.05)
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job(upload=BagUpload.CONTINUOUS))
        await until(rig, started.job.id, BagJobStatus.RUNNING)
        (image.folder / "s0.bag").write_bytes(bag_bytes((1, 2, 1)))
        (bag,) = await bags(rig)
        assert bag.name == "s0.bag"
        assert [p.name for p in image.folder.iterdir()] == ["r0.bag.active"]
        (image.folder / "s0.bag").write_bytes(bag_bytes((3, 4, 2)))  # after a step of the clock
        assert [b.name for b in await bags(rig, 2)] == ["s0.bag", "s0-2.bag"]
        await rig.bags.stop(started.job.id)
        await bags(rig, 3)


async def test_bags_on_demand_are_stored_when_they_are_asked_for(
    tmp_path: Path, runner: MemoryRunner, image: RosImage
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job(upload=BagUpload.ON_DEMAND))
        id_ = started.job.id
        await until(rig, id_, BagJobStatus.RUNNING)
        for number in range(3):
            bag = bag_bytes((number * 100, number * 100 + 50, 1))
            (image.folder / f"s{number}.bag").write_bytes(bag)
        await rig.bags.update(id_, None, TimeRange(start=120, end=130))
        assert [b.name for b in await rig.bags.bags()] == ["s1.bag"]
        await rig.bags.stop(id_)
        await until(rig, id_, BagJobStatus.STOPPED)
        assert len(await rig.bags.bags()) == 1
        await rig.bags.update(id_, None, TimeRange(start=0, end=60))
        assert [b.name for b in await rig.bags.bags()] == ["s1.bag", "s0.bag"]
        await rig.bags.update(id_, BagUpload.ON_STOP, None)
        assert sorted(b.name for b in await rig.bags.bags()) == [
            "r0.bag",
            "s0.bag",
            "s1.bag",
            "s2.bag",
        ]
        assert not (tmp_path / "deployments" / "bags" / id_).exists()


async def test_a_deleted_payload_is_replaced_and_links_are_no_bags(
    tmp_path: Path, runner: MemoryRunner, image: RosImage
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job())
        running = await until(rig, started.job.id, BagJobStatus.RUNNING)
        await rig.payloads.delete(running.job.payload)
        secret = tmp_path / "secret"
        secret.write_bytes(bag_bytes((1, 2, 3)))
        (image.folder / "link.bag").symlink_to(secret)
        (image.folder / "folder.bag").mkdir()
        (image.folder / 'evil"\n;é.bag').write_bytes(bag_bytes((1, 2, 3)))
        await rig.bags.stop(started.job.id)
        ended = await until(rig, started.job.id, BagJobStatus.STOPPED)
        found = await bags(rig, 2)
        assert sorted(bag.name for bag in found) == ["evil____.bag", "r0.bag"]
        assert {bag.payload for bag in found} == {ended.job.payload}
        assert ended.job.payload != running.job.payload
        assert secret.exists()


@pytest.mark.parametrize("point", ["before the link", "before the row", "after the row"])
async def test_a_bag_is_stored_exactly_once_over_a_crash(
    tmp_path: Path,
    runner: MemoryRunner,
    image: RosImage,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    """The daemon ends at a step of storing, and the next one continues."""
    name = {
        "before the link": "claraedge.payloads.payloads.Payloads.add_link",
        "before the row": "claraedge.bags.records.set_stored",
        "after the row": "claraedge.bags.folder.BagFolder.remove",
    }[point]
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    class CrashError(OSError):
        pass

    def crash(*_: object, **__: object) -> None:
        loop.call_soon_threadsafe(reached.set)
        raise CrashError(5, "a crash")

    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job())
        await until(rig, started.job.id, BagJobStatus.RUNNING)
        with monkeypatch.context() as patch:
            patch.setattr(name, crash)
            await rig.bags.stop(started.job.id)
            await asyncio.wait_for(reached.wait(), 30)
            stopping = await until(rig, started.job.id, BagJobStatus.STOPPING)
            assert stopping.job.over is None
            await rig.deployments.undeploy("one")  # a bag that waits for a disk does not delay it
            await rig.until_phase("one", DeploymentPhase.STOPPED)
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await until(rig, started.job.id, BagJobStatus.STOPPED)
        (bag,) = await bags(rig)
        assert (bag.name, bag.status) == ("r0.bag", BagStatus.UPLOADED)
        files = (await rig.payloads.get(bag.payload)).files
        assert [file.name for file in files] == ["r0.bag"]
        assert await content(rig, bag) == bag_bytes((100, 200, 3))
        assert len(list((tmp_path / "payloads" / bag.payload / "blobs").iterdir())) == 1


async def test_a_full_disk_delays_storing_and_says_so(
    tmp_path: Path, runner: MemoryRunner, image: RosImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job())
        await until(rig, started.job.id, BagJobStatus.RUNNING)

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device", "/x")

        with monkeypatch.context() as patch:
            patch.setattr("claraedge.payloads.tree.PayloadTree.adopt", full)
            await rig.bags.stop(started.job.id)

            async def waits() -> bool:
                view = await rig.bags.job(started.job.id)
                return "free some space" in view.reason

            await eventually(waits, "it says what it waits for")
            (bag,) = await rig.bags.bags()
            assert bag.status is BagStatus.UPLOADING
            assert "No space left" in bag.reason
        await until(rig, started.job.id, BagJobStatus.STOPPED)
        (bag,) = await bags(rig)
        assert bag.status is BagStatus.UPLOADED
