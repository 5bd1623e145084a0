"""Deployments as services of jobs, on real rootless Podman."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from claraedge.config import DeploymentsSettings
from claraedge.deployments.model import DeploymentPhase
from claraedge.ids import new_id
from claraedge.packages.model import Endpoint
from claraedge.pipelines.model import HttpConnection, Service
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import (
    LABEL_DEPLOYMENTS,
    LABEL_INSTANCE,
    LABEL_SERVICES,
    Image,
    Phase,
)
from tests.integration.services.device import Device, device, echo, pipeline
from tests.rig.deployments import DeploymentRig, component, deployment_rig, executable, package
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

WEB = Service(name="web", deployment="web", http=(HttpConnection(name="WEB"),))
#: What an operator does that asks the deployment.
ASKS = """
host=${WEB%:*} port=${WEB#*:}
for i in 1 2 3 4 5 6 7 8 9 10; do
    [ "$(echo hello | busybox nc -w 2 $host $port)" = hello ] && exit 0
    sleep 0.2
done
exit 5
"""
#: One that listens, and says where.
LISTENS = """
ip -4 addr | sed -n 's,.*inet \\([0-9.]*\\)/.* scope global.*,\\1,p' >$SHARED/new
mv $SHARED/new $SHARED/addresses
while true; do busybox nc -l -p 7000 -e cat; done
"""
#: One that tries to reach the one that listens.
TRIES = """
for i in 1 2 3; do
    for a in $(cat $SHARED/addresses); do
        [ "$(echo x | busybox nc -w 2 $a 7000)" = x ] && exit 0
    done
done
exit 1
"""
#: One that finds the deployment again at the same address after it was killed.
PATIENT = """
host=${WEB%:*} port=${WEB#*:}
until [ "$(echo one | busybox nc -w 1 $host $port)" = one ]; do sleep 0.1; done
echo >$SHARED/asked
until [ -e $SHARED/killed ]; do sleep 0.1; done
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    [ "$(echo two | busybox nc -w 1 $host $port)" = two ] && exit 0
    sleep 0.2
done
exit 6
"""

Open = Callable[..., AbstractAsyncContextManager[tuple[Device, DeploymentRig]]]


@pytest.fixture
async def opened(
    tmp_path: Path, other_folder: Path, busybox: Image, runner: PodmanRunner
) -> AsyncIterator[Open]:
    """Opens one life of a daemon's parts; whatever a test leaves of them is removed."""
    instance = new_id()
    pack = package(
        component(
            executable(
                image=busybox.names[0],
                command=("while true; do busybox nc -l -p 8080 -e cat; done",),
            ),
            endpoints=(Endpoint(name="api", port=80, target_port=8080),),
        )
    )

    @asynccontextmanager
    async def life(running: tuple[str, ...] = ()) -> AsyncIterator[tuple[Device, DeploymentRig]]:
        async with (
            deployment_rig(
                tmp_path / "deployments",
                runner,
                instance=instance,
                packages=[pack],
                settings=DeploymentsSettings(up_seconds=0.5),
                grace=2.0,
            ) as rig,
            device(tmp_path, other_folder, instance, running, deployments=rig) as made,
        ):
            if not running:
                await rig.deploy("web", pack)
                await rig.until_phase("web", DeploymentPhase.SUCCEEDED)
            yield made, rig

    yield life
    for label in (LABEL_SERVICES, LABEL_INSTANCE, LABEL_DEPLOYMENTS):
        for container in await runner.containers({label: instance}):
            await runner.remove(container.id)
    for label in (LABEL_INSTANCE, LABEL_DEPLOYMENTS):
        for network in await runner.networks({label: instance}):
            await runner.remove_network(network.name)


async def until_nothing_is_left(made: Device, rig: DeploymentRig) -> None:
    await made.services.stop()
    await rig.deployments.undeploy("web")
    await rig.until_phase("web", DeploymentPhase.STOPPED)
    await made.until_nothing_is_left()
    assert await made.runner.containers({LABEL_DEPLOYMENTS: made.instance}) == []
    assert await made.runner.networks({LABEL_DEPLOYMENTS: made.instance}) == []


async def test_jobs_of_one_deployment_reach_it_and_neither_each_other_nor_what_it_reaches(
    opened: Open,
) -> None:
    services = (WEB, echo())
    async with opened() as (made, rig):
        one = await made.services.acquire("one", pipeline(ASKS, *services))
        two = await made.services.acquire("two", pipeline(ASKS, *services))
        for lease in (one, two):
            assert await made.run(lease, pipeline(ASKS, *services).operators[0]) == 0
        (own,) = (await rig.deployments.get("web")).addresses.values()
        routes = f"""
[ -z "$(ip route | grep default)" ] || exit 7
busybox nc -w 2 {own} 8080 </dev/null && exit 8
exit 0
"""
        assert await made.run(one, pipeline(routes, *services).operators[0]) == 0
        listener = pipeline(LISTENS, *services).operators[0]
        await made.start(one, listener)
        addresses = one.mounts(listener)[0].source / "addresses"
        await eventually(addresses.exists, "the addresses are known")
        assert len(addresses.read_text().split()) == 2
        caller = pipeline(TRIES, *services).operators[0]
        assert await made.run(one, caller) == 0
        assert await made.run(two, caller) == 1
        for container in await made.runner.containers({LABEL_INSTANCE: made.instance}):
            await made.runner.remove(container.id)
        for job in ("one", "two"):
            await made.services.release(job)
        await until_nothing_is_left(made, rig)


async def test_a_deployment_that_is_killed_is_found_again_by_a_running_operator(
    opened: Open,
) -> None:
    jobs = pipeline(PATIENT, WEB, echo())
    async with opened() as (made, rig):
        lease = await made.services.acquire("one", jobs)
        (mount,) = lease.mounts(jobs.operators[0])
        running = asyncio.create_task(made.run(lease, jobs.operators[0]))
        await eventually((mount.source / "asked").exists, "the deployment answered")
        old = await made.runner.containers({LABEL_DEPLOYMENTS: made.instance})
        (holder,) = (c for c in old if c.phase is Phase.CREATED)
        state = await made.runner._inspector.state(holder.id)
        assert state is not None
        os.kill(state.pid, signal.SIGKILL)  # the network namespace with it: the hard case

        async def is_new() -> bool:
            found = await made.runner.containers({LABEL_DEPLOYMENTS: made.instance})
            return len(found) == 2 and not {c.id for c in found} & {c.id for c in old}

        await eventually(is_new, "its namespace and its executable are created again", 60)
        (mount.source / "killed").touch()
        async with asyncio.timeout(30):
            assert await running == 0
        assert "the deployment web was started again: " in str(made.services.trouble("one"))
        await made.services.release("one")
        await until_nothing_is_left(made, rig)


async def test_a_next_daemon_gives_a_running_job_the_same_deployment(opened: Open) -> None:
    jobs = pipeline(f"sleep 4; {ASKS}", WEB)
    async with opened() as (made, _):
        lease = await made.services.acquire("one", jobs)
        container = await made.start(lease, jobs.operators[0])
    async with opened(running=("one",)) as (made, rig):
        assert await made.services.acquire("one", jobs) == lease
        assert (await made.runner.wait(container)).code == 0
        await made.runner.remove(container)
        await made.services.release("one")
        await until_nothing_is_left(made, rig)
