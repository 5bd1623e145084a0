"""The state machine of a job. Pure: statuses in, decisions out."""

from __future__ import annotations

from collections.abc import Mapping

from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.pipelines.model import Pipeline

#: So often the machine may end an operator before the job gives up (SEMANTICS, "interrupted").
MAX_INTERRUPTIONS = 3

Statuses = Mapping[str, OperatorStatus]


def ready(pipeline: Pipeline, statuses: Statuses) -> tuple[str, ...]:
    """The operators that may start now: pending, and everything that they read is completed."""
    return tuple(
        operator.name
        for operator in pipeline.operators
        if statuses[operator.name] is OperatorStatus.PENDING
        and all(statuses[name] is OperatorStatus.COMPLETED for name in operator.upstream)
    )


def verdict(statuses: Statuses, *, cancelled: bool, faulted: bool) -> JobStatus | None:
    """How a job ends of which no operator runs any more, or None where it goes on.

    `cancelled`: its end was asked for; `faulted`: an operator failed by itself. A job whose last
    operator completed before the cancel took effect is healthy: the truth goes before the wish.
    """
    if any(status is OperatorStatus.RUNNING for status in statuses.values()):
        return None
    if all(status is OperatorStatus.COMPLETED for status in statuses.values()):
        return JobStatus.HEALTHY
    if faulted:
        return JobStatus.FAULTED
    if cancelled:
        return JobStatus.CANCELED
    return None
