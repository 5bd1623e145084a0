"""The jobs that use deployments as services."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from claraedge.deployments.model import (
    DeployedComponent,
    Deployment,
    DeploymentPhase,
)
from claraedge.errors import DeploymentInUseError


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUse:
    """The use of one component of a deployment by one job."""

    job: str
    deployment: str
    """Id."""
    component: str
    """Id."""
    restarts: int
    """How often its executables had been started again when the use began."""
    on_lost: Callable[[str, str], None]
    """Called with (job, reason) when the component is lost for good; the use has ended then."""


class JobUses:
    """Records which job uses which deployment, and reports to jobs what they lose."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []
        self._uses: dict[tuple[str, str, str], JobUse] = {}
        self._expected: Mapping[str, Collection[str]] = {}

    def listen(self, call: Callable[[], None]) -> None:
        """Makes each change of a deployment call this."""
        self._listeners.append(call)

    def add(self, use: JobUse) -> None:
        """Records a use; the same again replaces it."""
        self._uses[use.job, use.deployment, use.component] = use

    def of(self, job: str) -> list[JobUse]:
        """Returns the uses of a job."""
        return [use for use in self._uses.values() if use.job == job]

    def remove(self, job: str) -> None:
        """Ends all uses of a job."""
        for use in self.of(job):
            del self._uses[use.job, use.deployment, use.component]
        self.came_back(job)

    def expect(self, jobs: Mapping[str, Collection[str]]) -> None:
        """Records which jobs ran before this start, and names or ids of the deployments that each
        of them uses: these count as used until the job comes back.
        """
        self._expected = dict(jobs)

    def came_back(self, job: str) -> None:
        """Records that a job of before this start has its deployments again, or needs none."""
        self._expected = {k: names for k, names in self._expected.items() if k != job}

    def refuse_end(self, deployment: Deployment) -> None:
        """Raises DeploymentInUseError if running jobs use a deployment."""
        if not deployment.wanted or deployment.phase.ended:
            return
        jobs = {use.job for use in self._uses.values() if use.deployment == deployment.id}
        jobs |= {
            job
            for job, names in self._expected.items()
            if any(_means(name, deployment) for name in names)
        }
        if jobs:
            shown = ", ".join(sorted(jobs))
            raise DeploymentInUseError(
                f"the deployment {deployment.id} is used by running jobs as a service: {shown};"
                f" wait for their end, or cancel them (`claraedge cancel job {sorted(jobs)[0]}`)"
            )

    def changed(self, deployment: Deployment) -> None:
        """Called after each change of a deployment that has not ended, or has just ended."""
        for use in list(self._uses.values()):
            if use.deployment != deployment.id:
                continue
            (component,) = (c for c in deployment.plan.components if c.id == use.component)
            reason = why_lost(deployment, component)
            if reason is not None:
                del self._uses[use.job, use.deployment, use.component]
                use.on_lost(use.job, reason)
        for call in self._listeners:
            call()


def _means(name: str, deployment: Deployment) -> bool:
    return name == deployment.name or (name.startswith("dep-") and deployment.id.startswith(name))


def why_lost(deployment: Deployment, component: DeployedComponent) -> str | None:
    """Returns why a component does not run and will not by itself, with what to do; None: it does,
    or will.
    """
    again = (
        f"deploy it again (`claraedge deploy {deployment.package_name} --name {deployment.name}`),"
        " and create a new job"
    )
    what = f"the deployment {deployment.name} ({deployment.id}), which the job uses as a service,"
    if deployment.phase is DeploymentPhase.FAILED_TO_START:
        faults = "; ".join(fault.message for fault in deployment.faults)
        return f"{what} failed to start: {faults or 'no reason is recorded'}; correct it, {again}"
    if not deployment.wanted or deployment.phase.ended:
        return f"{what} was undeployed; {again}"
    over = [(e.name, deployment.executables[e.id]) for e in component.executables]
    if any(record.over is None for _, record in over):
        return None
    reasons = "; ".join(f"{name}: {record.reason or 'no reason'}" for name, record in over)
    return (
        f"{what} has ended and is not started again ({reasons}); undeploy it (`claraedge undeploy"
        f" {deployment.id}`), {again}"
    )


def restarts_of(deployment: Deployment, component: DeployedComponent) -> int:
    """Returns how often the executables of a component were started again."""
    return sum(deployment.executables[e.id].restarts for e in component.executables)
