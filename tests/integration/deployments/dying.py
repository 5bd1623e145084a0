"""Deployments that lose their daemon or Podman at a step with a number; and the daemon's process.

A step is a request to Podman, or a transaction of the database.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from claraedge.config import DeploymentsSettings
from claraedge.deployments.deployments import DeploymentView
from claraedge.deployments.model import (
    ComponentRequest,
    DeploymentPhase,
    DeploymentStatus,
    ExecutableChange,
    VolumeMount,
)
from claraedge.packages.model import Component, Executable, Package, Plan
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import Runner
from claraedge.runner.service.http import BrokenOffError
from claraedge.runner.service.service import PodmanService
from claraedge.store.database import Database
from tests.rig.deployments import DeploymentRig, deployment_rig

IMAGE = "localhost/ce-test/busybox:1"
#: Seconds within which a kill falls that comes during a request.
_DURING = 0.12

_IDS = re.compile(r"[0-9a-f]{64}|dep-[a-z]{24}")

Call = Callable[[], Awaitable[Any]]


@dataclass(kw_only=True)
class Steps:
    """Counts steps once it is armed, and kills before, during or after one of them.

    `together` is the moment `during` for a kill of the daemon and of Podman.
    """

    at: int
    moment: str
    kill: Callable[[], None] = lambda: None
    podman_only: bool = False
    """Whether only requests to Podman are steps; otherwise those that only read are none."""
    on_step: Callable[[str], None] = lambda _name: None
    armed: bool = False
    names: list[str] = field(default_factory=list)

    async def step(self, name: str, call: Call) -> Any:
        if not self.armed:
            return await call()
        name = _IDS.sub("ID", name)
        self.names.append(name)
        self.on_step(name)
        if len(self.names) != self.at:
            return await call()
        if self.moment == "before":
            self.kill()
        elif self.moment in ("during", "together"):
            delay = random.Random(self.at).uniform(0, _DURING)
            asyncio.get_running_loop().call_later(delay, self.kill)
        answer = await call()
        if self.moment == "after":
            self.kill()
            raise BrokenOffError(f"Podman was killed before its answer to {name} arrived")
        return answer

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Makes steps of what is done meanwhile."""
        request, write = PodmanService.request, Database.write

        async def counting_request(
            service: PodmanService, method: str, path: str, **more: Any
        ) -> Any:
            async def call() -> Any:
                return await request(service, method, path, **more)

            if path in ("/_ping", "/info") or (method == "GET" and not self.podman_only):
                return await call()
            return await self.step(f"{method} {path}", call)

        async def counting_write(database: Database, work: Any) -> Any:
            async def call() -> Any:
                return await write(database, work)

            return await (call() if self.podman_only else self.step("a transaction", call))

        with (
            mock.patch.object(PodmanService, "request", counting_request),
            mock.patch.object(Database, "write", counting_write),
        ):
            yield


# --- what is deployed --------------------------------------------------------------------------


def app(instance: str) -> Package:
    """Returns the package of an instance, which is the same in each of its processes."""

    def executable(name: str) -> Executable:
        return Executable(id=f"exec-{name * 24}", name=name, image=IMAGE, command=line(name))

    def line(name: str) -> tuple[str, ...]:
        return (word(instance, name), f"test {name} = b || echo kept >/data/word", FOREVER)

    component = Component(
        id=f"comp-{'a' * 24}", name="main", executables=(executable("a"), executable("b"))
    )
    plan = Plan(id=f"plan-{'a' * 24}", name="default", components=(component,))
    return Package(id=f"pkg-{'a' * 24}", name="app", version="v1.0.0", plans=(plan,))


FOREVER = "trap 'exit 0' TERM; while true; do sleep 0.2; done"


def word(instance: str, name: str) -> str:
    """Returns a line that does nothing, and by which a program is found among all processes."""
    return f": {instance}-{name}."


def running(instance: str) -> list[str]:
    """Returns the names of the programs of an instance whose processes run, one for each."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\0") if entry.name.isdigit() else [""]
        except OSError:
            continue
        if Path(words[0]).name in ("sh", "busybox") and f": {instance}-" in "".join(words):
            found.append("".join(words).partition(f": {instance}-")[2].partition(".")[0])
    return sorted(found)


async def provision(rig: DeploymentRig, name: str) -> None:
    (package,) = rig.packages.values()
    mount = VolumeMount(executable="a", mount_path="/data", sub_path=name)
    settings = ComponentRequest(component="main", mounts=(mount,))
    await rig.deploy(name, package, components=(settings,))


async def update(rig: DeploymentRig, name: str) -> None:
    line = (word(rig.site.workshop.instance, "c"), FOREVER)
    await rig.deployments.update(name, [ExecutableChange(executable="b", command=line)])


async def deprovision(rig: DeploymentRig, name: str) -> None:
    await rig.deployments.undeploy(name)


def _runs(view: DeploymentView) -> bool:
    return (
        view.deployment.phase is DeploymentPhase.SUCCEEDED
        and view.status is DeploymentStatus.RUNNING
        and view.deployment.update is None
    )


def _stopped(view: DeploymentView) -> bool:
    return view.deployment.phase is DeploymentPhase.STOPPED


Act = Callable[[DeploymentRig, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Way:
    """What is asked of a deployment, and what is then true of it."""

    act: Act
    is_done: Callable[[DeploymentView], bool]
    programs: tuple[str, ...]
    """The programs that run at its end."""


WAYS = {
    "provision": Way(provision, _runs, ("a", "b")),
    "update": Way(update, _runs, ("a", "c")),
    "deprovision": Way(deprovision, _stopped, ()),
}


@asynccontextmanager
async def opened(state: Path, runner: Runner, instance: str) -> AsyncIterator[DeploymentRig]:
    """Runs the deployments of an instance."""
    async with deployment_rig(
        state,
        runner,
        instance=instance,
        packages=[app(instance)],
        settings=DeploymentsSettings(up_seconds=0.2),
        grace=2.0,
    ) as rig:
        yield rig


# --- the process -------------------------------------------------------------------------------


def dies(
    state: Path, runtime: Path, instance: str, name: str, way: str, at: int, moment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a daemon's process until it is killed at a step; its output has each step that began,
    and `over` if the way was over before that step.
    """
    words = (str(state), str(runtime), instance, name, way, str(at), moment)
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.deployments.dying", *words],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
        check=False,
    )


async def _live(
    state: Path, runtime: Path, instance: str, name: str, way: Way, steps: Steps
) -> None:
    with steps.counted():
        async with (
            PodmanService(runtime) as service,
            PodmanRunner(service, runtime) as runner,
            opened(state, runner, instance) as rig,
        ):

            def kill() -> None:
                if steps.moment == "together" and service.process_id is not None:
                    os.kill(service.process_id, signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)

            steps.kill = kill
            if way.act is not provision:
                await rig.until(name, _runs)
            steps.armed = True
            await way.act(rig, name)
            await rig.until(name, way.is_done)
            print("over", flush=True)
            steps.kill()


def _main(
    state: str, runtime: str, instance: str, name: str, way: str, at: str, moment: str
) -> None:
    steps = Steps(at=int(at), moment=moment, on_step=lambda step: print(step, flush=True))
    asyncio.run(_live(Path(state), Path(runtime), instance, name, WAYS[way], steps))


if __name__ == "__main__":
    _main(*sys.argv[1:])
