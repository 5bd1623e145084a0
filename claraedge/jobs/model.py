"""A job and its operators, as values. The numbers of the enums are those of the wire."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from claraedge.jobs.runtime import RunTime


class JobState(enum.IntEnum):
    """The stage of a job."""

    PENDING = 1
    """Created or queued; no container was started."""
    RUNNING = 2
    """Its first operator was started."""
    STOPPED = 3
    """Ended; `JobStatus` says how."""


class JobStatus(enum.IntEnum):
    """The health of a job, or how it ended."""

    HEALTHY = 1
    FAULTED = 2
    """An operator failed, or the job could not run."""
    CANCELED = 3
    EVICTED = 4
    TERMINATED = 5


class JobStage(enum.IntEnum):
    """How far a job is, or how it ended: state and status in one."""

    UNSTARTED = 1
    WAITING = 2
    RUNNING = 3
    COMPLETED = 4
    """Ended well."""
    FAILED = 5
    CANCELED = 6
    EVICTED = 7
    TERMINATED = 8


class Priority(enum.IntEnum):
    """The priority class of a job in the queue."""

    LOWER = 1
    NORMAL = 2
    HIGHER = 3
    IMMEDIATE = 4
    """Taken before all other classes."""


class OperatorStatus(enum.IntEnum):
    """The status of an operator of a job."""

    PENDING = 1
    RUNNING = 2
    COMPLETED = 3
    """It succeeded, and its files are durable."""
    FAULTED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRecord:
    """The record of an operator of a job. Times are Unix seconds, unless noted."""

    name: str
    status: OperatorStatus = OperatorStatus.PENDING
    attempt: int = 0
    """Number of the running or last attempt; 0: none yet."""
    interruptions: int = 0
    """Number of attempts that the machine ended; they do not count as retries."""
    image: str | None = None
    container: str | None = None
    exit_code: int | None = None
    boot: str | None = None
    began: float | None = None
    """BOOTTIME of the attempt's start (seconds), in the boot that `boot` identifies."""
    retries: int = 0
    """Number of failed attempts that were retried."""
    not_before: float | None = None
    """Unix time (seconds) before which the next attempt does not start; None: at once."""
    created: float
    started: float | None = None
    stopped: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The record of a job. Times are Unix seconds."""

    id: str
    name: str
    pipeline: str
    pipeline_name: str
    payload: str
    definition: str
    snapshot: str | None
    variables: Mapping[str, str] | None
    state: JobState
    status: JobStatus
    priority: Priority
    queue_position: int | None
    cancel_reason: str | None
    ending: JobStatus | None = None
    """The status with which the job is to end, once that is decided; else None."""
    created: float
    started: float | None
    stopped: float | None
    run_time: RunTime = field(default_factory=RunTime)
    """The time that its operators ran, which counts towards the time-out."""
    operators: Sequence[OperatorRecord] = ()
    messages: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def was_started(self) -> bool:
        """Whether Start was called, even if no operator has run yet."""
        return self.queue_position is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstarted:
    """A job that waits for its start."""

    id: str
    payload: str
    created: float
    """Unix seconds, by the wall clock at that time."""
