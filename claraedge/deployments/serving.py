"""Deployments as services of jobs: whether they are up, and how jobs reach them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from claraedge.deployments import records
from claraedge.deployments.access import close_name
from claraedge.deployments.job_uses import JobUse, JobUses, restarts_of, why_lost
from claraedge.deployments.model import DeployedComponent, Deployment, DeploymentStatus
from claraedge.deployments.running.live import LiveDeployment
from claraedge.deployments.running.recipes import key_of
from claraedge.errors import DeploymentNotFoundError, RunnerUnavailableError, ServiceError
from claraedge.runner.protocol import Runner
from claraedge.store.database import Database
from claraedge.supervised.container import poll


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedComponent:
    """A component of a deployment that a job uses."""

    deployment: str
    """Id."""
    component: str
    """Id."""
    name: str
    """For messages."""
    ports: tuple[int, ...]
    """The ports of its endpoints."""

    @property
    def key(self) -> str:
        """Key of its network namespace."""
        return key_of(self.deployment, self.component)


class ServingDeployments:
    """Lets jobs use the deployments that have not ended."""

    def __init__(
        self,
        database: Database,
        runner: Runner,
        uses: JobUses,
        lives: Callable[[], Mapping[str, LiveDeployment]],
        waits_for: Callable[[str], str | None],
    ) -> None:
        """`lives` returns the deployments that have not ended, by id; `waits_for` returns the
        memory and GPUs that a deployment (id) waits for, as text.
        """
        self._database = database
        self._runner = runner
        self._uses = uses
        self._lives = lives
        self._waits_for = waits_for

    # --- before a job begins -------------------------------------------------------------------

    def awaited(self, name: str) -> str | None:
        """Returns what a job waits for that is to use this deployment (id or name), as text; None:
        nothing, or there is no such deployment.
        """
        for live in self._lives().values():
            if name in (live.id, live.deployment.name):
                waits = live.deployment.wanted and not live.has_started
                return self._text(live) if waits else None
        return None

    def expect(self, jobs: Mapping[str, Collection[str]]) -> None:
        """See `JobUses.expect`."""
        self._uses.expect(jobs)

    # --- for one job ---------------------------------------------------------------------------

    async def use(
        self,
        job: str,
        name: str,
        component: str,
        *,
        waiting: Callable[[str], None],
        on_lost: Callable[[str, str], None],
    ) -> ServedComponent:
        """Waits until a component of a deployment is up, and makes the job a user of it.

        `name`: id or name of the deployment; `component`: id or name; empty: the only one.
        `waiting` is called with what it waits for, as text; `on_lost`: see `JobUse`. Raises
        ServiceError if it does not exist, has ended, or will not be up by itself.
        """
        try:
            deployment = await self._database.read(lambda tx: records.find(tx, name))
        except DeploymentNotFoundError as error:
            raise ServiceError(
                f"the deployment {name!r}, which the job uses as a service, does not exist; deploy"
                f" it (`claraedge deploy PACKAGE --name NAME`), or correct `deployment:` in the"
                " pipeline; `claraedge list deployments` shows all"
            ) from error
        part = _component(deployment, component)

        async def is_up() -> bool:
            live = self._lives().get(deployment.id)
            if live is None:
                recorded = await self._database.read(lambda tx: records.get(tx, deployment.id))
                _raise_if_lost(recorded, part)
                waiting(f"the start of the deployment {deployment.name}")
                return False
            _raise_if_lost(live.deployment, part)
            if not self._is_up(live, part):
                waiting(self._text(live))
                return False
            self._uses.add(
                JobUse(
                    job=job,
                    deployment=live.id,
                    component=part.id,
                    restarts=restarts_of(live.deployment, part),
                    on_lost=on_lost,
                )
            )
            return True

        await poll(is_up)
        return ServedComponent(
            deployment=deployment.id,
            component=part.id,
            name=f"the component {part.name} of the deployment {deployment.name}",
            ports=tuple(sorted(set(part.endpoints.values()))),
        )

    async def join(self, served: ServedComponent, network: str, address: str) -> None:
        """Connects a component to a network, now and whenever its namespace is created again.

        Raises NetworkError, and ServiceError if the deployment has ended.
        """

        async def has_namespace() -> bool:
            return self._live(served).containers.in_network(served.component) is not None

        await poll(has_namespace)
        await self._live(served).containers.holder(served.component).join(network, address)

    def check(self, served: ServedComponent) -> None:
        """Raises ServiceError if a component does not run and will not by itself."""
        self._live(served)

    async def listens(
        self, served: ServedComponent, address: str, ports: Sequence[int], limit: float
    ) -> None:
        """Returns once a component accepts connections at all of these ports.

        Raises ServiceError if it does not within `limit` seconds in which it is up, or is lost.
        """
        for port in ports:
            while True:
                try:
                    async with asyncio.timeout(limit):
                        await poll(partial(self._is_open, served, address, port))
                    break
                except TimeoutError as error:
                    live = self._live(served)
                    if not self._is_up(live, _component(live.deployment, served.component)):
                        continue  # it is started again
                    raise ServiceError(
                        f"{served.name} runs, and does not accept connections at port {port} within"
                        f" {limit:g} s (services.start_seconds); write the port on which it listens"
                        " on all addresses, or see its log (`claraedge logs -d"
                        f" {served.deployment}`)"
                    ) from error

    def trouble(self, job: str) -> str | None:
        """Returns which deployments were started again since the job uses them, and why."""
        found = []
        for use in self._uses.of(job):
            live = self._lives().get(use.deployment)
            if live is None:
                continue
            part = _component(live.deployment, use.component)
            if restarts_of(live.deployment, part) != use.restarts:
                reasons = {live.deployment.executables[e.id].reason for e in part.executables}
                found.append(
                    f"the deployment {live.deployment.name} was started again:"
                    f" {'; '.join(sorted(reasons - {''}))}"
                )
        return "; ".join(found) or None

    def came_back(self, job: str) -> None:
        """See `JobUses.came_back`."""
        self._uses.came_back(job)

    def leave(self, job: str) -> None:
        """Ends all uses of a job."""
        self._uses.remove(job)

    # --- for the networks of jobs --------------------------------------------------------------

    def has(self, key: str) -> bool:
        """Returns whether a component with this key of its network namespace may exist."""
        live = self._lives().get(key.partition(".")[0])
        return live is not None and not live.deployment.phase.ended

    def listen(self, call: Callable[[], None]) -> None:
        """See `JobUses.listen`."""
        self._uses.listen(call)

    # --- inside --------------------------------------------------------------------------------

    def _live(self, served: ServedComponent) -> LiveDeployment:
        live = self._lives().get(served.deployment)
        if live is None:
            raise ServiceError(
                f"{served.name} ({served.deployment}), which the job uses as a service, has ended;"
                " deploy it again, and create a new job"
            )
        _raise_if_lost(live.deployment, _component(live.deployment, served.component))
        return live

    def _is_up(self, live: LiveDeployment, part: DeployedComponent) -> bool:
        statuses = {live.containers.status(e.id) for e in part.executables}
        return (
            live.has_started
            and DeploymentStatus.PENDING not in statuses
            and live.containers.in_network(part.id) is not None
        )

    async def _is_open(self, served: ServedComponent, address: str, port: int) -> bool:
        container = self._live(served).containers.in_network(served.component)
        if container is None:
            return False
        try:
            async with self._runner.dial(container, address, port):
                return True
        except (OSError, RunnerUnavailableError):
            return False

    def _text(self, live: LiveDeployment) -> str:
        waits = self._waits_for(live.id) or live.waits_for
        if not waits and live.has_started:
            waits = "executables that are started again"
        return f"the deployment {live.deployment.name}, which waits for {waits or 'its start'}"


def _raise_if_lost(deployment: Deployment, component: DeployedComponent) -> None:
    reason = why_lost(deployment, component)
    if reason is not None:
        raise ServiceError(reason)


def _component(deployment: Deployment, text: str) -> DeployedComponent:
    """Returns a component by id or name; for an empty text, the only one. Raises ServiceError."""
    components = deployment.plan.components
    found = [c for c in components if not text or text in (c.id, c.name, c.instance)]
    if len(found) == 1:
        return found[0]
    names = [component.name for component in components]
    if found:
        raise ServiceError(
            f"the deployment {deployment.name}, which the job uses as a service, has several"
            f" components; write `component:` with one of: {', '.join(names)}"
        )
    raise ServiceError(
        f"the deployment {deployment.name}, which the job uses as a service, has no component"
        f" {text[:80]!r}{close_name(text, names)}; correct `component:` in the pipeline"
    )
