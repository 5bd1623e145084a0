"""The life of deployments over full disks, deaths, races and hostile mounts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claraedge.blocking import in_thread
from claraedge.deployments import records
from claraedge.deployments.model import (
    ComponentRequest,
    DeploymentPhase,
    DeploymentStatus,
    ExecutableChange,
    VolumeMount,
)
from claraedge.deployments.networks import records as network_records
from claraedge.deployments.networks.model import NetworkKind, NetworkRequest
from claraedge.errors import StorageFullError
from claraedge.images.images import Images
from claraedge.packages.model import RestartPolicy
from claraedge.runner.memory.runner import MemoryRunner
from claraedge.runner.protocol import ContainerSpec
from claraedge.runner.protocol import Phase as ContainerPhase
from tests.rig.deployments import (
    DeploymentRig,
    component,
    deployment_rig,
    executable,
    gone_after_commit,
    package,
)
from tests.rig.waiting import eventually
from tests.unit.deployments.programs import Ending, app, fail, serve

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def runner() -> MemoryRunner:
    runner = MemoryRunner()
    runner.add_image("serve:1", serve)
    runner.add_image("serve:2", serve)
    runner.add_image("fail:1", fail)
    return runner


def full_once(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """The disk is full at the next call of a function that writes."""
    real: Callable[..., object] = getattr(module, name)
    left = [1]

    def full(*values: object, **more: object) -> object:
        if left:
            left.pop()
            raise StorageFullError("the disk is full")
        return real(*values, **more)

    monkeypatch.setattr(module, name, full)
    return left


def stubborn(seconds: float) -> Callable[[ContainerSpec], Any]:
    """A program that needs some seconds to end after TERM."""

    async def run(_spec: ContainerSpec) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(seconds)
        return 0

    return run


async def running(rig: DeploymentRig) -> int:
    found = await rig.runner.containers({})
    return sum(1 for each in found if each.phase is ContainerPhase.RUNNING)


async def test_a_full_disk_at_the_start_of_the_daemon_ends_no_deployment(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
    left = full_once(monkeypatch, records, "set_gpus")
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await eventually(lambda: not left, "the disk was full")
        view = await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        assert view.deployment.phase is DeploymentPhase.SUCCEEDED


@pytest.mark.parametrize("step", ["set_phase", "set_gpus", "set_up", "set_image"])
async def test_a_full_disk_delays_a_provision(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        full_once(monkeypatch, records, step)
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        full_once(monkeypatch, records, "set_phase")
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)


async def test_an_error_in_an_update_frees_no_gpu_that_is_in_use(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = package(component(executable(gpus=1)))
    async with deployment_rig(tmp_path, runner, packages=[pack], gpus=("g0",)) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        await rig.deploy("two", pack)
        await rig.until("two", lambda v: "GPU" in v.waits_for)

        def bug(*_values: object) -> None:
            monkeypatch.undo()
            raise ValueError("a bug")

        monkeypatch.setattr(records, "set_plan", bug)
        await rig.deployments.update("one", [ExecutableChange(executable="run", image="serve:2")])
        await rig.until("one", lambda v: v.deployment.generation == 2)
        assert await running(rig) == 1
        waiting = await rig.deployments.get("two")
        assert "GPU" in waiting.waits_for


async def test_a_deployment_keeps_its_gpu_over_a_restart_of_the_machine(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Ending()
    runner.add_image("app:1", program)
    one = package(component(executable(image="app:1", gpus=1)), name="one")
    two = package(component(executable(gpus=1)), name="two")
    async with deployment_rig(tmp_path, runner, packages=[one, two], gpus=("g0",)) as rig:
        await rig.deploy("one", one)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        await rig.deploy("two", two)
        await rig.until("two", lambda v: "GPU" in v.waits_for)
        image = (await rig.site.images.find("app:1")).id
    runner.cut_power()
    find, slow = Images.find, asyncio.Event()

    async def finds(self: Images, reference: str) -> Any:
        if reference == image:
            await slow.wait()
        return await find(self, reference)

    monkeypatch.setattr(Images, "find", finds)
    async with deployment_rig(tmp_path, runner, packages=[one, two], gpus=("g0",)) as rig:
        await rig.until("two", lambda v: "GPU" in v.waits_for)
        slow.set()
        await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)


@pytest.mark.parametrize("call", ["create", "undeploy"])
async def test_what_was_recorded_is_begun_although_the_client_has_gone(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        if call == "undeploy":
            await rig.deploy("one", pack)
            await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        work = rig.deploy("one", pack) if call == "create" else rig.deployments.undeploy("one")
        await gone_after_commit(monkeypatch, work)
        wanted = DeploymentPhase.SUCCEEDED if call == "create" else DeploymentPhase.STOPPED
        await rig.until_phase("one", wanted)


async def test_a_failed_start_is_no_success_after_the_death_of_the_daemon(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    runner.add_image("slow:1", stubborn(5))
    pack = package(
        component(
            executable("good", image="slow:1"),
            executable("bad", image="fail:1"),
            restart=RestartPolicy.NEVER,
        )
    )
    async with deployment_rig(tmp_path, runner, packages=[pack], grace=5.0) as rig:
        await rig.deploy("one", pack)
        await rig.until("one", lambda v: v.waits_for == "the end of its containers")
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.until_phase("one", DeploymentPhase.FAILED_TO_START)


async def test_a_daemon_that_died_in_an_update_that_fails_goes_back_to_the_old_image(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = package(component(executable("a"), executable("b")))
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        old = (await rig.site.images.find("serve:1")).id
        new = (await rig.site.images.find("serve:2")).id
        changes = [
            ExecutableChange(executable="a", image="serve:2"),
            ExecutableChange(executable="b", image="fail:1"),
        ]
        await rig.deployments.update("one", changes)
        await eventually(lambda: any(s.image == new for s in runner.started), "a is new")
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        view = await rig.until_phase("one", DeploymentPhase.FAILED_TO_UPDATE)
        assert {record.image for record in view.deployment.executables.values()} == {old}
        await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        assert {spec.image for spec in runner.started[-2:]} == {old}


async def test_an_old_version_that_does_not_come_up_ends_a_failed_update_all_the_same(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    starts: list[int] = []

    async def once(_spec: ContainerSpec) -> int:
        starts.append(1)
        if len(starts) > 1:
            return 5  # the new version has changed its data
        await asyncio.Event().wait()
        return 0

    runner.add_image("old:1", once)
    pack = package(component(executable("a", image="old:1"), executable("b")))
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        changes = [
            ExecutableChange(executable="a", image="serve:2"),
            ExecutableChange(executable="b", image="fail:1"),
        ]
        await rig.deployments.update("one", changes)
        await rig.until_phase("one", DeploymentPhase.FAILED_TO_UPDATE)
        await eventually(lambda: len(starts) > 2, "its rule starts it again")


async def test_undeployed_while_it_fails_to_start_it_has_stopped(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    runner.add_image("slow:1", stubborn(1))
    pack = package(
        component(
            executable("good", image="slow:1"),
            executable("bad", image="fail:1"),
            restart=RestartPolicy.NEVER,
        )
    )
    async with deployment_rig(tmp_path, runner, packages=[pack], grace=1.0) as rig:
        await rig.deploy("one", pack)
        await rig.until("one", lambda v: v.waits_for == "the end of its containers")
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)


async def test_undeployed_after_an_error_it_ends(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        present, inside, proceed = rig.site.workshop.present, asyncio.Event(), asyncio.Event()

        async def slow() -> Any:
            inside.set()
            await proceed.wait()
            return await present()

        def bug(*_values: object) -> None:
            raise ValueError("a bug")

        monkeypatch.setattr(rig.site.workshop, "present", slow)
        monkeypatch.setattr(records, "set_plan", bug)
        await rig.deployments.update("one", [ExecutableChange(executable="run", image="serve:2")])
        await inside.wait()
        monkeypatch.undo()
        await rig.deployments.undeploy("one")
        proceed.set()
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        assert await rig.containers() == []


async def test_undeployed_before_the_daemon_died_it_is_ended_with_grace(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    pack = app()
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.deploy("one", pack)
        view = await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        id_ = view.deployment.id
        await rig.database.write(lambda tx: records.undeploy(tx, id_, 1.0))
    async with deployment_rig(tmp_path, runner, packages=[pack]) as rig:
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        assert runner.stops


async def test_no_mount_leads_out_of_the_volumes_at_a_later_start(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    program = Ending()
    runner.add_image("app:1", program)
    made = component(executable(image="app:1"))
    pack = package(made)
    mounts = (
        VolumeMount(executable="run", mount_path="/all", sub_path="/"),
        VolumeMount(executable="run", mount_path="/data", sub_path="a/b"),
    )
    state = tmp_path / "state"
    async with deployment_rig(state, runner, packages=[pack]) as rig:
        await rig.deploy(
            "one", pack, components=(ComponentRequest(component=made.id, mounts=mounts),)
        )
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        await in_thread(replace_by_link, state / "volumes/a", tmp_path / "secret")
        program.end(1)
        view = await rig.until("one", lambda v: "leads over a link" in reasons(v))
        assert program.starts == 1
        assert view.deployment.phase is DeploymentPhase.SUCCEEDED


def replace_by_link(folder: Path, secret: Path) -> None:
    (secret / "b").mkdir(parents=True)
    (folder / "b").rmdir()
    folder.rmdir()
    folder.symlink_to(secret)


def reasons(view: Any) -> str:
    return " ".join(record.reason for record in view.deployment.executables.values())


async def test_a_full_disk_while_a_network_is_removed_ends_nothing(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with deployment_rig(tmp_path, runner) as rig:
        networks = rig.site.private_networks
        await networks.create(NetworkRequest(name="n", kind=NetworkKind.NATIVE))
        left = full_once(monkeypatch, network_records, "drop")
        await networks.delete("n")

        async def gone() -> bool:
            return not left and not await networks.list()

        await eventually(gone, "it is removed by the next attempt")


@pytest.mark.parametrize("lacks", ["image", "mount"])
async def test_after_a_restart_an_executable_that_lacks_something_delays_no_other(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    monkeypatch.setattr("claraedge.waiting.patience._PAUSES", (0.1, 0.5))
    program, bags = Ending(), "bags"
    runner.add_image("app:1", program)
    one, two = executable("bad", image="app:1"), executable("good")
    first, second = component(one, two), component(executable("other"), name="second")
    pack = package(first, second)
    mount = VolumeMount(executable="bad", mount_path="/all", sub_path=bags)
    state = tmp_path / "state"
    async with deployment_rig(state, runner, packages=[pack]) as rig:
        wanted = ComponentRequest(component=first.id, mounts=(mount,))
        await rig.deploy("one", pack, components=(wanted,))
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
    runner.cut_power()
    folder = state / "volumes" / bags
    folder.rmdir()
    if lacks == "image":
        await runner.remove_image("app:1", force=True)
    else:
        folder.write_text("a file", encoding="utf-8")
    async with deployment_rig(state, runner, packages=[pack]) as rig:
        ids = {
            e.name: e.id
            for _, e in (await rig.deployments.get("one")).deployment.plan.executables()
        }
        expected = {
            ids["bad"]: DeploymentStatus.PENDING,
            ids["good"]: DeploymentStatus.RUNNING,
            ids["other"]: DeploymentStatus.RUNNING,
        }
        view = await rig.until(
            "one", lambda v: expected.items() <= v.statuses.items() and v.waits_for
        )
        assert ("app:1" if lacks == "image" else bags) in view.waits_for
        assert view.deployment.phase is DeploymentPhase.SUCCEEDED
        if lacks == "image":
            runner.add_image("app:1", program)
        else:
            folder.unlink()
        await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        assert await rig.containers() == []
