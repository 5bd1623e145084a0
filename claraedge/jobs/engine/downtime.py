"""Corrects run times for downtime: time after a container's end counts towards no time-out.

The downtime of the daemon, or an outage of Podman, in which nobody noticed the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from claraedge.clock import moment
from claraedge.jobs import records
from claraedge.jobs.engine.active import ActiveJob
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.runtime import ran_until
from claraedge.runner.protocol import (
    LABEL_ATTEMPT,
    LABEL_JOB,
    LABEL_OPERATOR,
    Container,
    Phase,
)


async def settle(machine: Machine, jobs: Iterable[ActiveJob], found: Sequence[Container]) -> None:
    """Ends the run time of jobs without a running container at the end of their last container.

    `found`: the containers of all operators.
    """
    at = moment(machine.clock)
    labels = (LABEL_JOB, LABEL_OPERATOR, LABEL_ATTEMPT)
    known = {tuple(c.labels.get(label) for label in labels): c for c in found}
    for active in jobs:
        since = active.run_time.since
        own = [known.get((active.job.id, r.name, str(r.attempt))) for r in active.unattended()]
        if since is None or any(c is not None and c.phase is Phase.RUNNING for c in own):
            continue
        # Nothing records the end of a container that no longer exists; its output is lost as well.
        ends = [ran_until(at, c.ended, since) for c in own if c is not None and c.ended is not None]
        until = max(ends, default=since)
        await machine.database.write(partial(records.pause, job=active.job.id, elapsed=until))
        active.run_time = active.run_time.ended(until, others=False)
