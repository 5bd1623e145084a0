"""The run time of a job: how long its operators ran, which counts towards its time-out. Pure.

It counts from the first start, and pauses while no operator of the job runs, as in a queue for the
GPU, or between an interruption and the next attempt. Times are seconds of BOOTTIME.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from claraedge.clock import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTime:
    """Seconds counted so far, and the time since which it is counting."""

    counted: float = 0.0
    """Seconds counted before `since`."""
    since: float | None = None
    """BOOTTIME at which counting began; None: no operator of the job runs."""

    def begun(self, now: float) -> RunTime:
        """Returns the run time after an operator started at `now`."""
        return self if self.since is not None else replace(self, since=now)

    def ended(self, now: float, *, others: bool) -> RunTime:
        """Returns the run time after an operator ended at `now`; `others`: another one runs."""
        return RunTime(counted=self.elapsed(now), since=now if others else None)

    def elapsed(self, now: float) -> float:
        """Returns the counted seconds until `now`."""
        return self.counted + (max(0.0, now - self.since) if self.since is not None else 0.0)


def ran_until(at: Moment, ended: float, began: float) -> float:
    """Converts an end in Unix seconds to BOOTTIME; not before `began`, as clocks may be set."""
    return min(at.elapsed, max(began, at.elapsed - max(0.0, at.now - ended)))
