"""The services that the execution of operators uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from claraedge.clock import Clock
from claraedge.images.applications import Applications
from claraedge.images.images import Images
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.observing import JobObserver, UnobservedJobs
from claraedge.jobs.operators.removals import Removals
from claraedge.jobs.operators.values import SharedMemory
from claraedge.payloads.payloads import Payloads
from claraedge.pipelines.requests import Profile
from claraedge.pipelines.tmpfs import TmpfsRule
from claraedge.runner.protocol import Runner
from claraedge.services.services import Services
from claraedge.store.database import Database
from claraedge.supervised.allocations import Allocations
from claraedge.suspects import Suspects


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The services that an execution uses; one instance for the whole engine."""

    database: Database
    runner: Runner
    removals: Removals
    payloads: Payloads
    images: Images
    applications: Applications
    logs: JobLogs
    values: SharedMemory
    suspects: Suspects
    services: Services
    allocations: Allocations
    """Memory and GPUs of deployments."""
    gpu_fault: Callable[[Sequence[str]], Awaitable[str | None]]
    """Tests GPUs (CDI names) again; returns why one of them cannot be used, or None."""
    profile: Profile
    tmpfs_rule: TmpfsRule
    clock: Clock
    instance: str
    """Label value of this daemon's containers; stored with the state."""
    boot: str
    grace: float
    """Seconds between TERM and KILL."""
    observer: JobObserver = field(default_factory=UnobservedJobs)
