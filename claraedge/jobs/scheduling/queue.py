"""The jobs that were started and wait for their first operator.

Nothing here grows with the queue's length but memory: scheduling looks at the heads of the lanes. A
lane has the jobs of a class that may wait for the same: those that wait for a GPU, or for an image
that is being pulled, hold up nobody who needs neither.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Generic, NamedTuple, TypeVar

from claraedge.jobs.model import Priority

T = TypeVar("T")

#: So many jobs of each lane are looked at; behind a job that waits for memory others may overtake.
WINDOW = 32
#: While so many jobs of a lane wait that have begun, no other of it begins, but an IMMEDIATE one:
#: each would leave its first results on the disk, wait as well, and be looked at with every pick.
CROWD = 64


class Lane(NamedTuple):
    """What jobs may wait for that others do not need."""

    gpus: int = 0
    """So many have to be there: 0, or the most that one operator asks for."""
    served: bool = False
    """Services, or models in the inference server."""
    image: str = ""
    """The one of an operator that is being pulled now."""


#: Of a job that nobody looked at yet.
PLAIN = Lane()


@dataclass(slots=True)
class _Entry(Generic[T]):
    priority: Priority
    place: int
    """In the order of Start."""
    lane: Lane = PLAIN
    value: T | None = None


class JobQueue(Generic[T]):
    """Four classes, each in the order of Start; an entry may carry its decoded job."""

    def __init__(self) -> None:
        self._places = count()
        self._entries: dict[str, _Entry[T]] = {}
        # In order. Taking one out of the front of a list of 10,000 moves 80 kB: microseconds.
        self._lanes: dict[Priority, dict[Lane, list[tuple[int, str]]]] = {
            p: {} for p in reversed(Priority)
        }

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, job: object) -> bool:
        return job in self._entries

    def push(self, job: str, priority: Priority) -> None:
        """Adds a job at the end of its class; there already: nothing."""
        if job not in self._entries:
            entry = self._entries[job] = _Entry[T](priority, next(self._places))
            self._lanes[priority].setdefault(PLAIN, []).append((entry.place, job))

    def remove(self, job: str) -> bool:
        """Takes a job out; False where it is not queued."""
        entry = self._entries.pop(job, None)
        if entry is None:
            return False
        self._leave(job, entry)
        return True

    def head(self) -> Iterable[str]:
        """The first jobs of each lane, the highest class first."""
        return [
            job
            for lanes in self._lanes.values()
            for lane in lanes.values()
            for _, job in lane[:WINDOW]
        ]

    def move(self, job: str, lane: Lane) -> bool:
        """Puts a job where it belongs; whether it is queued and lay elsewhere.

        It keeps its place in its class. What `remember` left is dropped where it is far back there.
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
        """How many jobs of its class come before it; None where it is not queued."""
        entry = self._entries.get(job)
        if entry is None:
            return None
        lanes = self._lanes[entry.priority].values()
        return sum(bisect_left(lane, (entry.place, job)) for lane in lanes)

    def decoded(self, job: str) -> T | None:
        """What `remember` left for a queued job."""
        entry = self._entries.get(job)
        return None if entry is None else entry.value

    def remember(self, job: str, value: T) -> None:
        """Keeps a queued job's decoded form until it leaves the queue."""
        entry = self._entries.get(job)
        if entry is not None:
            entry.value = value

    def _leave(self, job: str, entry: _Entry[T]) -> None:
        lanes = self._lanes[entry.priority]
        lane = lanes[entry.lane]
        del lane[bisect_left(lane, (entry.place, job))]
        if not lane:
            del lanes[entry.lane]
