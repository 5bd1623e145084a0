"""What the engine reports to an observer, at the moment it is committed."""

from __future__ import annotations

import enum
from typing import Protocol

from claraedge.jobs.model import JobStatus


class AttemptResult(enum.Enum):
    """How an attempt of an operator ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    RETRIED = "retried"
    """It failed, and the operator is run again."""
    INTERRUPTED = "interrupted"
    """The machine ended it, and the operator is run again."""


class JobObserver(Protocol):
    """Counts what happens to jobs. Its methods return at once, and raise nothing."""

    def job_queued(self) -> None:
        """Called when a job was started by its user, or by the inbox."""
        ...

    def job_began(self, waited: float) -> None:
        """Called when the first operator of a job starts, `waited` seconds after its Start."""
        ...

    def job_stopped(self, status: JobStatus) -> None:
        """Called when a job has stopped."""
        ...

    def attempt_ended(self, result: AttemptResult, seconds: float | None) -> None:
        """Called when an attempt has ended; `seconds`: how long it ran, None if it did not."""
        ...


class UnobservedJobs:
    """A `JobObserver` that counts nothing."""

    def job_queued(self) -> None:
        pass

    def job_began(self, waited: float) -> None:
        pass

    def job_stopped(self, status: JobStatus) -> None:
        pass

    def attempt_ended(self, result: AttemptResult, seconds: float | None) -> None:
        pass
