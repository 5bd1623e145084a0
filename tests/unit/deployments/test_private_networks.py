"""Private networks on the runner in memory: who joins them, their ROS masters, and their end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from claraedge.config import DeploymentsSettings
from claraedge.deployments.model import DeploymentPhase, DeploymentStatus
from claraedge.deployments.networks import records
from claraedge.deployments.networks.model import NetworkKind, NetworkRequest, NetworkView
from claraedge.errors import (
    InvalidDeploymentError,
    InvalidNetworkError,
    NetworkExistsError,
    NetworkInUseError,
    NetworkLimitError,
    NetworkNotFoundError,
)
from claraedge.packages.model import Parameter, RestartPolicy
from claraedge.runner.memory.runner import MemoryRunner
from claraedge.runner.protocol import LABEL_NETWORKS, ContainerSpec
from claraedge.supervised.allocations import Allocations
from claraedge.supervised.container import SupervisedContainer
from claraedge.supervised.owner import QuietOwner
from tests.rig.deployments import (
    DeploymentRig,
    component,
    deployment_rig,
    executable,
    noted,
    package,
)
from tests.rig.waiting import eventually

pytestmark = pytest.mark.timeout(120)

ROS = DeploymentsSettings(up_seconds=0.1, ros_images={"noetic": "ros:1", "melodic": "none:1"})


class Program:
    """A program that runs until its end is asked for; remembers how it was started."""

    def __init__(self) -> None:
        self.specs: list[ContainerSpec] = []
        self.code: asyncio.Future[int] | None = None

    async def __call__(self, spec: ContainerSpec) -> int:
        self.specs.append(spec)
        self.code = asyncio.get_running_loop().create_future()
        return await self.code


async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
def master() -> Program:
    return Program()


@pytest.fixture
def runner(program: Program, master: Program) -> MemoryRunner:
    runner = MemoryRunner()
    runner.add_image("serve:1", program)
    runner.add_image("ros:1", master, listens={11311: accept})
    return runner


PACKAGE = package(
    component(
        executable(), parameters=(Parameter(name="ROS_MASTER_URI", default="http://localhost:1"),)
    )
)


def create(rig: DeploymentRig, name: str = "lab", **more: Any) -> Any:
    return rig.site.private_networks.create(NetworkRequest(name=name, **more))


async def until(rig: DeploymentRig, name: str, phase: DeploymentPhase) -> NetworkView:
    found: list[NetworkView] = []

    async def reached() -> bool:
        found[:] = [await rig.site.private_networks.get(name)]
        return found[0].phase is phase

    await eventually(reached, f"{name} is {phase.value}", details=lambda: found)
    return found[0]


async def until_gone(rig: DeploymentRig) -> None:
    async def gone() -> bool:
        return not await rig.site.private_networks.list()

    await eventually(gone, "all networks are gone")


async def test_deployments_reach_each_other_on_a_network_until_it_is_deleted(
    tmp_path: Path, runner: MemoryRunner, program: Program
) -> None:
    async with deployment_rig(tmp_path, runner, packages=[PACKAGE]) as rig:
        made = await create(rig, labels={"room": "3"}, interface="eth0")
        assert made.network.id.startswith("net-")
        risen = await until(rig, "lab", DeploymentPhase.SUCCEEDED)
        assert risen.status is DeploymentStatus.RUNNING
        assert "not bound to the interface eth0" in risen.details
        assert risen.master == ""
        for name in ("one", "two"):
            view = await rig.deploy(name, PACKAGE, networks=("lab",))
            assert view.deployment.networks == (made.network.id,)
            await rig.until_phase(name, DeploymentPhase.SUCCEEDED)
        podman = f"claraedge-{made.network.id}"
        holders = [spec for spec in runner.created if podman in spec.networks]
        own = [spec.networks[podman] for spec in holders]
        assert len(set(own)) == 2
        assert all(address.startswith(risen.subnet.rpartition(".")[0]) for address in own)
        assert program.specs[0].environment["ROS_MASTER_URI"] == "http://localhost:1"
        used = await rig.site.private_networks.get(made.network.id)
        assert len(used.network.used_by) == 2
        with pytest.raises(NetworkInUseError, match=r"one \(dep-.*two \(dep-"):
            await rig.site.private_networks.delete("lab")
        for name in ("one", "two"):
            await rig.deployments.undeploy(name)
            await rig.until_phase(name, DeploymentPhase.STOPPED)
        ended = await rig.site.private_networks.delete("lab")
        assert ended.phase is DeploymentPhase.PARTIALLY_DEPROVISIONED
        await until_gone(rig)
        assert await runner.networks({}) == []
        await create(rig)  # its name is free


async def test_components_get_the_address_of_the_ros_master_and_their_own(
    tmp_path: Path, runner: MemoryRunner, program: Program, master: Program
) -> None:
    async with deployment_rig(tmp_path, runner, packages=[PACKAGE], settings=ROS) as rig:
        await create(rig, distro="noetic", kind=NetworkKind.ROUTED)
        await rig.deploy("one", PACKAGE, networks=("lab",))  # it waits for the master
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        network = await until(rig, "lab", DeploymentPhase.SUCCEEDED)
        (started,) = master.specs
        assert started.command[:2] == ("rosmaster", "--core")
        (own,) = started.networks.values()
        assert network.master == f"http://{own}:11311"
        seen = program.specs[0].environment
        assert seen["ROS_MASTER_URI"] == network.master  # in place of the default of a parameter
        assert seen["ROS_IP"] == seen["ROS_HOSTNAME"] != own
        assert rig.allocations.allocated().memory == 128  # of the master as well
        runner.kill(started.labels["io.claraedge.network-name"])
        await eventually(lambda: len(master.specs) == 2, "the master is started again")
        assert master.specs[1].networks == started.networks
    async with deployment_rig(tmp_path, runner, packages=[PACKAGE], settings=ROS) as rig:
        again = await until(rig, "lab", DeploymentPhase.SUCCEEDED)
        assert again.master == network.master
        assert len(master.specs) == 2
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        await rig.site.private_networks.delete("lab")
        await until_gone(rig)
        assert await rig.containers() == []
        assert rig.allocations.allocated().memory == 0


async def test_without_an_image_a_network_works_without_a_master_and_says_so(
    tmp_path: Path, runner: MemoryRunner, program: Program
) -> None:
    async with deployment_rig(tmp_path, runner, packages=[PACKAGE]) as rig:
        await create(rig, distro="noetic")
        found = await until(rig, "lab", DeploymentPhase.SUCCEEDED)
        assert "ros_images` names no image for noetic" in found.details
        await rig.deploy("one", PACKAGE, networks=("lab",))
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        assert program.specs[0].environment["ROS_MASTER_URI"] == "http://localhost:1"


async def test_a_master_that_does_not_start_is_the_failure_of_its_network(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    async with deployment_rig(tmp_path, runner, packages=[PACKAGE], settings=ROS) as rig:
        await create(rig, distro="melodic")
        failed = await until(rig, "lab", DeploymentPhase.FAILED_TO_START)
        assert failed.status is DeploymentStatus.ERROR
        assert "none:1" in failed.details
        await eventually(lambda: rig.allocations.allocated().memory == 0, "its memory is free")
        await rig.deploy("one", PACKAGE, networks=("lab",))
        view = await rig.until_phase("one", DeploymentPhase.FAILED_TO_START)
        assert "none:1" in view.deployment.faults[0].message
        await rig.site.private_networks.delete("lab")
        await until_gone(rig)
        await create(rig, "other", distro="noetic", restart=RestartPolicy.NEVER)
        await until(rig, "other", DeploymentPhase.SUCCEEDED)
        runner.kill((await rig.runner.containers({LABEL_NETWORKS: "0" * 32}))[0].labels[
            "io.claraedge.network-name"
        ])  # fmt: skip

        async def failed_now() -> bool:
            found = await rig.site.private_networks.get("other")
            return found.status is DeploymentStatus.ERROR and "exit code 137" in found.details

        await eventually(failed_now, "the network shows that its master has ended")


async def test_a_network_that_podman_lost_is_created_again(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    async with deployment_rig(tmp_path, runner, packages=[PACKAGE]) as rig:
        made = await create(rig)
        await until(rig, "lab", DeploymentPhase.SUCCEEDED)
        await runner.remove_network(f"claraedge-{made.network.id}")
        await rig.deploy("one", PACKAGE, networks=("lab",))
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
    await runner.create_network(
        "claraedge-net-unknown", {LABEL_NETWORKS: "0" * 32, "io.claraedge.network": "net-x"}
    )
    async with deployment_rig(tmp_path, runner, packages=[PACKAGE]) as rig:

        async def tidy() -> bool:
            names = {network.name for network in await runner.networks({})}
            return "claraedge-net-unknown" not in names

        await eventually(tidy, "what nothing is recorded of is removed")


async def test_a_network_deleted_without_podman_is_removed_by_the_next_daemon(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    async with deployment_rig(tmp_path, runner, settings=ROS) as rig:
        await create(rig, distro="noetic")
        await until(rig, "lab", DeploymentPhase.SUCCEEDED)
        runner.available = False
        await rig.site.private_networks.delete("lab")
        with pytest.raises(NetworkExistsError, match="being deleted"):
            await create(rig)
    runner.available = True
    async with deployment_rig(tmp_path, runner, settings=ROS) as rig:
        await until_gone(rig)
        assert await runner.networks({}) == []
        assert await rig.containers() == []


async def test_all_mistakes_are_said_at_once(tmp_path: Path, runner: MemoryRunner) -> None:
    async with deployment_rig(tmp_path, runner, packages=[PACKAGE], settings=ROS) as rig:
        with pytest.raises(InvalidNetworkError) as caught:
            await create(rig, " ", distro="Noetic!", interface="eth9", labels={"": "x"})
        assert len(caught.value.messages) == 4
        assert "it has eth0" in caught.value.messages[2]
        await create(rig, "a", distro="noetic")
        await create(rig, "b", distro="noetic")
        with pytest.raises(NetworkExistsError):
            await create(rig, "a")
        with pytest.raises(InvalidDeploymentError) as refused:
            await rig.deploy("one", PACKAGE, networks=("a", "b", "c"))
        assert "no network has the id or name 'c'" in str(refused.value)
        assert "a, b have a ROS distribution each" in str(refused.value)
        with pytest.raises(NetworkNotFoundError):
            await rig.site.private_networks.get("c")


async def test_a_full_network_refuses_one_more(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claraedge.deployments.networks.records.MEMBERS", 1)
    monkeypatch.setattr("claraedge.deployments.networks.records.MOST", 1)
    async with deployment_rig(tmp_path, runner, packages=[PACKAGE]) as rig:
        await create(rig)
        with pytest.raises(NetworkLimitError):
            await create(rig, "second")
        await rig.deploy("one", PACKAGE, networks=("lab", "lab"))
        with pytest.raises(NetworkLimitError):
            await rig.deploy("two", PACKAGE, networks=("lab",))
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        await rig.deploy("two", PACKAGE, networks=("lab",))


async def test_an_error_of_a_network_frees_no_memory_that_its_master_uses(
    tmp_path: Path, runner: MemoryRunner, master: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    up, ups = SupervisedContainer.up, list[str]()

    async def bug(self: SupervisedContainer) -> str:
        ups.append(await up(self))
        if len(ups) == 1:
            raise ValueError("a bug")
        return ups[-1]

    monkeypatch.setattr(SupervisedContainer, "up", bug)
    async with deployment_rig(tmp_path, runner, settings=ROS) as rig:
        freed = noted(monkeypatch, Allocations, "release")
        made = await create(rig, distro="noetic")
        await until(rig, "lab", DeploymentPhase.SUCCEEDED)
        assert len(ups) == 2
        assert len(master.specs) == 1
        assert freed == []
        await rig.site.private_networks.delete("lab")
        await until_gone(rig)
        assert freed == [made.network.id]


async def test_an_error_of_the_keeper_of_a_master_leaves_no_container(
    tmp_path: Path, runner: MemoryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_values: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(QuietOwner, "up", bug)
    async with deployment_rig(tmp_path, runner, settings=ROS) as rig:
        await create(rig, distro="noetic")
        await until(rig, "lab", DeploymentPhase.FAILED_TO_START)
        await eventually(lambda: rig.allocations.allocated().memory == 0, "its memory is free")
        assert await rig.containers() == []


async def test_a_running_master_is_left_where_another_image_is_missing(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    async with deployment_rig(tmp_path, runner, settings=ROS) as rig:
        await create(rig, distro="noetic")
        await until(rig, "lab", DeploymentPhase.SUCCEEDED)
    other = DeploymentsSettings(up_seconds=0.1, ros_images={"noetic": "none:1"})
    async with deployment_rig(tmp_path, runner, settings=other) as rig:

        async def waits() -> bool:
            return "none:1" in (await rig.site.private_networks.get("lab")).details

        await eventually(waits, "it says which image it waits for")
        assert len(await rig.containers()) == 1
        assert rig.allocations.allocated().memory == 64


async def test_a_network_deleted_before_the_daemon_died_ends_its_master_with_grace(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    async with deployment_rig(tmp_path, runner, settings=ROS) as rig:
        made = await create(rig, distro="noetic")
        await until(rig, "lab", DeploymentPhase.SUCCEEDED)
        id_ = made.network.id
        await rig.database.write(lambda tx: records.set_unwanted(tx, id_))
    async with deployment_rig(tmp_path, runner, settings=ROS) as rig:
        await until_gone(rig)
        assert runner.stops


async def test_another_setting_of_what_networks_reach_is_reported(
    tmp_path: Path, runner: MemoryRunner
) -> None:
    async with deployment_rig(tmp_path, runner, packages=[PACKAGE]) as rig:
        await create(rig)
        await rig.deploy("one", PACKAGE, networks=("lab",))
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        assert await rig.deployments.warnings() == ()
    private = DeploymentsSettings(up_seconds=0.1, network="private")
    async with deployment_rig(tmp_path, runner, packages=[PACKAGE], settings=private) as rig:
        await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        ours, shared = await rig.deployments.warnings()
        assert "deployments one, which were created with another value" in ours
        assert "networks lab, which" in shared
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        await rig.site.private_networks.delete("lab")
        await until_gone(rig)
        await rig.deploy("one", PACKAGE)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        assert await rig.deployments.warnings() == ()
