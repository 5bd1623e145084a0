"""Explains to users what jobs and their operators wait for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claraedge.jobs.engine.active import ActiveJob
from claraedge.jobs.model import Job, JobState, OperatorStatus
from claraedge.pipelines.model import decode

#: Stands for an operator where the job as a whole waits.
WHOLE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A reason why a job or an operator does not continue."""

    operator: str
    """Name of the operator; `WHOLE`: the job."""
    text: str
    """What it waits for."""
    upstream: tuple[str, ...] = ()
    """The operators that it waits for; empty if it waits for something else."""


def explained(job: Job, found: Mapping[str, str]) -> Sequence[Wait]:
    """Returns all that a job waits for: first the whole job, then operators in definition order.

    `found`: the reasons that the engine reports. Waits for operators of the same job are added
    here.
    """
    if job.state is JobState.STOPPED:
        return ()
    if not job.was_started or job.snapshot is None:
        return (Wait(operator=WHOLE, text=f"its start (`claraedge start job {job.id}`)"),)
    waits = [Wait(operator=WHOLE, text=found[WHOLE])] if WHOLE in found else []
    ending = job.ending is not None or job.cancel_reason is not None
    statuses = {record.name: record.status for record in job.operators}
    if not ending and OperatorStatus.FAULTED not in statuses.values():
        for operator in decode(job.snapshot).operators:
            if statuses[operator.name] is not OperatorStatus.PENDING:
                continue
            before = tuple(
                name for name in operator.upstream if statuses[name] is not OperatorStatus.COMPLETED
            )
            if operator.name in found and not before:
                waits.append(Wait(operator=operator.name, text=found[operator.name]))
            elif before:
                waits.append(Wait(operator=operator.name, text=_after(before), upstream=before))
    return tuple(waits)


def delayed(active: ActiveJob) -> Mapping[str, str]:
    """Returns the waits of operators that failed and are retried later."""
    now, wall = active.clock.elapsed(), active.clock.now()
    return {
        name: f"its next attempt; it is run again at {_time(wall + due - now)}"
        for name, due in active.delays.items()
        if due > now and name not in active.running
    }


def pulling(active: ActiveJob) -> Mapping[str, str]:
    """Returns the waits of operators whose images are being pulled."""
    return {
        name: f"the image {active.reference(name)}, which is being pulled"
        for name in active.fetching
    }


def _after(names: Sequence[str]) -> str:
    *first, last = names
    if not first:
        return f"the operator {last}"
    return f"the operators {', '.join(first)} and {last}"


def _time(seconds: float) -> str:
    """Returns the local time of day for Unix seconds."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))
