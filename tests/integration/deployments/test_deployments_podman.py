"""Deployments on real rootless Podman: networks, volumes, restarts, kills, and nothing left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from claraedge.config import DeploymentsSettings
from claraedge.deployments.model import (
    ComponentRequest,
    DeploymentPhase,
    DeploymentStatus,
    FaultCode,
    VolumeMount,
)
from claraedge.ids import new_id
from claraedge.packages.model import Endpoint, Package, Parameter, RestartPolicy
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import LABEL_DEPLOYMENTS, Container, Image
from tests.rig.deployments import (
    DeploymentRig,
    component,
    deployment_rig,
    executable,
    package,
)
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

Open = Callable[..., AbstractAsyncContextManager[DeploymentRig]]
SETTINGS = DeploymentsSettings(up_seconds=1.0)

#: Serves what the volume has, to whoever connects.
SERVER = "while true; do busybox nc -l -p 8080 -e busybox cat /data/word; done"
FOREVER = "trap 'exit 0' TERM; while true; do sleep 1; done"


@pytest.fixture
async def opened(tmp_path: Path, busybox: Image, runner: PodmanRunner) -> AsyncIterator[Open]:
    """Opens the deployments of one device; whatever a test leaves of them is removed."""
    del busybox  # it is loaded
    instance = new_id()
    yield partial(deployment_rig, tmp_path, runner, instance=instance, settings=SETTINGS, grace=2.0)
    for container in await runner.containers({LABEL_DEPLOYMENTS: instance}):
        await runner.remove(container.id)
    for network in await runner.networks({LABEL_DEPLOYMENTS: instance}):
        await runner.remove_network(network.name)


def app(image: str, *lines: str, restart: RestartPolicy = RestartPolicy.ALWAYS) -> Package:
    return package(component(executable(image=image, command=lines), restart=restart))


async def log_of(rig: DeploymentRig, name: str, executable: str = "") -> Sequence[str]:
    found = rig.deployments.log(name, executable, tail=0, following=False)
    return [line async for _, lines in found for line in lines]


async def until_logged(rig: DeploymentRig, name: str, executable: str, text: str) -> None:
    async def logged() -> bool:
        return any(text in line for line in await log_of(rig, name, executable))

    await eventually(logged, f"{executable} of {name} prints {text}")


async def mine(rig: DeploymentRig, runner: PodmanRunner) -> Sequence[Container]:
    instance = rig.site.workshop.instance
    return await runner.containers({LABEL_DEPLOYMENTS: instance})


async def test_executables_share_localhost_and_others_reach_them_by_their_link(
    opened: Open, runner: PodmanRunner, busybox: Image
) -> None:
    image = busybox.names[0]
    parent = package(
        component(
            executable("server", image, command=(SERVER,)),
            executable(
                "asker",
                image,
                command=(
                    "until busybox nc -w 2 127.0.0.1 8080 | grep hello; do sleep 0.2; done",
                    FOREVER,
                ),
            ),
            endpoints=(Endpoint(name="WORD", port=80, target_port=8080),),
            parameters=(Parameter(name="MODE", default="fast"),),
        ),
        name="parent",
    )
    child = package(
        component(
            executable(
                image=image,
                command=(
                    "echo mode $MODE on $RIO_DEVICE_ID",
                    "until busybox nc -w 2 $WORD_HOST $WORD_PORT | grep hello; do sleep 0.2; done",
                    FOREVER,
                ),
            ),
            parameters=(Parameter(name="MODE"),),
        ),
        name="child",
    )
    async with opened(packages=[parent, child]) as rig:
        volume = VolumeMount(executable="server", mount_path="/data", sub_path="words")
        folder = rig.state / "volumes/words"
        folder.mkdir(parents=True)
        (folder / "word").write_text("hello\n")
        settings = ComponentRequest(component="main", mounts=(volume,))
        await rig.deploy("p", parent, components=(settings,))
        await rig.until_phase("p", DeploymentPhase.SUCCEEDED)
        await until_logged(rig, "p", "asker", "hello")
        await rig.deploy("c", child, parameters={"MODE": "slow"}, dependencies=("p",))
        await until_logged(rig, "c", "run", "mode slow on d")
        await until_logged(rig, "c", "run", "hello")
        await rig.deployments.undeploy("c")
        await rig.until_phase("c", DeploymentPhase.STOPPED)
        assert len(await mine(rig, runner)) == 3
        await rig.deployments.undeploy("p")
        await rig.until_phase("p", DeploymentPhase.STOPPED)
        assert await mine(rig, runner) == []
        assert await runner.networks({LABEL_DEPLOYMENTS: rig.site.workshop.instance}) == []
        assert (folder / "word").read_text() == "hello\n"


async def test_a_killed_process_is_started_again_and_one_that_must_not_is_not(
    opened: Open, runner: PodmanRunner, busybox: Image
) -> None:
    image = busybox.names[0]
    words = f"claraedge-test-{new_id()[:8]}"
    always = app(image, f": {words}; while true; do sleep 1; done")
    never = package(
        component(
            executable(image=image, command=(f": {words}n; while true; do sleep 1; done",)),
            restart=RestartPolicy.NEVER,
        ),
        name="never",
    )
    async with opened(packages=[always, never]) as rig:
        await rig.deploy("a", always)
        await rig.deploy("n", never)
        await rig.until_phase("a", DeploymentPhase.SUCCEEDED)
        await rig.until_phase("n", DeploymentPhase.SUCCEEDED)
        for process in processes(words):
            os.kill(process, signal.SIGKILL)
        view = await rig.until("a", lambda v: next(iter(restarts(v))) == 1)
        await rig.until("a", lambda v: v.status is DeploymentStatus.RUNNING)
        view = await rig.until("n", lambda v: v.status is DeploymentStatus.ERROR)
        (record,) = view.deployment.executables.values()
        assert "exit code 137" in record.reason
        assert record.restarts == 0


async def test_failures_have_their_codes_and_leave_nothing(
    opened: Open, runner: PodmanRunner, busybox: Image
) -> None:
    image = busybox.names[0]
    early = app(image, "echo this goes wrong; exit 3", restart=RestartPolicy.NEVER)
    missing = package(component(executable(image="localhost/ce-test/nowhere:1")), name="m")
    program = package(component(executable(image=image, command=("/no/such/program",))), name="p")
    async with opened(packages=[early, missing, program]) as rig:
        for name, pack, code, text in (
            ("e", early, FaultCode.EXITED_EARLY, "this goes wrong"),
            ("m", missing, FaultCode.NO_IMAGE, "nowhere:1"),
            ("p", program, FaultCode.CRASHES, "exit code 127"),
        ):
            await rig.deploy(name, pack)
            view = await rig.until_phase(name, DeploymentPhase.FAILED_TO_START)
            (fault,) = view.deployment.faults
            assert fault.code is code, fault
            assert text in fault.message, fault
        assert await mine(rig, runner) == []


async def test_a_new_daemon_adopts_what_runs_with_its_network(
    opened: Open, runner: PodmanRunner, busybox: Image
) -> None:
    pack = package(
        component(
            executable("a", busybox.names[0], command=(FOREVER,)),
            executable("b", busybox.names[0], command=(FOREVER,)),
        )
    )
    async with opened(packages=[pack]) as rig:
        await rig.deploy("one", pack)
        await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
        before = {container.id for container in await mine(rig, runner)}
        assert len(before) == 3
    async with opened(packages=[pack]) as rig:
        await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
        assert {container.id for container in await mine(rig, runner)} == before
        await rig.deployments.undeploy("one")
        await rig.until_phase("one", DeploymentPhase.STOPPED)
        assert await mine(rig, runner) == []


async def test_a_deployment_that_is_cut_off_at_any_moment_is_one_deployment(
    opened: Open, runner: PodmanRunner, busybox: Image
) -> None:
    """The daemon ends at many moments of a provision and of a deprovision."""
    pack = package(
        component(
            executable("a", busybox.names[0], command=(FOREVER,)),
            executable("b", busybox.names[0], command=(FOREVER,)),
        )
    )
    for moment in (0.0, 0.05, 0.2, 0.4, 0.7, 1.1):
        name = f"at-{moment}"
        async with opened(packages=[pack]) as rig:
            await rig.deploy(name, pack)
            await asyncio.sleep(moment)
        async with opened(packages=[pack]) as rig:
            await rig.until_phase(name, DeploymentPhase.SUCCEEDED)
            assert len(await mine(rig, runner)) == 3
            await rig.deployments.undeploy(name)
            await asyncio.sleep(moment)
        async with opened(packages=[pack]) as rig:
            await rig.until_phase(name, DeploymentPhase.STOPPED)

            async def nothing(rig: DeploymentRig = rig) -> bool:
                return not await mine(rig, runner)

            await eventually(nothing, "nothing is left")


def restarts(view: object) -> list[int]:
    return [r.restarts for r in view.deployment.executables.values()]  # type: ignore[attr-defined]


def processes(word: str) -> list[int]:
    """Returns the processes whose command has a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if word.encode() in command and b"conmon" not in command.split(b"\0")[0]:
                found.append(int(entry.name))
    return found
