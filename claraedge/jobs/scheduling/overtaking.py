"""Starvation guard: which operators are overtaken, and which one gets a reservation. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from claraedge.jobs.model import Priority
from claraedge.jobs.scheduling.admission import obstacle
from claraedge.jobs.scheduling.budget import Candidate, Capacity, Usage, value_obstacle
from claraedge.jobs.scheduling.gpu_leases import (
    OWN_TURN,
    absent,
    kept_by_deployments,
    services_obstacle,
)

#: Seconds for which a waiting operator may be overtaken; then its resources are reserved for it.
OVERTAKEN = 60.0

#: (job, operator)
Who: TypeAlias = tuple[str, str]


def overtaken(
    candidates: Iterable[Candidate], capacity: Capacity, usage: Usage
) -> Sequence[Candidate]:
    """Returns, of each class and of running jobs, the first operator that others may overtake."""
    found: dict[Priority | None, Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: c.position):
        group = candidate.priority if candidate.queued else None
        if group in found or (not candidate.queued and not candidate.job_runs):
            continue
        waits_for = obstacle(candidate, capacity, usage)
        if waits_for in (None, OWN_TURN) or absent(candidate, capacity) is not None:
            continue
        if not may_reserve(candidate, capacity, usage):
            continue
        found[group] = candidate
    return tuple(found.values())


def may_reserve(candidate: Candidate, capacity: Capacity, usage: Usage) -> bool:
    """Returns whether a reservation helps a candidate.

    None does where it waits for shared memory or a GPU that other jobs have until they end, or for
    what deployments have: it would only keep its other resources from all others meanwhile.
    """
    return (
        services_obstacle(candidate, capacity, usage) is None
        and value_obstacle(candidate, usage) is None
        and not kept_by_deployments(candidate, capacity, usage)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaking:
    """Since when operators are overtaken, and which one has the reservation."""

    since: Mapping[Who, float] = field(default_factory=dict)
    """(job, operator) -> BOOTTIME (seconds) since which it is overtaken."""
    reserved: Who | None = None
    """Keeps the reservation until it starts; None: there is no reservation."""

    def after(
        self,
        blocked: Iterable[Who],
        waiting: Container[Who],
        now: float,
        patience: float = OVERTAKEN,
    ) -> Overtaking:
        """Returns the next state.

        `blocked`: what `overtaken` found; `waiting`: all that still wait; `now` and `patience`:
        seconds.
        """
        reserved = self.reserved if self.reserved in waiting else None
        since = {who: self.since.get(who, now) for who in blocked}
        if reserved is None:
            old = [who for who, start in since.items() if now - start >= patience]
            reserved = min(old, key=since.__getitem__, default=None)
        return Overtaking(since=since, reserved=reserved)
