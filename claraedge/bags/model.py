"""Bag jobs and bags as values. Pure.

Source of the statuses: rapyuta.io, ROSBagJobStatus and ROSBagBlobStatus.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from claraedge.packages.bag_jobs import BagJobDefinition


class BagJobStatus(enum.StrEnum):
    """How a job is."""

    STARTING = "Starting"
    RUNNING = "Running"
    ERROR = "Error"
    STOPPING = "Stopping"
    STOPPED = "Stopped"


class BagStatus(enum.StrEnum):
    """How a bag is."""

    STARTING = "Starting"
    UPLOADING = "Uploading"
    UPLOADED = "Uploaded"
    ERROR = "Error"


@dataclass(frozen=True, slots=True, kw_only=True)
class BagJob:
    """A job as it is recorded."""

    id: str
    name: str
    deployment: str
    """Id of the deployment, which may be forgotten before the job."""
    deployment_name: str
    package: str
    component: str
    component_name: str
    instance: str
    """Id of the component in the deployment."""
    definition: BagJobDefinition
    wanted: bool = True
    """False once it was to stop."""
    was_up: bool = False
    over: BagJobStatus | None = None
    """STOPPED or ERROR: it has ended; None: it has not."""
    reason: str = ""
    payload: str = ""
    """The payload with its bags; empty: it has none yet."""
    created: float
    """Unix seconds."""
    ended: float | None = None
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BagJobView:
    """A job with its state at this moment."""

    job: BagJob
    status: BagJobStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bag:
    """A bag as it is recorded."""

    id: str
    job: str
    name: str
    """Its name in the payload."""
    payload: str
    status: BagStatus
    reason: str = ""
    size: int = 0
    """Bytes."""
    started: float | None = None
    """Unix seconds of its first message."""
    ended: float | None = None
    """Unix seconds of its last message."""
    messages: int = 0
    created: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """A range of time in Unix seconds."""

    start: float
    end: float
