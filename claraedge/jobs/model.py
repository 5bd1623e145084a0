"""A job and its operators, as values. The numbers of the enums are the wire's."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from claraedge.jobs.runtime import RunTime


class JobState(enum.IntEnum):
    """Where a job is."""

    PENDING = 1
    """Created, or queued."""
    RUNNING = 2
    """Its first container was started."""
    STOPPED = 3
    """Ended, whichever way; the status says which."""


class JobStatus(enum.IntEnum):
    """How a job is, or how it ended."""

    HEALTHY = 1
    FAULTED = 2
    """An operator failed."""
    CANCELED = 3
    EVICTED = 4
    TERMINATED = 5


class Priority(enum.IntEnum):
    """How soon a job is taken from the queue."""

    LOWER = 1
    NORMAL = 2
    HIGHER = 3
    IMMEDIATE = 4
    """Before all others."""


class OperatorStatus(enum.IntEnum):
    """Where an operator of a job is."""

    PENDING = 1
    RUNNING = 2
    COMPLETED = 3
    """Exit code 0, and its files are on the disk."""
    FAULTED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRecord:
    """An operator of a job."""

    name: str
    status: OperatorStatus = OperatorStatus.PENDING
    attempt: int = 0
    """Number of the running or the last attempt; 0: none yet."""
    interruptions: int = 0
    """Attempts that the machine ended; they count against no retry."""
    image: str | None = None
    container: str | None = None
    exit_code: int | None = None
    boot: str | None = None
    began: float | None = None
    """BOOTTIME of the attempt's start, in that boot."""
    retries: int = 0
    """Attempts that failed and were followed by one more."""
    not_before: float | None = None
    """When the next attempt may begin; None: at once."""
    created: float
    started: float | None = None
    stopped: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is recorded. Times are Unix seconds."""

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
    """How it is to end, where that is decided."""
    created: float
    started: float | None
    stopped: float | None
    run_time: RunTime = field(default_factory=RunTime)
    """How long its operators ran, as the time-out counts."""
    operators: Sequence[OperatorRecord] = ()
    messages: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def was_started(self) -> bool:
        """Start was called, whether or not the job ran already."""
        return self.queue_position is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstarted:
    """A job that waits for its start."""

    id: str
    payload: str
    created: float
    """By the wall clock of then."""
