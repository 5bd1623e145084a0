"""Containers that are kept running in a shared network namespace, on real rootless Podman."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from claraedge.blocking import in_thread
from claraedge.clock import SystemClock
from claraedge.deployments.running.kind import DEPLOYMENTS
from claraedge.errors import ClaraedgeError
from claraedge.ids import new_id
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import LABEL_DEPLOYMENTS, ContainerSpec, Image, Phase
from claraedge.runner.service.service import PodmanService
from claraedge.supervised.container import SupervisedContainer
from claraedge.supervised.holder import Holder
from claraedge.supervised.keeper import Keeper, stays_up
from claraedge.supervised.orphans import OrphanContainers
from claraedge.supervised.recipe import UNNAMED, Recipe
from claraedge.supervised.restarts import Always
from claraedge.supervised.workshop import Workshop, read_found
from tests.rig.waiting import eventually

pytestmark = pytest.mark.podman

ECHO = ("busybox", "nc", "-ll", "-p", "80", "-e", "cat")
ASK = ("sh", "-c", "while true; do echo hello | busybox nc -w 1 127.0.0.1 80; sleep 0.2; done")


class Nobody:
    """An owner that nothing has to be reported to."""

    def closing(self, supervised: SupervisedContainer) -> None: ...

    def up(self, supervised: SupervisedContainer) -> None: ...

    def restarted(self, supervised: SupervisedContainer) -> None: ...

    async def rested(self, supervised: SupervisedContainer, text: str) -> None: ...

    async def lost(self, supervised: SupervisedContainer, error: ClaraedgeError) -> None: ...

    def ended(self, supervised: SupervisedContainer, task: asyncio.Task[None]) -> None: ...


class Life:
    """What one daemon keeps running: a holder, a server, and a client on its localhost."""

    def __init__(
        self, runner: PodmanRunner, folder: Path, instance: str, image: str, network: str
    ) -> None:
        self.runner = runner
        self.instance = instance
        self.workshop = Workshop(
            runner,
            new_id,
            kind=DEPLOYMENTS,
            folder=folder,
            instance=instance,
            grace=0.0,
            why_unusable=self._why_unusable,
            on_left=lambda: self.orphans.expect(),
        )
        self.orphans = OrphanContainers(self.workshop, SystemClock(), self._known)
        self.apps: list[SupervisedContainer] = []
        self.image = image
        self.holder = Holder(self.workshop, self.recipe("holder", ("true",)))
        self.holder.networks[network] = ""

    async def _why_unusable(self, name: str, image: str) -> str:
        return ""

    def _known(self) -> set[str]:
        all_ = [*self.apps, self.holder]
        return {word for each in all_ for word in (each.container, each.making) if word}

    def recipe(self, key: str, command: tuple[str, ...]) -> Recipe:
        spec = ContainerSpec(name="", image=self.image, command=command, log_path=UNNAMED)
        return Recipe(key=key, name=key, spec=spec, memory=1)

    async def begin(self) -> None:
        """Adopts what is there, and creates what is not, as a daemon does at its start."""
        present = {self.workshop.key_of(c): c for c in await self.workshop.present()}
        for key, container in present.items():
            if key == "holder":
                self.holder.container = container.id
        for key, command in (("server", ECHO), ("client", ASK)):
            found = present.get(key)
            app = SupervisedContainer(
                self.workshop,
                key,
                key,
                rule=Always(),
                start=30.0,
                recipe=self.recipe(key, command),
                found=None if found is None else read_found(found),
                was_fit=True,
                patient=True,
                holder=self.holder,
            )
            self.apps.append(app)
            Keeper(app, Nobody(), self.workshop, SystemClock(), fit=stays_up(0.2)).begin()
        self.orphans.expect()

    async def up(self) -> None:
        async def serves() -> bool:
            return all(app.fit for app in self.apps) and await self.answers()

        await eventually(serves, "both are up", details=lambda: [a.reason for a in self.apps])

    async def answers(self) -> bool:
        server = self.apps[0].container
        if server is None:
            return False
        with contextlib.suppress(OSError):
            async with self.runner.dial(server, "127.0.0.1", 80) as (reader, writer):
                writer.write(b"ping\n")
                return await reader.readline() == b"ping\n"
        return False

    async def stop(self) -> None:
        """Stops supervising as a killed daemon does: the containers stay."""
        tasks = [app.task for app in self.apps if app.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def undeploy(self) -> None:
        for app in self.apps:
            app.dismiss()
        await asyncio.wait([app.task for app in self.apps if app.task is not None])
        await self.holder.end()
        await self.orphans.remove_unknown()


Open = Callable[[], AbstractAsyncContextManager[Life]]


@pytest.fixture
async def opened(
    runner: PodmanRunner, runtime_folder: Path, tmp_path: Path, busybox: Image
) -> AsyncIterator[Open]:
    """Begins one life of a daemon after the other over the same containers."""
    instance = new_id()
    labels = {LABEL_DEPLOYMENTS: instance}
    network = (await runner.create_network(f"ce-kept-{instance}", labels)).name

    @asynccontextmanager
    async def open_() -> AsyncIterator[Life]:
        life = Life(runner, tmp_path, instance, busybox.id, network)
        await life.begin()
        try:
            yield life
        finally:
            await life.stop()

    yield open_
    for container in await runner.containers(labels):
        await runner.remove(container.id)
    await runner.remove_network(network)


async def kill(container: str | None) -> None:
    """Kills the first process of a container as somebody else would."""
    assert container is not None
    command = ["podman", "inspect", "--format", "{{.State.Pid}}", container]
    found = await in_thread(subprocess.run, command, cwd="/", capture_output=True, check=True)
    os.kill(int(found.stdout), signal.SIGKILL)


async def test_what_is_killed_is_back_in_the_same_namespace(opened: Open) -> None:
    async with opened() as life:
        await life.up()
        namespace, server = life.holder.container, life.apps[0].container
        await kill(server)
        await eventually(lambda: life.apps[0].restarts == 1, "its end is noticed")
        await life.up()
        assert life.holder.container == namespace
        assert life.apps[0].container != server
        assert life.apps[1].restarts == 0
        assert "exit code 137" in str(life.apps[0].reason)
        await life.undeploy()
        assert await life.workshop.present() == []


async def test_all_that_joined_a_holder_which_is_killed_is_back_in_a_new_one(opened: Open) -> None:
    async with opened() as life:
        await life.up()
        namespace = life.holder.container
        await kill(namespace)
        await eventually(lambda: all(a.restarts == 1 for a in life.apps), "its end is noticed")
        await life.up()
        assert life.holder.container != namespace
        assert {app.joins for app in life.apps} == {life.holder.container}
        assert len(await life.workshop.present()) == 3


async def test_a_next_daemon_adopts_all_and_ends_all(opened: Open) -> None:
    async with opened() as life:
        await life.up()
        before = {c.id for c in await life.workshop.present()}
    async with opened() as life:
        await life.up()
        assert {c.id for c in await life.workshop.present()} == before
        assert [app.restarts for app in life.apps] == [0, 0]
        await life.undeploy()
        assert await life.workshop.present() == []


async def test_daemons_that_end_at_any_moment_leave_one_of_each(opened: Open) -> None:
    chance = random.Random(7)
    for _ in range(8):
        async with opened():
            await asyncio.sleep(chance.uniform(0, 0.6))
    async with opened() as life:
        await life.up()
        await life.orphans.remove_orphans()
        found = await life.workshop.present()
        assert sorted(life.workshop.key_of(c) for c in found) == ["client", "holder", "server"]
        assert sorted(c.phase.value for c in found) == ["created", "running", "running"]
        await life.undeploy()
        assert await life.workshop.present() == []


async def test_the_death_of_podmans_service_loses_nothing(
    opened: Open, service: PodmanService
) -> None:
    async with opened() as life:
        for _ in range(4):
            await asyncio.sleep(0.15)
            if service.process_id is not None:
                os.kill(service.process_id, signal.SIGKILL)
        await life.up()
        await life.orphans.remove_orphans()
        running = [c for c in await life.workshop.present() if c.phase is Phase.RUNNING]
        assert {c.id for c in running} == {app.container for app in life.apps}
