"""Private networks in real Podman: two deployments on one of them, and a master of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from claraedge.config import DeploymentsSettings
from claraedge.deployments.model import DeploymentPhase, DeploymentStatus
from claraedge.deployments.networks.model import NetworkRequest
from claraedge.ids import new_id
from claraedge.packages.model import Package
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import LABEL_DEPLOYMENTS, LABEL_NETWORKS, Image
from tests.integration.conftest import TestImages
from tests.rig.deployments import DeploymentRig, component, deployment_rig, executable, package
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]

#: Prints what the other one says, and says it itself to whoever connects.
LISTEN = "while true; do echo from $NAME | busybox nc -l -p 7000; done"
ASK = "until busybox nc -w 2 $OTHER 7000 </dev/null | grep from; do sleep 0.2; done"
FOREVER = "while true; do sleep 1; done"
#: In place of a ROS master: accepts connections at its port.
MASTER = "while true; do busybox nc -l -p 11311 -e busybox true; done"
#: Asks once, whether it is answered or not.
ONCE = "busybox timeout 5 busybox nc -w 2 $OTHER 7000 </dev/null || echo nobody"
Open = Callable[..., AbstractAsyncContextManager[DeploymentRig]]


def app(image: str, name: str, *lines: str) -> Package:
    return package(component(executable(image=image, command=lines)), name=name)


async def words(rig: DeploymentRig, name: str) -> str:
    found = rig.deployments.log(name, "", tail=0, following=False)
    return "".join([line async for _, lines in found for line in lines])


async def until_said(rig: DeploymentRig, name: str, text: str) -> None:
    async def said() -> bool:
        return text in await words(rig, name)

    await eventually(said, f"{name} says {text}")


async def until(rig: DeploymentRig, phase: DeploymentPhase) -> None:
    async def reached() -> bool:
        return (await rig.site.private_networks.get("lab")).phase is phase

    await eventually(reached, f"the network is {phase.value}")


@pytest.fixture
async def opened(tmp_path: Path, runner: PodmanRunner) -> AsyncIterator[Open]:
    """Opens the deployments of one device; whatever a test leaves of them is removed."""
    instance = new_id()
    yield partial(deployment_rig, tmp_path, runner, instance=instance, grace=1.0)
    for label in (LABEL_DEPLOYMENTS, LABEL_NETWORKS):
        for container in await runner.containers({label: instance}):
            await runner.remove(container.id)
        for network in await runner.networks({label: instance}):
            await runner.remove_network(network.name)


@pytest.mark.parametrize("network", ["outside", "private"])
async def test_deployments_on_one_network_reach_each_other_and_others_do_not(
    opened: Open, busybox: Image, runner: PodmanRunner, network: Literal["outside", "private"]
) -> None:
    image = busybox.names[0]
    settings = DeploymentsSettings(up_seconds=0.5, network=network)
    server = app(image, "server", f"NAME=one; {LISTEN}")
    async with opened(packages=[server], settings=settings) as rig:
        made = await rig.site.private_networks.create(NetworkRequest(name="lab"))
        await until(rig, DeploymentPhase.SUCCEEDED)
        deployed = await rig.deploy("server", server, networks=("lab",))
        await rig.until_phase("server", DeploymentPhase.SUCCEEDED)
        (found,) = await runner.networks({LABEL_NETWORKS: rig.site.workshop.instance})
        assert found.name == f"claraedge-{made.network.id}"
        joined = await rig.site.private_networks.joined(deployed.deployment.id)
        ((address,),) = [each.addresses.values() for each in joined.values()]
    child = app(image, "child", f"OTHER={address}; {ASK}", FOREVER)
    stranger = app(image, "stranger", f"OTHER={address}; {ONCE}", FOREVER)
    async with opened(packages=[server, child, stranger], settings=settings) as rig:
        await rig.until("server", lambda v: v.status is DeploymentStatus.RUNNING)
        await rig.deploy("child", child, networks=("lab",))
        await until_said(rig, "child", "from one")
        await rig.deploy("stranger", stranger)
        await until_said(rig, "stranger", "nobody")
        assert "from one" not in await words(rig, "stranger")
        for name in ("child", "stranger", "server"):
            await rig.deployments.undeploy(name)
            await rig.until_phase(name, DeploymentPhase.STOPPED)
        await rig.site.private_networks.delete("lab")

        async def gone() -> bool:
            return not await rig.site.private_networks.list()

        await eventually(gone, "the network is gone")
        instance = rig.site.workshop.instance
        assert await runner.networks({LABEL_NETWORKS: instance}) == []
        assert await runner.networks({LABEL_DEPLOYMENTS: instance}) == []


async def test_a_master_serves_its_network_and_is_started_again_after_a_kill(
    opened: Open, runner: PodmanRunner, archives: TestImages
) -> None:
    archive = archives.archive("localhost/ce-test/master:1", entrypoint=["/bin/sh", "-c", MASTER])
    (image,) = await runner.load_image(archive)
    name = image.names[0]
    settings = DeploymentsSettings(up_seconds=0.5, ros_images={"noetic": name})
    node = app(
        name,
        "node",
        "until busybox nc -w 2 ${ROS_MASTER_URI:7:-6} 11311 </dev/null; do sleep 0.2; done"
        "; echo $ROS_IP reached ${ROS_MASTER_URI}",
        FOREVER,
    )
    async with opened(packages=[node], settings=settings) as rig:
        await rig.site.private_networks.create(NetworkRequest(name="lab", distro="noetic"))
        await rig.deploy("node", node, networks=("lab",))
        await until_said(rig, "node", "reached http://10.")
        instance = rig.site.workshop.instance
        (before,) = await runner.containers({LABEL_NETWORKS: instance})
        await runner.stop(before.id, 0)

        async def again() -> bool:
            found = await runner.containers({LABEL_NETWORKS: instance})
            view = await rig.site.private_networks.get("lab")
            other = [each.id for each in found] not in ([], [before.id])
            return other and view.status is DeploymentStatus.RUNNING

        await eventually(again, "the master is started again")
