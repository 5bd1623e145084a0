"""Which operators others pass by, and for which one everything is kept at last. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from claraedge.jobs.model import Priority
from claraedge.jobs.scheduling.admission import obstacle
from claraedge.jobs.scheduling.budget import Candidate, Capacity, Held
from claraedge.jobs.scheduling.gpu_leases import OWN_TURN, absent

#: What cannot start is overtaken for so many seconds; then what it waits for is kept for it.
OVERTAKEN = 60.0

#: (job, operator)
Who: TypeAlias = tuple[str, str]


def overtaken(
    candidates: Iterable[Candidate], capacity: Capacity, held: Held
) -> Sequence[Candidate]:
    """Of each class, and of the jobs that run already, the first that something else holds up, so
    that later ones pass it.
    """
    found: dict[Priority | None, Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: c.position):
        group = candidate.priority if candidate.queued else None
        if group in found or (not candidate.queued and not candidate.job_runs):
            continue
        waits_for = obstacle(candidate, capacity, held)
        if waits_for in (None, OWN_TURN) or absent(candidate, capacity) is not None:
            continue
        found[group] = candidate
    return tuple(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaking:
    """What was passed by since when, and for whom everything is kept now."""

    since: Mapping[Who, float] = field(default_factory=dict)
    reserved: Who | None = None
    """It keeps this until it starts."""

    def after(
        self,
        blocked: Iterable[Who],
        waiting: Container[Who],
        now: float,
        patience: float = OVERTAKEN,
    ) -> Overtaking:
        """What follows from what `overtaken` found; `waiting`: all that wait still."""
        reserved = self.reserved if self.reserved in waiting else None
        since = {who: self.since.get(who, now) for who in blocked}
        if reserved is None:
            old = [who for who, start in since.items() if now - start >= patience]
            reserved = min(old, key=since.__getitem__, default=None)
        return Overtaking(since=since, reserved=reserved)
