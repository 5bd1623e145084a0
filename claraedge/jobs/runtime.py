"""How long the operators of a job ran together: what its time-out is counted by. Pure.

It counts from the first start on, and stands still while no operator of the job runs, as in a queue
for the GPU or between an interruption and the next try. Times are seconds of BOOTTIME.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from claraedge.clock import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTime:
    """What was counted, and since when it counts on."""

    counted: float = 0.0
    since: float | None = None
    """None: no operator of the job runs."""

    def begun(self, now: float) -> RunTime:
        """An operator began to run."""
        return self if self.since is not None else replace(self, since=now)

    def ended(self, now: float, *, others: bool) -> RunTime:
        """An operator's run is over; `others`: another one of the job runs on."""
        return RunTime(counted=self.elapsed(now), since=now if others else None)

    def elapsed(self, now: float) -> float:
        """Seconds so far."""
        return self.counted + (max(0.0, now - self.since) if self.since is not None else 0.0)


def ran_until(at: Moment, ended: float, began: float) -> float:
    """BOOTTIME of an end at this Unix time, after a start at `began`; clocks may have been set."""
    return min(at.elapsed, max(began, at.elapsed - max(0.0, at.now - ended)))
