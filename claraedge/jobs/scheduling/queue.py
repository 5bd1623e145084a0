"""The queue of jobs that were started and wait for their first operator.

Only memory grows with the length of the queue: scheduling inspects the heads of the lanes. A lane
has the jobs of a class that may wait for the same resource: jobs that wait for a GPU, or for an
image that is being pulled, do not block jobs that need neither.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Generic, NamedTuple, TypeVar

from claraedge.jobs.model import Priority

T = TypeVar("T")

#: Jobs of each lane that are considered; so others may overtake a job that waits for memory.
WINDOW = 32
#: While this number of begun jobs of a lane wait, no other job of it begins, except an IMMEDIATE
#: one: each would leave its first results on the disk, wait as well, and be considered with every
#: choice.
CROWD = 64


class QueueLane(NamedTuple):
    """The resources that jobs of this lane may wait for."""

    gpus: int = 0
    """Number of GPUs that must exist."""
    served: bool = False
    """Whether they need services, or models in the inference server."""
    image: str = ""
    """The image that is being pulled for one of its operators; "": none."""
    values: bool = False
    """Whether they reserve shared memory for values."""
    deployment: str = ""
    """The deployment that they use and that is not up yet; "": none."""


#: The lane of a job that was not considered yet.
PLAIN = QueueLane()


@dataclass(slots=True)
class _Entry(Generic[T]):
    priority: Priority
    place: int
    """Position in the order of Start."""
    lane: QueueLane = PLAIN
    value: T | None = None


class JobQueue(Generic[T]):
    """Four priority classes, each in the order of Start; an entry may cache its decoded job."""

    def __init__(self) -> None:
        self._places = count()
        self._entries: dict[str, _Entry[T]] = {}
        # Sorted. Removing the first entry of a list of 10,000 moves 80 kB, which needs
        # microseconds.
        self._lanes: dict[Priority, dict[QueueLane, list[tuple[int, str]]]] = {
            p: {} for p in reversed(Priority)
        }

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, job: object) -> bool:
        return job in self._entries

    def push(self, job: str, priority: Priority) -> None:
        """Adds a job at the end of its class; does nothing if it is queued already."""
        if job not in self._entries:
            entry = self._entries[job] = _Entry[T](priority, next(self._places))
            self._lanes[priority].setdefault(PLAIN, []).append((entry.place, job))

    def remove(self, job: str) -> bool:
        """Removes a job. Returns False if it is not queued."""
        entry = self._entries.pop(job, None)
        if entry is None:
            return False
        self._leave(job, entry)
        return True

    def head(self) -> Iterable[str]:
        """Returns the first `WINDOW` jobs of each lane, the highest class first."""
        return [
            job
            for lanes in self._lanes.values()
            for lane in lanes.values()
            for _, job in lane[:WINDOW]
        ]

    def move(self, job: str, lane: QueueLane) -> bool:
        """Moves a job to a lane. Returns whether it is queued and was in another lane.

        It keeps its position in its class. Its decoded form is dropped if it is not at the head
        there.
        """
        entry = self._entries.get(job)
        if entry is None or entry.lane == lane:
            return False
        self._leave(job, entry)
        entry.lane = lane
        others = self._lanes[entry.priority].setdefault(lane, [])
        place = bisect_left(others, (entry.place, job))
        others.insert(place, (entry.place, job))
        if place >= WINDOW:
            entry.value = None
        return True

    def ahead(self, job: str) -> int | None:
        """Returns the number of jobs of its class before it; None if it is not queued."""
        entry = self._entries.get(job)
        if entry is None:
            return None
        lanes = self._lanes[entry.priority].values()
        return sum(bisect_left(lane, (entry.place, job)) for lane in lanes)

    def decoded(self, job: str) -> T | None:
        """Returns the decoded form that `remember` stored for a queued job, or None."""
        entry = self._entries.get(job)
        return None if entry is None else entry.value

    def remember(self, job: str, value: T) -> None:
        """Caches the decoded form of a queued job until it leaves the queue."""
        entry = self._entries.get(job)
        if entry is not None:
            entry.value = value

    def _leave(self, job: str, entry: _Entry[T]) -> None:
        lanes = self._lanes[entry.priority]
        lane = lanes[entry.lane]
        del lane[bisect_left(lane, (entry.place, job))]
        if not lane:
            del lanes[entry.lane]
