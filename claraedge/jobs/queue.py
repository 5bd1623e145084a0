"""The jobs that were started and wait for their first operator.

Nothing here grows with the queue's length but memory: scheduling looks at the head of each class.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import Generic, TypeVar

from claraedge.jobs.model import Priority

T = TypeVar("T")

#: So many jobs of each class are looked at; behind a job that waits for a GPU others may overtake.
WINDOW = 32
#: While so many jobs wait that have begun, as for a GPU, no other job begins, but an IMMEDIATE one:
#: each would leave its first results on the disk, wait as well, and be looked at with every pick.
CROWD = 64


class JobQueue(Generic[T]):
    """Four classes, each in the order of Start; an entry may carry its decoded job."""

    def __init__(self) -> None:
        # Not a dict: reading the first entries of one whose first entries were taken out passes
        # over the place of each of those.
        self._classes: dict[Priority, OrderedDict[str, T | None]] = {
            p: OrderedDict() for p in reversed(Priority)
        }
        self._class_of: dict[str, Priority] = {}

    def __len__(self) -> int:
        return len(self._class_of)

    def __contains__(self, job: object) -> bool:
        return job in self._class_of

    def push(self, job: str, priority: Priority) -> None:
        """Adds a job at the end of its class; there already: nothing."""
        if job not in self._class_of:
            self._class_of[job] = priority
            self._classes[priority][job] = None

    def remove(self, job: str) -> bool:
        """Takes a job out; False where it is not queued."""
        priority = self._class_of.pop(job, None)
        if priority is None:
            return False
        del self._classes[priority][job]
        return True

    def head(self) -> list[str]:
        """The first jobs of each class, the highest class first."""
        return [job for jobs in self._classes.values() for job in islice(jobs, WINDOW)]

    def ahead(self, job: str) -> int | None:
        """How many jobs of its class come before it; None where it is not queued. Counts them."""
        priority = self._class_of.get(job)
        if priority is None:
            return None
        return next(n for n, other in enumerate(self._classes[priority]) if other == job)

    def decoded(self, job: str) -> T | None:
        """What `remember` left for a queued job."""
        priority = self._class_of.get(job)
        return None if priority is None else self._classes[priority][job]

    def remember(self, job: str, value: T) -> None:
        """Keeps a queued job's decoded form until it leaves the queue."""
        priority = self._class_of.get(job)
        if priority is not None:
            self._classes[priority][job] = value
