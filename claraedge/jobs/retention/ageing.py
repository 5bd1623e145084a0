"""Decides which jobs have waited too long for their start. Pure.

Age depends on clocks, and the clock of a device may be wrong by years and then jump. So a job is
removed if this daemon itself has seen it wait for that time, by a clock that never jumps; or if its
row says so and the wall clock has been steady for an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from claraedge.jobs.model import Unstarted

#: Seconds by which the wall clock may move against BOOTTIME, and for which it must then be steady.
JUMP = 3600.0
STEADY = 3600.0
#: Seconds by which the wall clock may be behind the newest row: small corrections are usual.
BEHIND = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """Both clocks at one moment, in seconds."""

    wall: float
    """Seconds since 1970-01-01 UTC; may jump."""
    boot: float
    """Seconds of CLOCK_BOOTTIME; never jumps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whether the wall clock can be trusted."""

    last: ClockReading
    since: float
    """`ClockReading.boot` (seconds) when it was last wrong, or first read."""
    why: str = ""
    """What was wrong with it; empty: nothing."""

    @property
    def steady(self) -> bool:
        """Whether the wall clock has been right for `STEADY` seconds."""
        return self.last.boot - self.since >= STEADY


def assess(before: Trust | None, now: ClockReading, newest_row: float | None) -> Trust:
    """Returns the trust after a reading; `newest_row`: Unix time of the newest record."""
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
    """Returns the jobs that have waited `limit` seconds.

    `seen`: id -> `ClockReading.boot` when the job was first seen.
    """
    return [
        job
        for job in jobs
        if trust.last.boot - seen[job.id] >= limit
        or (trust.steady and trust.last.wall - job.created >= limit)
    ]
