"""When entries are inspected again."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from claraedge.inbox.candidates.entry import Waiting


class Schedule:
    """Entries in the order of their next inspection."""

    def __init__(self, wanted: Callable[[Waiting], bool]) -> None:
        """`wanted`: whether another inspection of an entry can change something."""
        self._wanted = wanted
        self._due: list[tuple[float, int, Waiting]] = []
        self._count = 0

    def put(self, entry: Waiting, due: float) -> None:
        """Plans the inspection for `due` (s of the clock's `elapsed`); replaces earlier plans."""
        entry.due = due
        self._count += 1
        heapq.heappush(self._due, (due, self._count, entry))

    def next(self) -> float | None:
        """Returns the time (s) of the next wanted inspection, by the clock's `elapsed`, or None."""
        while self._due and not self._holds(*self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def pop(self, now: float, most: int) -> Sequence[Waiting]:
        """Returns up to `most` entries whose inspection is due, and removes them from the plan."""
        found: dict[int, Waiting] = {}
        while self._due and self._due[0][0] <= now and len(found) < most:
            place = heapq.heappop(self._due)
            if self._holds(*place):
                found[id(place[2])] = place[2]
        return list(found.values())

    def _holds(self, due: float, _: int, entry: Waiting) -> bool:
        return entry.due == due and self._wanted(entry)
