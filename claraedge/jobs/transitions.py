"""The state machine of a job. Pure: statuses in, decisions out."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.pipelines.model import Pipeline
from claraedge.pipelines.requests import OperatorRequests

#: Number of times that the machine may end an operator before its job fails (SEMANTICS,
#: "interrupted").
MAX_INTERRUPTIONS = 3

Statuses = Mapping[str, OperatorStatus]


def ready(pipeline: Pipeline, statuses: Statuses) -> tuple[str, ...]:
    """Returns the operators that may start: pending, and all that they read is completed."""
    return tuple(
        operator.name
        for operator in pipeline.operators
        if statuses[operator.name] is OperatorStatus.PENDING
        and all(statuses[name] is OperatorStatus.COMPLETED for name in operator.upstream)
    )


def preparable(
    pipeline: Pipeline,
    statuses: Statuses,
    placed: Collection[str],
    requests: Mapping[str, OperatorRequests],
) -> tuple[str, ...]:
    """Returns the operators whose containers may be created before their turn.

    These are pending, and each operator that they depend on is completed or `placed`: its output
    folder exists. Operators that request a GPU or a share of one are excluded, because it is not
    assigned yet; so are operators that pass values in shared memory.
    """
    return tuple(
        operator.name
        for operator in pipeline.operators
        if statuses[operator.name] is OperatorStatus.PENDING
        and operator.name not in placed
        and all(
            statuses[name] is OperatorStatus.COMPLETED or name in placed
            for name in operator.upstream
        )
        and not requests[operator.name].devices
        and not any(entry.in_memory for entry in (*operator.inputs, *operator.outputs))
        and requests[operator.name].slot
    )


def verdict(statuses: Statuses, ending: JobStatus | None) -> JobStatus | None:
    """Returns the final status of a job whose operators do not run any more; None if it continues.

    `ending`: the decided status, by the first of: an operator's failure, a cancellation, a
    time-out, a full disk. A job whose last operator completed before that took effect is healthy:
    what happened is decisive, not what was requested.
    """
    if any(status is OperatorStatus.RUNNING for status in statuses.values()):
        return None
    if all(status is OperatorStatus.COMPLETED for status in statuses.values()):
        return JobStatus.HEALTHY
    return ending
