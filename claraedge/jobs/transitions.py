"""The state machine of a job. Pure: statuses in, decisions out."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.pipelines import requests
from claraedge.pipelines.model import Pipeline
from claraedge.pipelines.registration import is_registration

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


def preparable(pipeline: Pipeline, statuses: Statuses, placed: Collection[str]) -> tuple[str, ...]:
    """The operators whose containers may be made before their turn.

    Pending, and each operator that they wait for is completed or `placed`: the folder that it
    writes is there. Not those that ask for a GPU or a share of one, which is not theirs yet, or
    that pass values in shared memory.
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
        and not requests.devices(operator)
        and not any(entry.in_memory for entry in (*operator.inputs, *operator.outputs))
        and not is_registration(operator)
    )


def verdict(statuses: Statuses, ending: JobStatus | None) -> JobStatus | None:
    """How a job ends of which no operator runs any more, or None where it goes on.

    `ending`: how it is to end, by what came first: an operator's failure, a cancel, a time-out, a
    disk that is full. A job whose last operator completed before that took effect is healthy: the
    truth goes before the wish.
    """
    if any(status is OperatorStatus.RUNNING for status in statuses.values()):
        return None
    if all(status is OperatorStatus.COMPLETED for status in statuses.values()):
        return JobStatus.HEALTHY
    return ending
