"""The deployments of this device: creation, listing, update, undeploying, and their lives."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial

from claraedge.blocking import in_thread, to_its_end
from claraedge.bugs import known
from claraedge.deployments import records
from claraedge.deployments.access import networks_of
from claraedge.deployments.logs import follow, remove_logs, tail_of
from claraedge.deployments.model import (
    DeployedExecutable,
    Deployment,
    DeploymentPhase,
    DeploymentRequest,
    DeploymentStatus,
    DeviceFacts,
    ExecutableChange,
)
from claraedge.deployments.networks import records as network_records
from claraedge.deployments.networks.model import PrivateNetwork
from claraedge.deployments.planning import changed, make_plan
from claraedge.deployments.running.live import LiveDeployment
from claraedge.deployments.running.reaching import Stream, reached
from claraedge.deployments.running.site import Site
from claraedge.errors import (
    ClaraedgeError,
    DeploymentNotReadyError,
    InvalidDeploymentError,
    RunnerUnavailableError,
)
from claraedge.packages import records as package_records
from claraedge.packages.ids import NewKindId
from claraedge.packages.model import Package
from claraedge.routes import records as route_records
from claraedge.runner.protocol import LABEL_DEPLOYMENT, Container, Limit
from claraedge.store.database import Transaction
from claraedge.supervised.orphans import OrphanContainers
from claraedge.waiting.patience import until_done
from claraedge.waiting.until import wait_set

_log = logging.getLogger(__name__)

_RETRY = 1.0
#: All that a deployment which has not ended can be.
_COUNTED = (
    DeploymentStatus.RUNNING,
    DeploymentStatus.PENDING,
    DeploymentStatus.ERROR,
    DeploymentStatus.STOPPED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView:
    """A deployment with its state at this moment."""

    deployment: Deployment
    status: DeploymentStatus
    waits_for: str
    statuses: Mapping[str, DeploymentStatus]
    """Id of a component or an executable -> its status."""
    addresses: Mapping[str, str]
    """Id of a component -> its address; none: it has none yet."""
    last_lines: Mapping[str, Sequence[str]]
    """Id of an executable -> the last lines of its log, where they were asked for."""


class Deployments:
    """Keeps deployments running.

    Call `prepare` at start, then `run` until it is cancelled; the containers keep running after it.
    A call that uses the database also raises what `Database.read` and `Database.write` raise.
    """

    def __init__(
        self,
        site: Site,
        find_package: Callable[[str], Awaitable[Package]],
        facts: Callable[[], DeviceFacts],
        new_id: NewKindId,
    ) -> None:
        """`find_package` returns a package by id, unique left part, name or `name:version`, or
        raises PackageNotFoundError; `facts` returns what plans have to fit, and may block.
        """
        self._site = site
        self._find_package = find_package
        self._facts = facts
        self._new_id = new_id
        self._live: dict[str, LiveDeployment] = {}
        self._new: list[LiveDeployment] = []
        self._wake = asyncio.Event()
        self._orphans = OrphanContainers(site.workshop, site.clock, self._known)
        self._taken_up = False
        self._networks_tidy = False

    # --- for clients ---------------------------------------------------------------------------

    async def create(self, request: DeploymentRequest) -> DeploymentView:
        """Records a deployment, and begins to start it.

        Raises PackageNotFoundError, InvalidDeploymentError with all mistakes,
        DeploymentExistsError, DeploymentNotFoundError for a dependency, DeploymentNotReadyError
        if a dependency does not run, and RouteInUseError.
        """
        package = await self._find_package(request.package)
        facts = await in_thread(self._facts)
        routes, networks = await self._site.database.read(partial(_named, request=request))
        mistakes: list[str] = []
        joined = networks_of(request.networks, networks, mistakes)
        plan, made = make_plan(
            package, request, facts, lambda: self._new_id("inst"), routes, mistakes
        )
        now = self._site.clock.now()
        id_ = self._new_id("dep")

        def work(tx: Transaction) -> Deployment:
            package_records.get(tx, package.id)  # it may have been deleted meanwhile
            needed = [records.find(tx, text).id for text in request.dependencies]
            deployment = Deployment(
                id=id_,
                name=request.name,
                package=package.id,
                package_name=package.name,
                package_version=package.version,
                plan_id=plan.id,
                plan_name=plan.name,
                plan=made,
                phase=DeploymentPhase.IN_PROGRESS,
                labels=dict(request.labels),
                dependencies=tuple(dict.fromkeys(needed)),
                networks=joined,
                created=now,
                updated=now,
            )
            records.add(tx, deployment, singleton=plan.singleton)
            self._site.sidecars.added(tx, deployment)
            return records.get(tx, id_)

        async def begin() -> Deployment:
            deployment = await self._site.database.write(work)
            _log.info("deployment created", extra={"deployment": id_, "package": package.id})
            self._begin(deployment)
            return deployment

        deployment = await to_its_end(begin())  # recorded is begun, though the client has gone
        return self._view(deployment)

    async def list(
        self,
        *,
        package: str = "",
        phases: Collection[DeploymentPhase] = (),
        labels: Mapping[str, str] | None = None,
    ) -> Sequence[DeploymentView]:
        """Returns the deployments that match, in the order of their creation.

        Raises PackageNotFoundError.
        """
        id_ = (await self._find_package(package)).id if package else ""
        found = await self._site.database.read(
            lambda tx: records.listed(tx, package=id_, phases=phases, labels=labels)
        )
        return [self._view(deployment) for deployment in found]

    async def get(self, text: str, *, lines: int = 0) -> DeploymentView:
        """Returns a deployment by id, unique left part of it, or name.

        `lines`: number of the last lines of each executable's log. Raises DeploymentNotFoundError.
        """
        deployment = await self._site.database.read(lambda tx: records.find(tx, text))
        return await self._with_lines(self._view(deployment), lines)

    async def update(self, text: str, changes: Sequence[ExecutableChange]) -> DeploymentView:
        """Records new images or commands of executables, and begins to apply them.

        Raises DeploymentNotFoundError, InvalidDeploymentError with all mistakes, and
        DeploymentNotReadyError in a phase that allows no update.
        """
        now = self._site.clock.now()

        def work(tx: Transaction) -> Deployment:
            deployment = records.find(tx, text)
            if not deployment.wanted or not deployment.phase.started:
                raise DeploymentNotReadyError(
                    f"the deployment {deployment.id} is in the phase {deployment.phase.value}; only"
                    " one that is Succeeded or Failed to update can be updated"
                )
            records.set_pending(tx, deployment.id, changed(deployment.plan, changes), now)
            return records.get(tx, deployment.id)

        async def begin() -> Deployment:
            deployment = await self._site.database.write(work)
            live = self._live.get(deployment.id)
            if live is not None and deployment.update is not None:
                live.update(deployment.update)
            return deployment

        deployment = await to_its_end(begin())
        return self._view(deployment)

    async def undeploy(self, text: str) -> DeploymentView:
        """Records that a deployment is to end, and begins to end it.

        Raises DeploymentNotFoundError, and DeploymentInUseError if others depend on it.
        """
        now = self._site.clock.now()

        def work(tx: Transaction) -> Deployment:
            deployment = records.find(tx, text)
            records.undeploy(tx, deployment.id, now)
            return records.get(tx, deployment.id)

        async def begin() -> Deployment:
            deployment = await self._site.database.write(work)
            live = self._live.get(deployment.id)
            if live is not None and not deployment.wanted:
                live.undeploy()
            return deployment

        deployment = await to_its_end(begin())
        return self._view(deployment)

    async def executable(self, text: str, executable: str) -> tuple[str, DeployedExecutable]:
        """Returns the id of a deployment, and one of its executables by id or name.

        Raises DeploymentNotFoundError, and InvalidDeploymentError if there is no such executable,
        or several and none is named.
        """
        deployment = await self._site.database.read(lambda tx: records.find(tx, text))
        all_of_it = [found for _, found in deployment.plan.executables()]
        fitting = [e for e in all_of_it if not executable or executable in (e.id, e.name)]
        if len(fitting) != 1:
            names = ", ".join(f"{e.name} ({e.id})" for e in all_of_it)
            problem = "several executables fit" if fitting else f"no executable {executable!r}"
            raise InvalidDeploymentError(
                f"executable: {problem} in the deployment {deployment.id}; name one of: {names}"
            )
        return deployment.id, fitting[0]

    async def log(
        self, text: str, executable: str, *, tail: int, following: bool, attempt: int = 0
    ) -> AsyncIterator[tuple[int, Sequence[str]]]:
        """Yields the lines of an executable's log, with the number of the start: the last `tail`,
        or all for 0.

        `following`: continues until the deployment has ended, or the given start. `attempt`: number
        of the start; 0: the last one. Raises as `executable` does, and InvalidDeploymentError if
        the log of that start is not kept.
        """
        deployment, found = await self.executable(text, executable)
        async for number, lines in follow(
            self._site.workshop.logs,
            f"{deployment}.{found.id}",
            attempt=attempt,
            tail=tail,
            ended=lambda: not following or deployment not in self._live,
        ):
            yield number, lines

    # --- the lives -----------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Reads which deployments have not ended, and adopts their containers.

        If Podman does not answer, `run` does that.
        """
        for deployment in await self._site.database.read(records.live):
            self._live[deployment.id] = LiveDeployment(self._site, deployment)
        try:
            await self._take_up()
        except RunnerUnavailableError as error:
            extra = {"reason": str(error)}
            _log.warning("the search for deployments is repeated later", extra=extra)

    async def run(self) -> None:
        """Keeps all deployments running, until cancelled; raises what is a bug of its own."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                tidy = await self._tidied()
                if self._taken_up:
                    new, self._new = self._new, []
                    for live in new:
                        group.create_task(self._keep(live), name=f"deployment {live.id}")
                await wait_set(self._wake, None if tidy else _RETRY)

    def dial(self, route: str) -> AbstractAsyncContextManager[Stream]:
        """Opens a connection to the endpoint that a static route leads to, given its prefix.

        Entering raises RouteNotFoundError, and RouteNotReadyError if nothing answers there.
        """
        return reached(self._site, self._live, route)

    def expect_orphans(self) -> None:
        """Schedules a search for containers that nobody supervises."""
        self._orphans.expect()
        self._wake.set()

    async def warnings(self) -> Sequence[str]:
        """Returns what the machine does not do for deployments, as texts for people."""
        limited = sorted(
            live.deployment.name
            for live in self._live.values()
            if any(executable.cpu for _, executable in live.deployment.plan.executables())
        )
        if not limited:
            return ()
        try:
            enforced = await self._site.workshop.runner.limits()
        except RunnerUnavailableError:
            return ()
        if Limit.CPU in enforced:
            return ()
        return (
            f"`limits.cpu` of the deployments {', '.join(limited)} has no effect: this machine does"
            " not let the user of the daemon limit cores. It needs cgroup v2 only, and the"
            " controller cpu delegated to that user (`systemctl edit user@.service`, then [Service]"
            " Delegate=cpu memory pids, and a restart of the machine)",
        )

    def counts(self) -> Mapping[DeploymentStatus, int]:
        """Returns how many of the deployments that have not ended are in each status."""
        found = Counter(self._view(live.deployment).status for live in self._live.values())
        return {status: found[status] for status in _COUNTED}

    @property
    def restarts(self) -> int:
        """How often executables were started again, since the start of the daemon."""
        return self._site.counted.restarts

    def _begin(self, deployment: Deployment) -> None:
        live = LiveDeployment(self._site, deployment)
        self._live[deployment.id] = live
        self._new.append(live)
        self._wake.set()

    async def _keep(self, live: LiveDeployment) -> None:
        """Controls one deployment until it has ended. An error in it is its own failure."""
        id_ = live.id

        async def attempt(failed: bool) -> None:
            if failed:
                await self._again(self._live[id_])
            await self._live[id_].run()

        def note(error: Exception) -> None:
            self._live[id_].waits_for = str(known(error, "a deployment", deployment=id_))

        await until_done(attempt, note)
        del self._live[id_]
        try:
            dropped = await self._site.database.write(records.drop_old)
            await in_thread(remove_logs, self._site.workshop.logs, dropped)
        except (ClaraedgeError, OSError) as error:  # the next end removes them
            _log.warning("records of old deployments are left", extra={"reason": str(error)})

    async def _again(self, live: LiveDeployment) -> None:
        """Puts a deployment whose life met an error in the state that a killed daemon leaves."""
        present = await self._site.workshop.present()
        recorded = await self._site.database.read(lambda tx: records.get(tx, live.id))
        again = LiveDeployment(self._site, recorded)
        if not live.deployment.wanted:  # since the read
            again.undeploy()
        elif live.deployment.update is not None:
            again.update(live.deployment.update)
        again.adopt(self._by_key(c for c in present if _of(c) == live.id))
        self._live[live.id] = again

    async def _tidied(self) -> bool:
        """Does what is outstanding; returns False if it has to be called again."""
        try:
            await self._take_up()
            await self._orphans.remove_orphans()
            if not self._networks_tidy:  # their containers are gone by now
                await self._site.networks.remove_others(self._live.keys())
                self._networks_tidy = True
        except ClaraedgeError as error:
            _log.debug("tidying waits", extra={"reason": str(error)})
            for live in self._new:
                live.waits_for = str(error)
            return False
        return self._orphans.soonest() is None

    async def _take_up(self) -> None:
        if self._taken_up:
            return
        workshop = self._site.workshop
        mine: dict[str, list[Container]] = {}
        for container in await workshop.present():
            mine.setdefault(_of(container), []).append(container)
        for live in self._live.values():
            live.adopt(self._by_key(mine.get(live.id, ())))
        self._taken_up = True
        self._new = list(self._live.values())
        self._orphans.expect()
        self._wake.set()

    def _by_key(self, containers: Iterable[Container]) -> Mapping[str, Container]:
        key_of = self._site.workshop.key_of
        return {key_of(container): container for container in containers}

    def _known(self) -> Collection[str]:
        """Returns the ids and names of containers that some deployment has or creates."""
        return {word for live in self._live.values() for word in live.containers.names()}

    # --- views ---------------------------------------------------------------------------------

    def _view(self, deployment: Deployment) -> DeploymentView:
        live = self._live.get(deployment.id)
        statuses: dict[str, DeploymentStatus] = {}
        for component in deployment.plan.components:
            for executable in component.executables:
                statuses[executable.id] = _status(deployment, live, executable.id)
            statuses[component.id] = combined(statuses[e.id] for e in component.executables)
        if live is not None:
            executables = live.deployment.executables
            deployment = replace(deployment, executables=executables)
        return DeploymentView(
            deployment=deployment,
            status=combined(statuses[c.id] for c in deployment.plan.components),
            waits_for="" if live is None else self._waits_for(live),
            statuses=statuses,
            addresses={} if live is None else live.addresses,
            last_lines={},
        )

    def _waits_for(self, live: LiveDeployment) -> str:
        return self._site.allocations.waits_for(live.id) or live.waits_for

    async def _with_lines(self, view: DeploymentView, lines: int) -> DeploymentView:
        if not lines:
            return view
        workshop, deployment = self._site.workshop, view.deployment
        found = {
            e.id: await in_thread(tail_of, workshop.logs, f"{deployment.id}.{e.id}", lines)
            for _, e in deployment.plan.executables()
        }
        return replace(view, last_lines=found)


def _named(
    tx: Transaction, request: DeploymentRequest
) -> tuple[Mapping[str, str], Mapping[str, PrivateNetwork]]:
    """Returns the routes (ids) and the networks that a request names, where they exist."""
    return route_records.ids(tx, request.routes), network_records.known(tx, request.networks)


def combined(statuses: Iterable[DeploymentStatus]) -> DeploymentStatus:
    """Returns the status of something that consists of others."""
    found = set(statuses)
    for status in (DeploymentStatus.ERROR, DeploymentStatus.PENDING, DeploymentStatus.UNKNOWN):
        if status in found:
            return status
    return (
        DeploymentStatus.STOPPED
        if found == {DeploymentStatus.STOPPED}
        else DeploymentStatus.RUNNING
    )


def _status(
    deployment: Deployment, live: LiveDeployment | None, executable: str
) -> DeploymentStatus:
    if deployment.phase is DeploymentPhase.FAILED_TO_START:
        return DeploymentStatus.ERROR
    if live is None or deployment.phase.ended:
        return DeploymentStatus.STOPPED
    return live.containers.status(executable)


def _of(container: Container) -> str:
    return container.labels.get(LABEL_DEPLOYMENT, "")
