"""The life of one deployment, from its creation to the end of its containers.

One task controls it: it provisions, waits until the deployment is not wanted any more or is to be
updated, and removes everything. Keepers run its executables meanwhile. Each step is recorded before
it is acted on, and can be repeated, so that a daemon that was killed continues where it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any

from claraedge.deployments import records
from claraedge.deployments.model import (
    DeployedComponent,
    DeployedExecutable,
    Deployment,
    DeploymentPhase,
    DeploymentPlan,
    Fault,
)
from claraedge.deployments.networks.model import Joined
from claraedge.deployments.planning import claim_of, memory_of
from claraedge.deployments.running.containers import DeploymentContainers
from claraedge.deployments.running.environment import environment, links
from claraedge.deployments.running.faults import fault_of
from claraedge.deployments.running.networks import places
from claraedge.deployments.running.recipes import Given, divided, of_executable
from claraedge.deployments.running.recording import Recorded
from claraedge.deployments.running.sidecars import ComponentPlace
from claraedge.deployments.running.site import Site
from claraedge.errors import (
    ClaraedgeError,
    ImageNotFoundError,
)
from claraedge.packages.model import PullPolicy, RestartPolicy
from claraedge.runner.protocol import LABEL_DEPLOYMENT, Container
from claraedge.supervised.allocations import Claim
from claraedge.supervised.recipe import Recipe
from claraedge.waiting.patience import patiently, while_wanted

_log = logging.getLogger(__name__)


class LiveDeployment:
    """A deployment that has not ended."""

    def __init__(self, site: Site, deployment: Deployment) -> None:
        self.waits_for = ""
        """What it waits for now, as text; empty: nothing."""
        self.addresses: Mapping[str, str] = {}
        """Id of a component -> its address on the network of the deployment."""
        self.recorded = Recorded(deployment, site.database, site.clock, site.job_uses.changed)
        self.containers = DeploymentContainers(site, self.recorded)
        self._site = site
        self._changed = asyncio.Event()
        self._links: Mapping[str, str] = {}
        self._joined: Mapping[str, Joined] = {}
        self._networks: Mapping[str, Mapping[str, str]] = {}
        """Id of a component -> the networks that it is on -> its address there."""
        self._places: dict[str, ComponentPlace] = {}

    # --- for others ----------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id of the deployment."""
        return self.deployment.id

    @property
    def deployment(self) -> Deployment:
        """The deployment as it is recorded."""
        return self.recorded.deployment

    def names(self) -> Collection[str]:
        """Returns the ids and names of its containers, also of those that are being created."""
        return self.containers.names()

    def undeploy(self) -> None:
        """Makes it end. Call after that was recorded."""
        self.recorded.undeployed()
        self._changed.set()

    def update(self, plan: DeploymentPlan) -> None:
        """Makes it change to another plan. Call after that was recorded."""
        self.recorded.updating(plan)
        self._changed.set()

    # --- the life ------------------------------------------------------------------------------

    def adopt(self, present: Mapping[str, Container]) -> None:
        """Prepares to take up what an earlier daemon left; `present`: key -> the container.

        Call it once, before `run`. A deployment that has not started yet begins again.
        """
        self.containers.adopt(present)
        if not self.deployment.wanted or not self.has_started:
            return
        gpus = [
            gpu
            for _, executable in self.deployment.plan.executables()
            for gpu in self.recorded.of(executable.id).gpus
        ]
        if len(gpus) == self._claim().gpus:  # nobody else gets them while it starts again
            self._site.allocations.adopt(self.id, self._claim(), tuple(gpus))

    async def run(self) -> None:
        """Controls the deployment until it has ended, and records that.

        When it is cancelled, its containers keep running.
        """
        try:
            if self.deployment.wanted and not await self._until_unwanted():
                return
            await self._end()
            await self._set_phase(DeploymentPhase.STOPPED)
        finally:
            await self.containers.abandon()
            await self.recorded.close()

    async def _until_unwanted(self) -> bool:
        """Provisions and updates; returns False if it has failed to start, and has ended."""
        try:
            await self._while_wanted(self._resume() if self.has_started else self._provision())
        except ClaraedgeError as error:
            extra = {"deployment": self.id, "reason": str(error)}
            _log.error("deployment failed to start", extra=extra)
            await self._end()
            if self.deployment.wanted:
                await self._set_phase(DeploymentPhase.FAILED_TO_START, self._fault(error))
            return not self.deployment.wanted
        while self.deployment.wanted:
            self._changed.clear()
            if self.deployment.update is not None:
                await self._while_wanted(self._apply(self.deployment.update))
            else:
                await self._changed.wait()
        return True

    async def _while_wanted(self, work: Coroutine[Any, Any, None]) -> None:
        await while_wanted(work, lambda: self.deployment.wanted, self._changed)

    # --- provisioning --------------------------------------------------------------------------

    @property
    def has_started(self) -> bool:
        """Whether all of its executables were up once; what ends is started again by its rule."""
        return self.deployment.phase.started or self.deployment.update is not None

    async def _provision(self) -> None:
        """Starts all executables, and returns once they are up. Raises why that failed."""
        await self._patiently(self._remove_all)
        self.containers.forget()
        await self._patiently(self.recorded.set_provisioning)
        await self._patiently(self._find_images)
        await self._patiently(self._allocate)
        await self._patiently(self._find_networks)
        for component in self.deployment.plan.components:
            image = self.recorded.of(component.executables[0].id).image
            await self._patiently(partial(self._join, component, image))
        for component, executable in self.deployment.plan.executables():
            await self._patiently(partial(self._begin, component, executable))
        self.containers.all_begun()
        self.waits_for = "the start of its executables"
        await self.containers.up()
        self.waits_for = ""
        await self._patiently(self.recorded.set_started)
        self._begin_sidecars(*self.deployment.plan.components)
        _log.info("deployment started", extra={"deployment": self.id})

    async def _resume(self) -> None:
        """Adopts what ran before the start of the daemon; whatever fails is tried again.

        An executable that lacks something delays no other.
        """
        await self._patiently(self._allocate, always=True)
        await self._patiently(self._find_networks, always=True)
        async with asyncio.TaskGroup() as group:
            for component in self.deployment.plan.components:
                group.create_task(self._resume_component(component))
        self.containers.all_begun()
        self.waits_for = ""

    async def _resume_component(self, component: DeployedComponent) -> None:
        left = [e for e in component.executables if self.recorded.of(e.id).over is None]
        async with asyncio.TaskGroup() as group:
            for executable in left:
                work = partial(self._resume_executable, component, executable)
                group.create_task(self._patiently(work, always=True))
        if left:
            self._begin_sidecars(component)

    async def _resume_executable(
        self, component: DeployedComponent, executable: DeployedExecutable
    ) -> None:
        known = self.recorded.of(executable.id).image
        image = await self._image(executable, known)
        if image != known:
            await self.recorded.set_images({executable.id: image})
        await self._join(component, image)
        await self._begin(component, executable)

    async def _find_images(self) -> None:
        """Finds or pulls the images of all executables, and records them."""
        images = {}
        for _, executable in self.deployment.plan.executables():
            self.waits_for = f"the image {executable.image}"
            known = self.recorded.of(executable.id).image
            images[executable.id] = await self._image(executable, known)
        await self.recorded.set_images(images)

    async def _image(self, executable: DeployedExecutable, known: str) -> str:
        """Returns the id of an executable's image: the known one, where it is still there."""
        images = self._site.images
        if known:
            try:
                return (await images.find(known)).id
            except ImageNotFoundError:
                pass  # removed while nothing used it
        match executable.pull:
            case PullPolicy.ALWAYS:
                return (await images.renew(executable.image, ())).id
            case PullPolicy.NEVER:
                return (await images.find(executable.image)).id
            case PullPolicy.IF_NOT_PRESENT:
                return (await images.ensure(executable.image, ())).id

    async def _allocate(self) -> None:
        """Waits for memory and GPUs, and records which GPUs each executable has."""
        self.waits_for = "memory and GPUs"
        gpus = await self._site.allocations.acquire(self.id, self._claim())
        executables = [executable for _, executable in self.deployment.plan.executables()]
        await self.recorded.set_gpus(divided(executables, gpus))

    def _claim(self) -> Claim:
        memory, gpus = claim_of(self.deployment.plan, self._site.unstated_memory)
        return Claim(memory=memory, gpus=gpus)

    async def _find_networks(self) -> None:
        """Finds or creates the networks that its components are on."""
        site, plan = self._site, self.deployment.plan
        self.waits_for = "the networks that it joins"
        self._joined = await site.private_networks.joined(self.id)
        self.waits_for = "its network"
        own = await site.networks.ensure(self.id)
        self.addresses = places(own, plan)
        reached = [(c, self.addresses[c.id]) for c in plan.components]
        parents: dict[str, str] = {}
        for needed in self.deployment.dependencies:
            parent = await site.database.read(partial(records.get, deployment=needed))
            network = await site.networks.ensure(needed)
            parents[network.name] = ""
            there = places(network, parent.plan)
            reached = [*((c, there[c.id]) for c in parent.plan.components), *reached]
        self._links = links(reached)
        self._networks = {
            c.id: {
                own.name: self.addresses[c.id],
                **parents,
                **(self._joined[c.id].addresses if c.id in self._joined else {}),
            }
            for c in plan.components
        }

    async def _join(self, component: DeployedComponent, image: str) -> None:
        """Creates the network namespace of a component; `image`: one of its executables'."""
        await self.containers.connect(component, self._networks[component.id], image)

    async def _begin(self, component: DeployedComponent, executable: DeployedExecutable) -> None:
        """Starts the keeper of an executable."""
        if not self.containers.begun(executable.id):
            record = self.recorded.of(executable.id)
            recipe = await self._recipe(component, executable, record.image)
            await self.containers.begin(component, executable, recipe, was_up=record.was_up)

    def _begin_sidecars(self, *components: DeployedComponent) -> None:
        """Reports to its sidecars that executables of components run."""
        for component in components:
            self._places[component.id] = ComponentPlace(
                component=component,
                holder=self.containers.holder(component.id),
                images={e.id: self.recorded.of(e.id).image for e in component.executables},
                environment=self._environment(component),
            )
        self._site.sidecars.begun(self.id, self._places)

    def _environment(self, component: DeployedComponent) -> Mapping[str, str]:
        site, joined = self._site, self._joined.get(component.id)
        device = {**site.device, **(joined.variables if joined else {})}
        return environment(component, self._links, site.settings.variables, device)

    async def _recipe(
        self, component: DeployedComponent, executable: DeployedExecutable, image: str
    ) -> Recipe:
        site = self._site
        mounts = [m for m in component.mounts if m.executable == executable.id]
        given = Given(
            image=image,
            environment=self._environment(component),
            gpus=self.recorded.of(executable.id).gpus,
            memory=memory_of(executable, site.unstated_memory),
            folders=await site.volumes.folders(mounts),
        )
        return of_executable(self.deployment, executable, given)

    # --- updates -------------------------------------------------------------------------------

    async def _apply(self, plan: DeploymentPlan) -> None:
        """Changes the executables that differ, one after the other; goes back where one fails."""
        old, images = self.deployment.plan, dict[str, str]()
        former = {executable.id: executable for _, executable in old.executables()}
        done: list[tuple[DeployedComponent, DeployedExecutable]] = []
        try:
            for component, executable in plan.executables():
                before = former[executable.id]
                if before != executable:
                    await self._patiently(partial(self._change, component, executable, images))
                    done.append((component, before))
        except ClaraedgeError as error:
            extra = {"deployment": self.id, "reason": str(error)}
            _log.error("deployment not updated", extra=extra)
            for component, before in reversed(done):
                await self._patiently(partial(self._put_back, component, before), always=True)
            self.waits_for = ""
            await self._set_plan(old, DeploymentPhase.FAILED_TO_UPDATE, {}, self._fault(error))
            return
        await self._set_plan(plan, DeploymentPhase.SUCCEEDED, images)
        _log.info("deployment updated", extra={"deployment": self.id})

    async def _change(
        self,
        component: DeployedComponent,
        executable: DeployedExecutable,
        images: dict[str, str],
    ) -> None:
        """Runs an executable as given, in place of how it runs now; adds its image to `images`."""
        self.waits_for = f"the image {executable.image}"
        image = await self._image(executable, "")
        self.waits_for = f"the start of {executable.name}"
        await self._join(component, image)
        recipe = await self._recipe(component, executable, image)
        await self.containers.replace(component, executable, recipe)
        images[executable.id] = image
        self.waits_for = ""

    async def _put_back(self, component: DeployedComponent, before: DeployedExecutable) -> None:
        """Runs an executable as before the update; its restart rule applies from then on."""
        image = await self._image(before, self.recorded.of(before.id).image)
        await self._join(component, image)
        recipe = await self._recipe(component, before, image)
        await self.containers.put_back(component, before, recipe)

    # --- the end -------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Ends all executables, and removes all that there is of them."""
        self.waits_for = "the end of its bag jobs"
        await self._site.sidecars.end(self.id)
        self.waits_for = "the end of its containers"
        await self.containers.end()
        await self._patiently(self._remove_all, always=True)
        self._site.allocations.release(self.id)
        self.waits_for = ""

    async def _remove_all(self) -> None:
        """Removes whatever is left of its containers and its network.

        Raises RunnerUnavailableError or another error if something may be left.
        """
        await self._site.workshop.remove_all(LABEL_DEPLOYMENT, self.id)
        await self._site.networks.remove(self.id)

    async def _patiently(
        self, work: Callable[[], Coroutine[Any, Any, None]], *, always: bool = False
    ) -> None:
        await patiently(work, self._wait, always=always)

    async def _set_phase(self, phase: DeploymentPhase, *faults: Fault) -> None:
        await self._patiently(partial(self.recorded.set_phase, phase, *faults), always=True)

    async def _set_plan(
        self,
        plan: DeploymentPlan,
        phase: DeploymentPhase,
        images: Mapping[str, str],
        *faults: Fault,
    ) -> None:
        record = partial(self.recorded.set_plan, plan, phase, images, *faults)
        await self._patiently(record, always=True)

    def _wait(self, error: ClaraedgeError | OSError) -> None:
        self.waits_for = str(error)
        extra = {"deployment": self.id, "reason": str(error)}
        _log.warning("a deployment waits", extra=extra)

    def _fault(self, error: ClaraedgeError) -> Fault:
        policies = {component.restart for component in self.deployment.plan.components}
        return fault_of(error, restarts=policies != {RestartPolicy.NEVER})
