"""What jobs and their operators wait for, in words for their users."""

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
    """Something that does not go on by now."""

    operator: str
    """`WHOLE`: the job."""
    text: str
    """What for."""
    upstream: tuple[str, ...] = ()
    """The operators that it waits for; empty where it waits for something else."""


def explained(job: Job, found: Mapping[str, str]) -> Sequence[Wait]:
    """All that a job waits for: the whole of it first, then operators as the definition has them.

    `found`: what the engine says. Operators before others of the same job are seen here.
    """
    if job.state is JobState.STOPPED:
        return ()
    if not job.was_started or job.snapshot is None:
        return (Wait(operator=WHOLE, text=f"its start (`claraedge start job -j {job.id}`)"),)
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
    """Operators that failed and are run again later."""
    now, wall = active.clock.elapsed(), active.clock.now()
    return {
        name: f"its next attempt; it is run again at {_time(wall + due - now)}"
        for name, due in active.delays.items()
        if due > now and name not in active.running
    }


def pulling(active: ActiveJob) -> Mapping[str, str]:
    """Operators whose images are on their way."""
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
    """Of Unix seconds: the time of day where the daemon is."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))
