"""The life of one deployment, from its creation to the end of its containers.

One task controls it: it provisions, waits until the deployment is not wanted any more or is to be
updated, and removes everything. Keepers run its executables meanwhile. Each step is recorded before
it is acted on, and can be repeated, so that a daemon that was killed continues where it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from claraedge.blocking import in_thread
from claraedge.bugs import known
from claraedge.clock import Clock
from claraedge.config import DeploymentsSettings
from claraedge.deployments import records
from claraedge.deployments.environment import environment, links
from claraedge.deployments.faults import fault_of
from claraedge.deployments.model import (
    DeployedComponent,
    DeployedExecutable,
    Deployment,
    DeploymentPlan,
    ExecutableRecord,
    Fault,
    Phase,
    Status,
)
from claraedge.deployments.networks import DeploymentNetworks, places
from claraedge.deployments.planning import claim_of, memory_of
from claraedge.deployments.recipes import Given, divided, key_of, of_executable, of_holder
from claraedge.deployments.volumes import Volumes
from claraedge.errors import (
    ClaraedgeError,
    DeploymentFailedError,
    ImageNotFoundError,
    RunnerUnavailableError,
    StorageFullError,
)
from claraedge.fs import files
from claraedge.images.images import Images
from claraedge.packages.model import RestartPolicy
from claraedge.runner import protocol
from claraedge.runner.protocol import LABEL_DEPLOYMENT, Container
from claraedge.store.database import Database, Transaction
from claraedge.supervised.allocations import Allocations, Claim
from claraedge.supervised.container import SupervisedContainer
from claraedge.supervised.holder import Holder
from claraedge.supervised.keeper import Keeper, stays_up
from claraedge.supervised.recipe import Recipe
from claraedge.supervised.restarts import Always, Never, OnFailure, RestartRule
from claraedge.supervised.workshop import Workshop, read_found
from claraedge.waiting.backoff import Backoff

_log = logging.getLogger(__name__)

#: Seconds until Podman or a full disk is tried again: the first pause, and the longest.
_PAUSES = (1.0, 30.0)

_RULES: Mapping[RestartPolicy, RestartRule] = {
    RestartPolicy.ALWAYS: Always(),
    RestartPolicy.ON_FAILURE: OnFailure(),
    RestartPolicy.NEVER: Never(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the deployments of a device share."""

    database: Database
    images: Images
    workshop: Workshop
    networks: DeploymentNetworks
    volumes: Volumes
    allocations: Allocations
    clock: Clock
    settings: DeploymentsSettings
    unstated_memory: int
    """Megabytes that are reserved for an executable that states none."""
    device: Mapping[str, str]
    """Environment variables that say where an executable runs."""


