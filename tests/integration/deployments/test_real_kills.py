"""`kill -9` of the daemon's process, and of Podman's service, at every step of a deployment: it is
one deployment, whole or gone, and nothing of it is there twice or left.

The short form kills at some steps; with CLARAEDGE_CAMPAIGN=1 at every step.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from claraedge.errors import RunnerUnavailableError
from claraedge.ids import new_id
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import LABEL_DEPLOYMENTS, Image, Phase
from claraedge.runner.service.service import PodmanService
from tests.campaign import CAMPAIGN
from tests.integration.deployments.dying import WAYS, Steps, deprovision, dies, opened, running
from tests.integration.deployments.dying import update as change
from tests.rig.deployments import DeploymentRig
from tests.rig.processes import commands
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.podman, pytest.mark.timeout(3600 if CAMPAIGN else 300)]

#: The most steps that one way may have.
_MANY = 200


@pytest.fixture
async def instance(busybox: Image, runner: PodmanRunner) -> AsyncIterator[str]:
    """The id of a device; whatever a test leaves of it is removed."""
    del busybox  # it is loaded
    made = new_id()
    yield made
    for container in await runner.containers({LABEL_DEPLOYMENTS: made}):
        await runner.remove(container.id)
    for network in await runner.networks({LABEL_DEPLOYMENTS: made}):
        await runner.remove_network(network.name)


async def check(rig: DeploymentRig, runner: PodmanRunner, name: str, way: str) -> None:
    """Waits until a way is done, and checks that there is nothing else than it asks for."""
    programs, instance = WAYS[way].programs, rig.site.workshop.instance
    view = await rig.until(name, WAYS[way].is_done, f"{way} is done")
    shown: list[object] = []

    async def only_that() -> bool:
        try:
            found = await runner.containers({LABEL_DEPLOYMENTS: instance})
            networks = await runner.networks({LABEL_DEPLOYMENTS: instance})
            halves = await runner.half_made(f"claraedge-deployment-{instance[:12]}-")
        except RunnerUnavailableError:  # killed often, it is started again after longer pauses
            return False
        processes = running(instance)
        supervisors = [c for c in commands().values() if f"deployment-{instance[:12]}" in c]
        shown[:] = [found, networks, halves, processes, supervisors]
        containers = len(programs) + bool(programs)  # and the holder of their namespace
        return (
            len(found) == containers
            and sum(c.phase is Phase.RUNNING for c in found) == len(programs)
            and len(networks) == bool(programs)
            and not halves
            and processes == list(programs)
            and (bool(programs) or not supervisors)
        )

    await eventually(only_that, f"exactly what {way} makes", details=lambda: (view, shown))
    all_of_them = [v.deployment for v in await rig.deployments.list()]
    assert [d.name for d in all_of_them if not d.phase.ended] == [name] * bool(programs)
    assert [d.name for d in all_of_them].count(name) == 1
    assert (rig.state / "volumes" / name / "word").read_text() == "kept\n"
    if not programs:
        assert rig.allocations.allocated().memory == 0
        assert not any((rig.state / "deployments/volumes").glob("*"))


async def ask_again(rig: DeploymentRig, name: str, way: str) -> None:
    """Does what a client does that got no answer, unless the daemon has recorded the request."""
    found = [v.deployment for v in await rig.deployments.list() if v.deployment.name == name]
    act = WAYS[way].act
    missing = not found
    if found and act is change:
        missing = found[0].update is None and found[0].generation == 1
    elif found and act is deprovision:
        missing = found[0].wanted
    if missing:
        await act(rig, name)


async def test_the_process_of_the_daemon_is_killed_at_each_step(
    tmp_path: Path, other_folder: Path, runner: PodmanRunner, instance: str
) -> None:
    moments = [(n, m) for n in range(1, _MANY) for m in ("before", "during", "together")]
    kills = dict.fromkeys(WAYS, 0)
    for number, moment in moments if CAMPAIGN else ((2, "together"), (5, "before"), (8, "during")):
        name, before = f"{moment}-{number}", sum(kills.values())
        for way in WAYS:
            process = await asyncio.to_thread(
                dies, tmp_path, other_folder, instance, name, way, number, moment
            )
            assert process.returncode == -signal.SIGKILL, process.stderr
            steps = process.stdout.splitlines()
            if len(steps) >= number and steps[number - 1] != "over":
                kills[way] += 1
                print(way, number, moment, steps[number - 1])
            else:
                assert steps[-1] == "over"
            async with opened(tmp_path, runner, instance) as rig:
                await ask_again(rig, name, way)
                await check(rig, runner, name, way)
        if sum(kills.values()) == before:
            break
    else:
        assert not CAMPAIGN, "steps were left out"
    print("kills at a step:", kills)
    assert all(kills.values())


async def test_podmans_service_is_killed_at_each_step(
    tmp_path: Path, other_folder: Path, instance: str
) -> None:
    moments = [(n, m) for n in range(1, _MANY) for m in ("before", "during", "after")]
    kills = dict.fromkeys(WAYS, 0)
    async with (
        PodmanService(other_folder) as service,
        PodmanRunner(service, other_folder) as runner,
        opened(tmp_path, runner, instance) as rig,
    ):
        killed: list[int] = []

        def kill() -> None:
            process = service.process_id
            assert process is not None
            os.kill(process, signal.SIGKILL)
            killed.append(process)

        for number, moment in moments if CAMPAIGN else moments[4:45:10]:
            name, before = f"{moment}-{number}", len(killed)
            for way in WAYS:
                steps = Steps(at=number, moment=moment, kill=kill, podman_only=True, armed=True)
                count = len(killed)
                with steps.counted():
                    await WAYS[way].act(rig, name)
                    await rig.until(name, WAYS[way].is_done, f"{way} is done")
                reached = len(steps.names) >= number
                if reached:
                    await eventually(lambda count=count: len(killed) > count, "it was killed")
                    kills[way] += 1
                    print(way, number, moment, steps.names[number - 1])
                await check(rig, runner, name, way)
            if len(killed) == before:
                break
        else:
            assert not CAMPAIGN, "steps were left out"
    print("kills at a step:", kills)
    assert all(kills.values())
