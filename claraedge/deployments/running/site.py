"""What the deployments of a device share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from claraedge.clock import Clock
from claraedge.config import DeploymentsSettings
from claraedge.deployments.job_uses import JobUses
from claraedge.deployments.networks.networks import PrivateNetworks
from claraedge.deployments.running.networks import DeploymentNetworks
from claraedge.deployments.running.sidecars import Sidecars
from claraedge.deployments.running.volumes import DeploymentVolumes
from claraedge.images.images import Images
from claraedge.store.database import Database
from claraedge.supervised.allocations import Allocations
from claraedge.supervised.workshop import Workshop

#: Liveness probes at the same time: each is some processes.
_PROBES = 4


@dataclass(slots=True)
class RestartCount:
    """How often executables were started again, since the start of the daemon."""

    restarts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The parts of the daemon that deployments use."""

    database: Database
    images: Images
    workshop: Workshop
    networks: DeploymentNetworks
    private_networks: PrivateNetworks
    volumes: DeploymentVolumes
    allocations: Allocations
    clock: Clock
    settings: DeploymentsSettings
    unstated_memory: int
    """Megabytes that are reserved for an executable that states none."""
    device: Mapping[str, str]
    """Environment variables that say where an executable runs."""
    sidecars: Sidecars
    probing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_PROBES))
    """Limits how many liveness probes run at the same time."""
    counted: RestartCount = field(default_factory=RestartCount)
    job_uses: JobUses = field(default_factory=JobUses)
