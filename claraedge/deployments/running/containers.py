"""The containers of one deployment: the holders of its networks, and its executables."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import partial

from claraedge.deployments.model import DeployedComponent, DeployedExecutable, DeploymentStatus
from claraedge.deployments.rules import RULES
from claraedge.deployments.running.probing import Probing
from claraedge.deployments.running.recipes import key_of, of_holder
from claraedge.deployments.running.recording import Recorded
from claraedge.deployments.running.site import RestartCount, Site
from claraedge.errors import ClaraedgeError
from claraedge.packages.model import RestartPolicy
from claraedge.runner.protocol import Container
from claraedge.runner.protocol import Phase as ContainerPhase
from claraedge.supervised.container import SupervisedContainer
from claraedge.supervised.holder import Holder
from claraedge.supervised.keeper import Keeper, stays_up
from claraedge.supervised.owner import QuietOwner, Watching, close_after_bug
from claraedge.supervised.recipe import Recipe
from claraedge.supervised.workshop import read_found

_GONE = "its container is gone after a restart of the machine, and its restart policy is never"


class DeploymentContainers:
    """Begins and ends them; keepers run the executables meanwhile."""

    def __init__(self, site: Site, recorded: Recorded) -> None:
        self._site = site
        self._recorded = recorded
        self._holders: dict[str, Holder] = {}
        self._supervised: dict[str, SupervisedContainer] = {}
        self._keepers: dict[str, Keeper[SupervisedContainer]] = {}
        self._present: Mapping[str, Container] = {}
        """Key -> a container of an earlier daemon."""

    # --- to inspect ----------------------------------------------------------------------------

    def status(self, executable: str) -> DeploymentStatus:
        """Returns how an executable is at this moment."""
        over = self._recorded.of(executable).over
        if over is not None:
            return over
        supervised = self._supervised.get(executable)
        return (
            DeploymentStatus.RUNNING
            if supervised is not None and supervised.fit
            else DeploymentStatus.PENDING
        )

    def names(self) -> Collection[str]:
        """Returns the ids and names of those that exist and of those that are being created."""
        found = {w for s in self._supervised.values() for w in (s.container, s.making)}
        found |= {w for h in self._holders.values() for w in (h.container, h.making)}
        return {word for word in found if word} | {c.id for c in self._present.values()}

    def in_network(self, component: str) -> str | None:
        """Returns the id of a container in the network of a component; None: there is none."""
        holder = self._holders.get(component)
        return None if holder is None else holder.container

    def holder(self, component: str) -> Holder:
        """Returns the holder of a component's network. Call it after `connect`."""
        return self._holders[component]

    # --- the life ------------------------------------------------------------------------------

    def adopt(self, present: Mapping[str, Container]) -> bool:
        """Prepares to take up what an earlier daemon left; returns whether an executable runs.

        `present`: key -> the container.
        """
        deployment, running = self._recorded.deployment, False
        for component in deployment.plan.components:
            found = present.get(key_of(deployment.id, component.id))
            if found is not None and found.phase is ContainerPhase.CREATED:
                image = self._recorded.of(component.executables[0].id).image
                recipe = of_holder(deployment, component, image)
                self._holders[component.id] = Holder(self._site.workshop, recipe, found=found.id)
            for executable in component.executables:
                container = present.get(key_of(deployment.id, executable.id))
                running = running or (
                    container is not None and container.phase is ContainerPhase.RUNNING
                )
        self._present = present
        return running

    def forget(self) -> None:
        """Forgets what an earlier daemon left: it was removed."""
        self._present = {}
        self._holders.clear()

    async def connect(
        self, component: DeployedComponent, networks: Mapping[str, str], image: str
    ) -> None:
        """Creates the network namespace of a component, where it has none.

        `networks`: network -> its address there; `image`: from which that is done. Raises as
        `Holder.ready` does.
        """
        recipe = of_holder(self._recorded.deployment, component, image)
        holder = self._holders.get(component.id)
        if holder is None:
            holder = self._holders[component.id] = Holder(self._site.workshop, recipe)
        holder.recipe = recipe
        holder.networks = dict(networks)
        await holder.ready()

    async def begin(
        self,
        component: DeployedComponent,
        executable: DeployedExecutable,
        recipe: Recipe,
        *,
        was_up: bool,
    ) -> None:
        """Starts the keeper of an executable, or records that it may not be started again.

        `was_up`: whether it was ever up as it is to run.
        """
        found = self._present.get(recipe.key)
        if found is None and was_up and component.restart is RestartPolicy.NEVER:
            await self._recorded.set_over(executable.id, DeploymentStatus.ERROR, _GONE)
            return
        supervised = SupervisedContainer(
            self._site.workshop,
            recipe.key,
            recipe.name,
            rule=RULES[component.restart],
            start=self._site.settings.up_seconds,
            recipe=recipe,
            found=None if found is None else read_found(found),
            was_fit=was_up,
            patient=True,
            holder=self._holders[component.id],
            prepare=partial(self._check_mounts, component, executable),
        )
        keeper = Keeper(
            supervised,
            _Owner(self._recorded, executable.id, self._site.counted),
            self._site.workshop,
            self._site.clock,
            fit=stays_up(self._site.settings.up_seconds),
            until_failed=self._until_failed(executable),
        )
        self._supervised[executable.id] = supervised
        self._keepers[executable.id] = keeper
        keeper.begin()

    def _until_failed(self, executable: DeployedExecutable) -> Watching[SupervisedContainer] | None:
        if executable.probe is None:
            return None
        site = self._site
        return Probing(site.workshop.runner, executable.probe, site.probing).until_failed

    async def _check_mounts(
        self, component: DeployedComponent, executable: DeployedExecutable
    ) -> None:
        """Checks again where mounts lead: containers may have replaced folders of volumes by links.

        Raises as `DeploymentVolumes.folders` does.
        """
        mounts = [mount for mount in component.mounts if mount.executable == executable.id]
        await self._site.volumes.folders(mounts)

    def begun(self, executable: str) -> bool:
        """Returns whether an executable has a keeper that has not ended for good."""
        supervised = self._supervised.get(executable)
        return supervised is not None and not supervised.closed

    def all_begun(self) -> None:
        """Reports that all executables have begun: other containers from before are not used."""
        self._present = {}
        self._site.workshop.on_left()

    async def up(self) -> None:
        """Returns once all executables are up. Raises the first error that ended one."""
        ups = [asyncio.ensure_future(s.up()) for s in self._supervised.values()]
        try:
            for up in asyncio.as_completed(ups):
                await up
        finally:
            for future in ups:
                future.cancel()
            await asyncio.gather(*ups, return_exceptions=True)

    async def replace(
        self, component: DeployedComponent, executable: DeployedExecutable, recipe: Recipe
    ) -> None:
        """Runs an executable by another recipe; returns once it is up.

        If it fails, it runs by the earlier one again. Raises the error.
        """
        if self.begun(executable.id):
            supervised = self._supervised[executable.id]
            if supervised.digest != recipe.digest or not supervised.fit:
                await self._keepers[executable.id].replace(recipe)
            return
        await self._recorded.set_over(executable.id, None, "")
        await self.begin(component, executable, recipe, was_up=False)
        await self._supervised[executable.id].up()

    async def put_back(
        self, component: DeployedComponent, executable: DeployedExecutable, recipe: Recipe
    ) -> None:
        """Runs an executable by the recipe from before an update, whether or not it comes up."""
        if not self.begun(executable.id):
            await self._recorded.set_over(executable.id, None, "")
            await self.begin(component, executable, recipe, was_up=False)
        elif self._supervised[executable.id].digest != recipe.digest:
            self._keepers[executable.id].put_back(recipe)

    async def end(self) -> None:
        """Ends all of them; those that cannot be removed now are left."""
        for supervised in self._supervised.values():
            supervised.dismiss()
        tasks = [s.task for s in self._supervised.values() if s.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        for holder in self._holders.values():
            await holder.end()
        self._supervised.clear()
        self._keepers.clear()
        self._holders.clear()

    async def abandon(self) -> None:
        """Stops supervising: the daemon ends, and they keep running."""
        tasks = [s.task for s in self._supervised.values() if s.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Owner(QuietOwner[SupervisedContainer]):
    """Records what the keeper of one executable reports."""

    def __init__(self, recorded: Recorded, executable: str, counted: RestartCount) -> None:
        self._recorded = recorded
        self._executable = executable
        self._counted = counted

    def restarted(self, supervised: SupervisedContainer) -> None:
        self._counted.restarts += 1
        self._recorded.restarted(self._executable, supervised.reason or "")

    async def rested(self, supervised: SupervisedContainer, text: str) -> None:  # noqa: ARG002
        reason = supervised.reason or ""
        await self._recorded.set_over(self._executable, DeploymentStatus.STOPPED, reason)

    async def lost(
        self,
        supervised: SupervisedContainer,  # noqa: ARG002 - shapes are the protocol's
        error: ClaraedgeError,
    ) -> None:
        await self._recorded.set_over(self._executable, DeploymentStatus.ERROR, str(error))

    def ended(self, supervised: SupervisedContainer, task: asyncio.Task[None]) -> None:
        failure = close_after_bug(supervised, task, ClaraedgeError)
        if failure is not None:
            self._recorded.failed(self._executable, str(failure))
