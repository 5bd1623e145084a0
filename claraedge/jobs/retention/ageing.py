"""Which jobs have waited too long for their start. Pure: a decision over values.

Age is a matter of clocks, and a device's clock may be wrong for years and then jump. So a job goes
where this daemon itself has seen it wait for so long, by a clock that never jumps; or where its row
says so and the wall clock has been steady for an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from claraedge.jobs.model import Unstarted

#: Seconds that the wall clock may move against the other one, and that it must then be steady.
JUMP = 3600.0
STEADY = 3600.0
#: Seconds that the wall clock may be behind the newest row: small corrections are usual.
BEHIND = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Both clocks at one moment, in seconds."""

    wall: float
    """Since 1970-01-01 UTC; may jump."""
    boot: float
    """CLOCK_BOOTTIME; never jumps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How far the wall clock can be trusted."""

    last: Reading
    since: float
    """When it was last wrong or first looked at, by `Reading.boot`."""
    why: str = ""
    """What was wrong with it; empty: nothing was."""

    @property
    def steady(self) -> bool:
        return self.last.boot - self.since >= STEADY


def look(before: Trust | None, now: Reading, newest_row: float | None) -> Trust:
    """What a look at the clocks tells; `newest_row` is the time of what was recorded last."""
    if before is None:
        before = Trust(last=now, since=now.boot)
    jump = (now.wall - before.last.wall) - (now.boot - before.last.boot)
    if abs(jump) > JUMP:
        why = f"it jumped by {jump:+.0f} s"
    elif newest_row is not None and now.wall < newest_row - BEHIND:
        why = f"it is {newest_row - now.wall:.0f} s behind the newest record"
    else:
        seen = replace(before, last=now)
        return replace(seen, why="") if seen.steady else seen
    return Trust(last=now, since=now.boot, why=why)


def expired(
    jobs: Iterable[Unstarted], seen: Mapping[str, float], trust: Trust, limit: float
) -> list[Unstarted]:
    """Those that have waited `limit` seconds; `seen`: id -> `Reading.boot` of the first look."""
    return [
        job
        for job in jobs
        if trust.last.boot - seen[job.id] >= limit
        or (trust.steady and trust.last.wall - job.created >= limit)
    ]
