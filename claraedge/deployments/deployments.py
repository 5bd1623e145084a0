"""The deployments of this device: creation, listing, update, undeploying, and their lives."""

from __future__ import annotations

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
from dataclasses import dataclass, replace
from functools import partial

from claraedge.blocking import in_thread, to_its_end
from claraedge.deployments import records
from claraedge.deployments.access import networks_of
from claraedge.deployments.lives import DeploymentLives
from claraedge.deployments.logs import follow, tail_of
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
from claraedge.deployments.running.site import Site
from claraedge.deployments.serving import ServingDeployments
from claraedge.errors import (
    DeploymentNotReadyError,
    InvalidDeploymentError,
)
from claraedge.packages import records as package_records
from claraedge.packages.ids import NewKindId
from claraedge.packages.model import Package
from claraedge.routes import records as route_records
from claraedge.store.database import Transaction

_log = logging.getLogger(__name__)

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


class Deployments(DeploymentLives):
    """Keeps deployments running, and makes, changes, shows and ends them for clients.

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
        super().__init__(site)
        self._find_package = find_package
        self._facts = facts
        self._new_id = new_id
        self.serving = ServingDeployments(
            site.database,
            site.workshop.runner,
            site.job_uses,
            lambda: self._live,
            site.allocations.waits_for,
        )
        """What jobs use of them."""

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
            self._begin(LiveDeployment(self._site, deployment))
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

        Raises DeploymentNotFoundError, and DeploymentInUseError if others depend on it or running
        jobs use it.
        """
        now = self._site.clock.now()

        def work(tx: Transaction) -> Deployment:
            deployment = records.find(tx, text)
            records.undeploy(tx, deployment.id, now)
            return records.get(tx, deployment.id)

        async def begin() -> Deployment:
            found = await self._site.database.read(lambda tx: records.find(tx, text))
            self._site.job_uses.refuse_end(found)
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

    # --- views ---------------------------------------------------------------------------------

    def counts(self) -> Mapping[DeploymentStatus, int]:
        """Returns how many of the deployments that have not ended are in each status."""
        found = Counter(self._view(live.deployment).status for live in self._live.values())
        return {status: found[status] for status in _COUNTED}

    @property
    def restarts(self) -> int:
        """How often executables were started again, since the start of the daemon."""
        return self._site.counted.restarts

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
