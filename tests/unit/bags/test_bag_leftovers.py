"""What an earlier daemon left of bag jobs: it is stored or kept, and an error ends nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.bags import leftovers
from claraedge.bags.model import BagJobStatus
from claraedge.bags.storing import BagStore
from claraedge.deployments.model import DeploymentPhase
from claraedge.packages.ids import new_kind_id
from claraedge.runner.memory.runner import MemoryRunner
from claraedge.store.unknown import Unknown
from tests.rig.bag_files import bag_bytes
from tests.rig.deployments import deployment_rig
from tests.rig.waiting import eventually
from tests.unit.bags.recording_ros import RosImage, app, job, until

pytestmark = pytest.mark.timeout(120)
BAG = bag_bytes((1, 2, 3))


@pytest.fixture
async def image() -> RosImage:
    return RosImage()


@pytest.fixture
def runner(image: RosImage) -> MemoryRunner:
    runner = MemoryRunner()
    runner.add_image("ros:1", image)
    return runner


def lost(state: Path, inside: str) -> tuple[Path, Path]:
    """Makes a folder of a job that no database knows, with a bag.

    Returns the folder, and the path that the bag has to get.
    """
    folder = Path("deployments") / "bags" / new_kind_id("bagjob")
    path = folder / inside / "a.bag"
    (state / path).parent.mkdir(parents=True)
    (state / path).write_bytes(BAG)
    return state / folder, state / "unknown" / path


async def test_bags_of_a_job_that_the_database_does_not_know_are_kept_aside(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    taken, place = lost(tmp_path, f"found/{new_kind_id('bag')}")
    written, other_place = lost(tmp_path, "recording")
    empty = tmp_path / "deployments" / "bags" / new_kind_id("bagjob")
    (empty / "recording").mkdir(parents=True)
    unused = empty.parent / "lost+found"
    unused.mkdir()
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await eventually(
            lambda: not (taken.exists() or written.exists() or empty.exists()), "they are moved"
        )
        assert place.read_bytes() == other_place.read_bytes() == BAG
        (warning,) = Unknown(tmp_path).warnings()
        assert str(tmp_path / "unknown") in warning
        assert unused.exists()
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        started = await rig.bags.start("one", "", job())
        await until(rig, started.job.id, BagJobStatus.RUNNING)
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await until(rig, started.job.id, BagJobStatus.RUNNING)


@pytest.mark.parametrize("error", [ValueError("a bug"), PermissionError(13, "no"), MemoryError()])
async def test_a_folder_that_fails_stops_no_other_and_is_tried_again(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(leftovers, "_PAUSES", (0.01, 0.02))
    folders = sorted(lost(tmp_path, "recording") for _ in range(3))
    bad, tries, finish = folders[0][0].name, [], BagStore.finish
    repaired: list[bool] = []

    async def sometimes(self: BagStore, job: str) -> None:
        tries.append(job)
        if job == bad and not repaired:
            raise error
        await finish(self, job)

    monkeypatch.setattr(BagStore, "finish", sometimes)
    async with deployment_rig(tmp_path, runner):
        others = [place for _, place in folders[1:]]
        await eventually(lambda: all(place.exists() for place in others), "others are kept")
        await eventually(lambda: tries.count(bad) > 2, "the bad one is tried again")
        assert folders[0][0].exists()
        repaired.append(True)
        await eventually(folders[0][1].exists, "the bad one is kept in the end")
    assert {tries.count(folder.name) for folder, _ in folders[1:]} == {1}


async def test_folders_that_cannot_be_listed_are_listed_again(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_PAUSES", (0.01, 0.02))
    _, place = lost(tmp_path, "recording")
    listed, tries = leftovers._jobs, []

    def first_fails(root: Path) -> object:
        tries.append(root)
        if len(tries) == 1:
            raise OSError(5, "Input/output error", str(root))
        return listed(root)

    monkeypatch.setattr(leftovers, "_jobs", first_fails)
    async with deployment_rig(tmp_path, runner):
        await eventually(place.exists, "it is kept")
    assert len(tries) == 2


async def test_a_folder_that_an_ended_job_could_not_remove_is_removed_at_a_start(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)

        async def no(_store: BagStore, _job: str) -> None:
            pass

        started = await rig.bags.start("one", "", job())
        await until(rig, started.job.id, BagJobStatus.RUNNING)
        with monkeypatch.context() as patch:
            patch.setattr(BagStore, "tidy", no)
            await rig.bags.stop(started.job.id)
            await until(rig, started.job.id, BagJobStatus.STOPPED)
        folder = tmp_path / "deployments" / "bags" / started.job.id
        assert folder.exists()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await eventually(lambda: not folder.exists(), "it is removed")
        assert len(await rig.bags.bags()) == 1
