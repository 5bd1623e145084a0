"""Containers that are kept running, over a runner in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claraedge.clock import SystemClock
from claraedge.errors import ClaraedgeError, DeploymentFailedError
from claraedge.ids import new_id
from claraedge.runner.memory import MemoryRunner, write_log
from claraedge.runner.protocol import (
    LABEL_DEPLOYMENTS,
    LABEL_EXECUTABLE,
    LABEL_EXECUTABLE_NAME,
    Container,
    ContainerSpec,
    Exit,
)
from claraedge.supervised.container import SupervisedContainer
from claraedge.supervised.holder import Holder
from claraedge.supervised.keeper import Keeper, stays_up
from claraedge.supervised.orphans import OrphanContainers
from claraedge.supervised.owner import Fitting
from claraedge.supervised.recipe import UNNAMED, Recipe
from claraedge.supervised.restarts import Again, Decision, Restart, RestartRule
from claraedge.supervised.workshop import ContainerKind, Workshop, read_found
from tests.rig.waiting import eventually

KIND = ContainerKind(
    noun="deployment",
    mark=LABEL_DEPLOYMENTS,
    key=LABEL_EXECUTABLE,
    title=LABEL_EXECUTABLE_NAME,
    error=DeploymentFailedError,
)
INSTANCE = "i" * 32


@dataclass
class Fixed:
    """A rule with decisions in a fixed order; the last one is repeated."""

    decisions: list[Decision] = field(default_factory=lambda: [Again(0.0)])
    asked: list[tuple[Exit | None, bool, tuple[Restart, ...]]] = field(default_factory=list)

    def decide(
        self, end: Exit | None, *, was_up: bool, restarts: Sequence[Restart], now: float
    ) -> Decision:
        assert now >= max((restart.at for restart in restarts), default=0)
        self.asked.append((end, was_up, tuple(restarts)))
        return self.decisions.pop(0) if len(self.decisions) > 1 else self.decisions[0]


class Reports:
    """The owner of keepers: what was reported, with the containers that existed at that time."""

    def __init__(self, runner: MemoryRunner) -> None:
        self.said: list[str] = []
        self.containers: list[int] = []
        self._runner = runner

    def closing(self, supervised: SupervisedContainer) -> None:
        assert supervised.closed
        self.said.append("closing")

    def up(self, supervised: SupervisedContainer) -> None:
        assert supervised.fit
        self.said.append("up")

    def restarted(self, supervised: SupervisedContainer) -> None:
        self.said.append(f"restarted {supervised.restarts}")

    async def rested(self, supervised: SupervisedContainer, text: str) -> None:
        assert supervised.rested == text
        self.containers.append(len(await self._runner.containers({})))
        self.said.append(f"rested: {text}")

    async def lost(self, supervised: SupervisedContainer, error: ClaraedgeError) -> None:
        assert supervised.failure is error
        self.containers.append(len(await self._runner.containers({})))
        self.said.append(f"lost: {error}")

    def ended(self, supervised: SupervisedContainer, task: asyncio.Task[None]) -> None:
        assert supervised.task is task
        self.said.append("ended")


class SupervisedSite:
    """A machine, and one life of a daemon on it; `restart` begins the next one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runner = MemoryRunner()
        self.codes = asyncio.Queue[int]()
        """Exit codes: the next container that runs or is started ends with the next one."""
        self.image = self.runner.add_image("site/app:1", self._program).id
        self.keepers: dict[str, Keeper[SupervisedContainer]] = {}
        self.supervised: list[SupervisedContainer] = []
        self.holders: list[Holder] = []
        self._begin()

    async def _program(self, spec: ContainerSpec) -> int:
        write_log(spec, "no licence")
        return await self.codes.get()

    def _begin(self) -> None:
        self.reports = Reports(self.runner)
        self.left = 0
        self.workshop = Workshop(
            self.runner,
            new_id,
            kind=KIND,
            folder=self.folder / "deployments",
            instance=INSTANCE,
            grace=1.0,
            why_unusable=self._why_unusable,
            on_left=self._on_left,
        )
        self.orphans = OrphanContainers(self.workshop, SystemClock(), self._known)

    async def _why_unusable(self, name: str, image: str) -> str:
        return ""

    def _on_left(self) -> None:
        self.orphans.expect()
        self.left += 1

    def _known(self) -> set[str]:
        all_ = [*self.supervised, *self.holders]
        return {word for each in all_ for word in (each.container, each.making) if word}

    async def restart(self) -> None:
        """Ends this life as a killed daemon would: its containers stay."""
        tasks = [s.task for s in self.supervised if s.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.supervised.clear()
        self.holders.clear()
        self._begin()

    def recipe(self, name: str = "app", **fields: Any) -> Recipe:
        spec = ContainerSpec(name="", image=self.image, log_path=UNNAMED, **fields)
        return Recipe(key=f"key-{name}", name=name, spec=spec, memory=5)

    def holder(self, found: str | None = None) -> Holder:
        made = Holder(self.workshop, self.recipe("holder"), found=found)
        self.holders.append(made)
        return made

    def keep(
        self,
        name: str = "app",
        rule: RestartRule | None = None,
        found: Container | None = None,
        up: float = 0.0,
        fit: Fitting[SupervisedContainer] | None = None,
        **how: Any,
    ) -> SupervisedContainer:
        """Begins to keep a container running; it is up after `up` seconds, or as `fit` says."""
        recipe = self.recipe(name)
        made = SupervisedContainer(
            self.workshop,
            recipe.key,
            name,
            rule=rule or Fixed(),
            start=5.0,
            recipe=recipe,
            found=None if found is None else read_found(found),
            **how,
        )
        self.supervised.append(made)
        fit = fit or stays_up(up)
        keeper = Keeper(made, self.reports, self.workshop, SystemClock(), fit=fit)
        self.keepers[name] = keeper
        keeper.begin()
        return made

    async def ended(self, supervised: SupervisedContainer) -> None:
        """Waits until its task has ended without an exception."""
        assert supervised.task is not None
        async with asyncio.timeout(10):
            await supervised.task
        await eventually(lambda: self.reports.said[-1:] == ["ended"], "the end is reported")

    async def containers(self) -> list[Container]:
        return list(await self.runner.containers({LABEL_DEPLOYMENTS: INSTANCE}))
