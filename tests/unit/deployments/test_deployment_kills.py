"""The daemon or Podman dies between any two steps of a deployment: it is one deployment, whole or
gone, and no container is there twice or left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from claraedge.deployments.model import DeploymentPhase, DeploymentStatus, ExecutableChange
from claraedge.runner.memory.runner import MemoryRunner
from claraedge.runner.protocol import ContainerSpec
from claraedge.runner.protocol import Phase as ContainerPhase
from tests.campaign import CAMPAIGN
from tests.rig.cut_runner import CutRunner
from tests.rig.deployments import DeploymentRig, component, deployment_rig, executable, package
from tests.rig.waiting import eventually

pytestmark = pytest.mark.timeout(300)

PACKAGE = package(component(executable("a"), executable("b")))
UPDATE = (ExecutableChange(executable="b", image="serve:2"),)


async def serve(_spec: ContainerSpec) -> int:
    await asyncio.Event().wait()
    return 0


def device() -> MemoryRunner:
    runner = MemoryRunner()
    runner.add_image("serve:1", serve)
    runner.add_image("serve:2", serve)
    return runner


async def provision(rig: DeploymentRig) -> None:
    await rig.deploy("one", PACKAGE)


async def update(rig: DeploymentRig) -> None:
    await rig.deployments.update("one", UPDATE)


async def deprovision(rig: DeploymentRig) -> None:
    await rig.deployments.undeploy("one")


async def runs(rig: DeploymentRig, *, image: str) -> None:
    """Waits until the deployment runs as it should, and only so."""
    await rig.until_phase("one", DeploymentPhase.SUCCEEDED)
    view = await rig.until("one", lambda v: v.status is DeploymentStatus.RUNNING)
    images = {e.name: e.image for _, e in view.deployment.plan.executables()}
    assert images == {"a": "serve:1", "b": image}

    async def three() -> bool:
        found = await rig.runner.containers({})
        running = [c for c in found if c.phase is ContainerPhase.RUNNING]
        return len(found) == 3 and len(running) == 2

    await eventually(three, "two executables and the holder", details=lambda: view)
    assert len(await rig.runner.networks({})) == 1


async def is_gone(rig: DeploymentRig) -> None:
    await rig.until_phase("one", DeploymentPhase.STOPPED)

    async def nothing() -> bool:
        return not await rig.runner.containers({}) and not await rig.runner.networks({})

    await eventually(nothing, "nothing is left")
    assert rig.allocations.allocated().memory == 0


Step = Callable[[DeploymentRig], Awaitable[None]]
WAYS: dict[str, tuple[Step | None, Step, Callable[[DeploymentRig], Awaitable[None]]]] = {
    "provision": (None, provision, lambda rig: runs(rig, image="serve:1")),
    "update": (provision, update, lambda rig: runs(rig, image="serve:2")),
    "deprovision": (provision, deprovision, is_gone),
}


async def prepared(state: Path, runner: MemoryRunner, before: Step | None) -> None:
    async with deployment_rig(state, runner, packages=[PACKAGE]) as rig:
        if before is not None:
            await before(rig)
            await runs(rig, image="serve:1")


async def number_of_steps(state: Path, way: str) -> int:
    before, step, ends = WAYS[way]
    runner = device()
    await prepared(state, runner, before)
    counting = CutRunner(runner, at=None, after=False)
    await live(state, counting, step, ends)
    return len(counting.calls)


def moments(steps: int) -> list[tuple[int, bool]]:
    every = 1 if CAMPAIGN else 3
    return [(n, after) for n in range(1, steps + 1) for after in (False, True)][::every]


@pytest.mark.parametrize("way", WAYS)
async def test_the_daemon_dies_between_any_two_steps(tmp_path: Path, way: str) -> None:
    before, step, ends = WAYS[way]
    steps = await number_of_steps(tmp_path / "counted", way)
    assert steps > 10
    for number, after in moments(steps):
        state, runner = tmp_path / f"{number}-{after}", device()
        await prepared(state, runner, before)
        cut = CutRunner(runner, at=number, after=after)
        dying = asyncio.ensure_future(live(state, cut, step, ends))
        cutting = asyncio.ensure_future(cut.cut.wait())
        await asyncio.wait({dying, cutting}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        cutting.cancel()
        await asyncio.wait({dying})
        async with deployment_rig(state, runner, packages=[PACKAGE]) as rig:
            if await missing(rig, step):  # it died before the request was answered
                await step(rig)
            await ends(rig)


async def live(
    state: Path, cut: CutRunner, step: Step, ends: Callable[[DeploymentRig], Awaitable[None]]
) -> None:
    """One life of the daemon."""
    async with deployment_rig(state, cut, packages=[PACKAGE]) as rig:  # type: ignore[arg-type]
        rig.runner = cut.runner  # to compare with
        await step(rig)
        await ends(rig)


async def missing(rig: DeploymentRig, step: Step) -> bool:
    """Whether what was asked for was not recorded."""
    found = [view.deployment for view in await rig.deployments.list()]
    if step is update:
        return found[0].update is None and found[0].generation == 1
    return found[0].wanted if step is deprovision else not found


@pytest.mark.parametrize("way", WAYS)
async def test_podman_dies_between_any_two_steps(tmp_path: Path, way: str) -> None:
    before, step, ends = WAYS[way]
    steps = await number_of_steps(tmp_path / "counted", way)
    for number, after in moments(steps):
        state, runner = tmp_path / f"{number}-{after}", device()
        await prepared(state, runner, before)
        cut = CutRunner(runner, at=number, after=after, dies=False)
        await live(state, cut, step, ends)