class LiveDeployment:
    """A deployment that has not ended."""

    def __init__(self, site: Site, deployment: Deployment) -> None:
        self.deployment = deployment
        self.waits_for = ""
        """What it waits for now, as text; empty: nothing."""
        self.addresses: Mapping[str, str] = {}
        """Id of a component -> its address on the network of the deployment."""
        self.gpus: Mapping[str, tuple[str, ...]] = {}
        """Id of an executable -> the CDI names of its GPUs."""
        self._site = site
        self._changed = asyncio.Event()
        self._holders: dict[str, Holder] = {}
        self._supervised: dict[str, SupervisedContainer] = {}
        self._keepers: dict[str, Keeper[SupervisedContainer]] = {}
        self._records = dict(deployment.executables)
        self._writes: set[asyncio.Task[None]] = set()
        self._links: Mapping[str, str] = {}
        self._present: Mapping[str, Container] = {}
        """Key -> a container of an earlier daemon."""

    # --- for others ----------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.deployment.id

    def undeploy(self) -> None:
        """Makes it end. Call after that was recorded."""
        self.deployment = replace(self.deployment, wanted=False, update=None)
        self._changed.set()

    def update(self, plan: DeploymentPlan) -> None:
        """Makes it change to another plan. Call after that was recorded."""
        self.deployment = replace(self.deployment, update=plan)
        self._changed.set()

    def record(self, executable: str) -> ExecutableRecord:
        """Returns what is recorded of an executable."""
        return self._records[executable]

    def status(self, executable: str) -> Status:
        """Returns how an executable is at this moment."""
        over = self._records[executable].over
        if over is not None:
            return over
        supervised = self._supervised.get(executable)
        return Status.RUNNING if supervised is not None and supervised.fit else Status.PENDING

    def containers(self) -> set[str]:
        """Returns the ids and names of its containers, and of those that are being created."""
        found = {w for s in self._supervised.values() for w in (s.container, s.making)}
        found |= {w for h in self._holders.values() for w in (h.container, h.making)}
        return {word for word in found if word} | {c.id for c in self._present.values()}

    def running(self, component: str) -> str | None:
        """Returns the id of a container in the network of a component; None: there is none."""
        holder = self._holders.get(component)
        return None if holder is None else holder.container

    # --- the life ------------------------------------------------------------------------------

    def adopt(self, present: Mapping[str, Container]) -> None:
        """Prepares what an earlier daemon left; `present`: key -> the container.

        Call it once, before `run`. A deployment that has not started yet begins again.
        """
        deployment = self.deployment
        if not deployment.wanted or (not deployment.phase.started and deployment.update is None):
            return
        plan = deployment.plan
        executables = [executable for _, executable in plan.executables()]
        running = False
        for component in plan.components:
            found = present.get(key_of(deployment.id, component.id))
            if found is not None and found.phase is protocol.Phase.CREATED:
                image = self._records[component.executables[0].id].image
                recipe = of_holder(deployment, component, image)
                self._holders[component.id] = Holder(self._site.workshop, recipe, found=found.id)
            for executable in component.executables:
                container = present.get(key_of(deployment.id, executable.id))
                if container is not None and self._records[executable.id].over is None:
                    running = running or container.phase is protocol.Phase.RUNNING
        if running:
            gpus = tuple(g for e in executables for g in self._records[e.id].gpus)
            self._site.allocations.adopt(deployment.id, self._claim(), gpus)
        self._present = present

    async def run(self) -> None:
        """Controls the deployment until it has ended, and records that.

        When it is cancelled, its containers keep running.
        """
        try:
            if self.deployment.wanted and not await self._until_unwanted():
                return
            await self._end_all()
            await self._set_phase(Phase.STOPPED)
        finally:
            tasks = [s.task for s in self._supervised.values() if s.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, *self._writes, return_exceptions=True)
            self._site.allocations.release(self.id)

    async def _until_unwanted(self) -> bool:
        """Provisions and updates; returns False if it has failed to start, and has ended."""
        started = self.deployment.phase.started or self.deployment.update is not None
        try:
            await self._unless_unwanted(self._resume() if started else self._provision())
        except ClaraedgeError as error:
            _log.error(
                "deployment failed to start",
                extra={"deployment": self.id, "reason": str(error)},
            )
            await self._end_all()
            await self._set_phase(Phase.FAILED_TO_START, self._fault(error))
            return False
        while self.deployment.wanted:
            self._changed.clear()
            if self.deployment.update is not None:
                await self._unless_unwanted(self._apply(self.deployment.update))
                continue
            await self._changed.wait()
        return True

    async def _unless_unwanted(self, work: Coroutine[Any, Any, None]) -> None:
        """Does work until it is done, or the deployment is not wanted any more."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done() and self.deployment.wanted:
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait({task, changed}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    # --- provisioning --------------------------------------------------------------------------

    async def _provision(self) -> None:
        """Starts all executables, and returns once they are up. Raises why that failed."""
        await self._patiently(self._remove_all)
        await self._set_phase(Phase.PROVISIONING)
        await self._patiently(self._find_images)
        await self._allocate()
        await self._patiently(self._connect)
        await self._patiently(self._begin_all)
        self.waits_for = "the start of its executables"
        ups = [asyncio.ensure_future(s.up()) for s in self._supervised.values()]
        try:
            for up in asyncio.as_completed(ups):
                await up
        finally:
            for future in ups:
                future.cancel()
            await asyncio.gather(*ups, return_exceptions=True)
        self.waits_for = ""

        def work(tx: Transaction) -> None:
            for executable in self._supervised:
                records.set_up(tx, self.id, executable)
            records.set_phase(tx, self.id, Phase.SUCCEEDED, self._site.clock.now())

        await self._site.database.write(work)
        for executable in self._supervised:
            self._records[executable] = replace(self._records[executable], was_up=True)
        self.deployment = replace(self.deployment, phase=Phase.SUCCEEDED)
        _log.info("deployment started", extra={"deployment": self.id})

    async def _resume(self) -> None:
        """Takes up what ran before the start of the daemon; whatever fails is tried again."""
        await self._patiently(self._find_images, always=True)
        await self._allocate()
        await self._patiently(self._connect, always=True)
        await self._patiently(self._begin_all, always=True)
        self.waits_for = ""

    async def _find_images(self) -> None:
        """Finds or pulls the images of all executables, and records them."""
        for _, executable in self.deployment.plan.executables():
            record = self._records[executable.id]
            if record.over is None:
                image = await self._image(executable, record.image)
                self._records[executable.id] = replace(record, image=image)
        images = {e: record.image for e, record in self._records.items()}

        def work(tx: Transaction) -> None:
            for executable, image in images.items():
                records.set_image(tx, self.id, executable, image)

        await self._site.database.write(work)

    async def _image(self, executable: DeployedExecutable, known: str) -> str:
        """Returns the id of an executable's image: the known one, where it is still there."""
        self.waits_for = f"the image {executable.image}"
        images = self._site.images
        if known:
            try:
                return (await images.find(known)).id
            except ImageNotFoundError:
                pass  # removed while nothing used it
        return (await images.ensure(executable.image, ())).id

    async def _allocate(self) -> None:
        """Waits for memory and GPUs, and records which GPUs each executable has."""
        executables = [executable for _, executable in self.deployment.plan.executables()]
        waiting = asyncio.ensure_future(self._site.allocations.acquire(self.id, self._claim()))
        self.waits_for = "memory and GPUs"
        gpus = await waiting
        self.gpus = divided(executables, gpus)
        given = self.gpus
        for executable, own in given.items():
            self._records[executable] = replace(self._records[executable], gpus=own)

        def work(tx: Transaction) -> None:
            for executable, own in given.items():
                records.set_gpus(tx, self.id, executable, own)

        await self._site.database.write(work)

    def _claim(self) -> Claim:
        memory, gpus = claim_of(self.deployment.plan, self._site.unstated_memory)
        return Claim(memory=memory, gpus=gpus)

    async def _connect(self) -> None:
        """Creates the network, and the holder of each component's network namespace."""
        self.waits_for = "its network"
        site, plan = self._site, self.deployment.plan
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
        for component in plan.components:
            holder = self._holders.get(component.id)
            if holder is None:
                image = self._records[component.executables[0].id].image
                holder = Holder(site.workshop, of_holder(self.deployment, component, image))
                self._holders[component.id] = holder
            holder.networks = {own.name: self.addresses[component.id], **parents}
            await holder.ready()

    async def _begin_all(self) -> None:
        for component, executable in self.deployment.plan.executables():
            await self._begin(component, executable)
        self._present = {}  # what was not taken up belongs to nobody
        self._site.workshop.on_left()

    async def _begin(self, component: DeployedComponent, executable: DeployedExecutable) -> None:
        """Starts the keeper of an executable that is not over."""
        record = self._records[executable.id]
        if record.over is not None or executable.id in self._supervised:
            return
        found = self._present.get(key_of(self.id, executable.id))
        gone = found is None and record.was_up and component.restart is RestartPolicy.NEVER
        if gone:
            await self._over(
                executable.id,
                Status.ERROR,
                "its container is gone after a restart of the machine, and its restart policy is"
                " never",
            )
            return
        recipe = await self._recipe(component, executable, record.image)
        workshop = self._site.workshop
        supervised = SupervisedContainer(
            workshop,
            recipe.key,
            recipe.name,
            rule=_RULES[component.restart],
            start=self._site.settings.up_seconds,
            recipe=recipe,
            found=None if found is None else read_found(found),
            was_fit=record.was_up,
            patient=True,
            holder=self._holders[component.id],
        )
        self._supervised[executable.id] = supervised
        keeper = Keeper(
            supervised,
            _Owner(self, executable.id),
            workshop,
            self._site.clock,
            fit=stays_up(self._site.settings.up_seconds),
        )
        self._keepers[executable.id] = keeper
        keeper.begin()

    async def _recipe(
        self, component: DeployedComponent, executable: DeployedExecutable, image: str
    ) -> Recipe:
        mounts = [m for m in component.mounts if m.executable == executable.id]
        try:
            folders = await in_thread(self._site.volumes.folders, mounts)
        except OSError as error:
            text = f"{error.filename or self._site.volumes.root}: {error.strerror}"
            if files.is_full(error):
                raise StorageFullError(f"{text}; free some space there") from error
            raise DeploymentFailedError(f"{text}; it cannot be mounted") from error
        return of_executable(
            self.deployment,
            executable,
            Given(
                image=image,
                environment=environment(
                    component, self._links, self._site.settings.variables, self._site.device
                ),
                gpus=self.gpus.get(executable.id, ()),
                memory=memory_of(executable, self._site.unstated_memory),
                folders=folders,
            ),
        )

    # --- updates -------------------------------------------------------------------------------

    async def _apply(self, plan: DeploymentPlan) -> None:
        """Changes the executables that differ, one after the other; goes back where one fails."""
        old = self.deployment.plan
        former = {executable.id: executable for _, executable in old.executables()}
        done: list[tuple[DeployedComponent, DeployedExecutable, str]] = []
        try:
            for component, executable in plan.executables():
                before = former[executable.id]
                if before != executable:
                    image = self._records[executable.id].image
                    await self._patiently(partial(self._change, component, executable))
                    done.append((component, before, image))
        except ClaraedgeError as error:
            _log.error(
                "deployment not updated", extra={"deployment": self.id, "reason": str(error)}
            )
            for component, before, image in reversed(done):
                await self._restore(component, before, image)
            await self._set_plan(old, Phase.FAILED_TO_UPDATE, self._fault(error))
            return
        await self._set_plan(plan, Phase.SUCCEEDED)
        _log.info("deployment updated", extra={"deployment": self.id})

    async def _change(self, component: DeployedComponent, executable: DeployedExecutable) -> None:
        image = await self._image(executable, "")
        self.waits_for = f"the start of {executable.name}"
        await self._put(component, executable, image)
        self.waits_for = ""

    async def _put(
        self, component: DeployedComponent, executable: DeployedExecutable, image: str
    ) -> None:
        """Runs an executable as given, in place of how it runs now."""
        supervised = self._supervised.get(executable.id)
        if supervised is not None and not supervised.closed:
            recipe = await self._recipe(component, executable, image)
            if supervised.digest != recipe.digest or not supervised.fit:
                await self._keepers[executable.id].replace(recipe)
        else:  # it had ended for good
            self._supervised.pop(executable.id, None)
            record = self._records[executable.id]
            self._records[executable.id] = replace(record, over=None, was_up=False, image=image)
            await self._begin(component, executable)
            await self._supervised[executable.id].up()
        self._records[executable.id] = replace(self._records[executable.id], image=image)

        def work(tx: Transaction) -> None:
            records.set_over(tx, self.id, executable.id, None, "")
            records.set_image(tx, self.id, executable.id, image)

        await self._site.database.write(work)

    async def _restore(
        self, component: DeployedComponent, before: DeployedExecutable, image: str
    ) -> None:
        try:
            await self._put(component, before, image)
        except ClaraedgeError as error:
            extra = {"deployment": self.id, "executable": before.name, "reason": str(error)}
            _log.error("executable not restored after a failed update", extra=extra)

    # --- the end -------------------------------------------------------------------------------

    async def _end_all(self) -> None:
        """Ends all executables, and removes all that there is of them."""
        self.waits_for = "the end of its containers"
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
        await self._patiently(self._remove_all, always=True)
        self.waits_for = ""

    async def _remove_all(self) -> None:
        """Removes whatever is left of its containers and its network.

        Raises RunnerUnavailableError or another error if something may be left.
        """
        workshop = self._site.workshop
        for container in await workshop.runner.containers({LABEL_DEPLOYMENT: self.id}):
            await workshop.runner.remove(container.id)
        for name in await workshop.half_made():
            if self.id in name:
                await workshop.runner.remove(name)
        await self._site.networks.remove(self.id)

    # --- recording -----------------------------------------------------------------------------

    async def _patiently(
        self, work: Callable[[], Coroutine[Any, Any, None]], *, always: bool = False
    ) -> None:
        """Does work; repeats it while Podman does not answer or a disk is full.

        `always`: repeats it whatever the error.
        """
        pauses = Backoff(*_PAUSES)
        while True:
            try:
                await work()
            except ClaraedgeError as error:
                if not (always or isinstance(error, RunnerUnavailableError | StorageFullError)):
                    raise
                self.waits_for = str(error)
                extra = {"deployment": self.id, "reason": str(error)}
                _log.warning("a deployment waits", extra=extra)
            else:
                return
            await asyncio.sleep(pauses.next())

    def _fault(self, error: ClaraedgeError) -> Fault:
        policies = {c.restart for c in self.deployment.plan.components}
        return fault_of(error, restarts=policies != {RestartPolicy.NEVER})

    async def _set_phase(self, phase: Phase, *faults: Fault) -> None:
        now = self._site.clock.now()
        await self._site.database.write(
            lambda tx: records.set_phase(tx, self.id, phase, now, faults)
        )
        self.deployment = replace(self.deployment, phase=phase, faults=faults)

    async def _set_plan(self, plan: DeploymentPlan, phase: Phase, *faults: Fault) -> None:
        now = self._site.clock.now()
        await self._site.database.write(
            lambda tx: records.set_plan(tx, self.id, plan, phase, now, faults)
        )
        self.deployment = replace(
            self.deployment, plan=plan, update=None, phase=phase, faults=faults
        )

    async def _over(self, executable: str, over: Status, reason: str) -> None:
        """Records that an executable is not started again."""
        self._records[executable] = replace(self._records[executable], over=over, reason=reason)
        await self._site.database.write(
            lambda tx: records.set_over(tx, self.id, executable, over, reason)
        )

    def _restarted(self, executable: str, reason: str) -> None:
        record = self._records[executable]
        self._records[executable] = replace(record, restarts=record.restarts + 1, reason=reason)
        self._later(
            self._site.database.write(
                lambda tx: records.set_restarted(tx, self.id, executable, reason)
            )
        )

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Records something that nothing waits for."""
        writing = asyncio.ensure_future(work)
        self._writes.add(writing)
        writing.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            extra = {"deployment": self.id, "reason": str(error)}
            _log.warning("a change of a deployment was not recorded", extra=extra)


class _Owner:
    """Receives the reports of the keeper of one executable."""

    def __init__(self, live: LiveDeployment, executable: str) -> None:
        self._live = live
        self._executable = executable

    def closing(self, supervised: SupervisedContainer) -> None:
        pass

    def up(self, supervised: SupervisedContainer) -> None:
        pass

    def restarted(self, supervised: SupervisedContainer) -> None:
        self._live._restarted(self._executable, supervised.reason or "")

    async def rested(
        self,
        supervised: SupervisedContainer,  # noqa: ARG002 - shapes are the protocol's
        text: str,
    ) -> None:
        await self._live._over(self._executable, Status.STOPPED, text)

    async def lost(
        self,
        supervised: SupervisedContainer,  # noqa: ARG002 - shapes are the protocol's
        error: ClaraedgeError,
    ) -> None:
        await self._live._over(self._executable, Status.ERROR, str(error))

    def ended(self, supervised: SupervisedContainer, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            reason = str(known(error, supervised.name, deployment=self._live.id))
            self._live._later(self._live._over(self._executable, Status.ERROR, reason))
