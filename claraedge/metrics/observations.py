"""Counts what happens while the daemon runs, in memory. They begin at 0 with each start."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from claraedge.jobs.model import JobStatus
from claraedge.jobs.observing import AttemptResult

#: Values of labels, in the order of their names.
Labels: TypeAlias = tuple[str, ...]

#: Upper bounds in seconds. Work of jobs lasts from a tenth of a second to hours.
WORK_BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)
CALL_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A histogram at one moment."""

    counts: Sequence[int]
    """How many values were at most each bound, and greater than the one before; the last: all
    greater ones.
    """
    total: float
    """The sum of all values, in seconds."""


class Durations:
    """Histograms of seconds, one for each combination of labels."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: upper bounds in seconds, ascending."""
        self.bounds = bounds
        self._counts: dict[Labels, list[int]] = {}
        self._totals: dict[Labels, float] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self.bounds) + 1)
        counts[bisect_left(self.bounds, seconds)] += 1
        self._totals[labels] = self._totals.get(labels, 0.0) + seconds

    def values(self) -> Mapping[Labels, Distribution]:
        """Returns a copy of all histograms."""
        return {
            labels: Distribution(counts=tuple(counts), total=self._totals[labels])
            for labels, counts in self._counts.items()
        }


class Observations:
    """Counts calls, jobs and attempts; a `JobObserver`. Use it only on the event loop."""

    def __init__(self) -> None:
        self.calls: Counter[Labels] = Counter()
        """(service, method, code) -> calls that have ended."""
        self.call_seconds = Durations(CALL_BOUNDS)
        """By service and method."""
        self.queued = 0
        self.stopped: Counter[Labels] = Counter({(s.name.lower(),): 0 for s in JobStatus})
        """(status) -> jobs."""
        self.waits = Durations(WORK_BOUNDS)
        self.attempts: Counter[Labels] = Counter({(r.value,): 0 for r in AttemptResult})
        """(result) -> attempts of operators."""
        self.attempt_seconds = Durations(WORK_BOUNDS)
        """By result."""

    def call_ended(self, service: str, method: str, code: str, seconds: float) -> None:
        """Counts a call that lasted `seconds`. Its names are those of descriptors, or `unknown`."""
        self.calls[service, method, code] += 1
        self.call_seconds.observe(seconds, service, method)

    def job_queued(self) -> None:
        self.queued += 1

    def job_began(self, waited: float) -> None:
        self.waits.observe(waited)

    def job_stopped(self, status: JobStatus) -> None:
        self.stopped[status.name.lower(),] += 1

    def attempt_ended(self, result: AttemptResult, seconds: float | None) -> None:
        self.attempts[result.value,] += 1
        if seconds is not None:
            self.attempt_seconds.observe(seconds, result.value)
