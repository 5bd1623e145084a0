"""Fair turns among the priority classes of waiting jobs. Pure.

HIGHER, NORMAL and LOWER jobs are taken in the proportion 4 : 2 : 1 while all of them wait (Clara
0.8.1: classes differ in how often they are picked). This is start-time fair queueing: each class
has a tag that grows by its stride with every job taken, and the class with the smallest tag is
next. A class without waiting jobs accumulates no credit. IMMEDIATE is exempt: it is always first.

The guarantee: while all three wait, each run of nine jobs taken contains one of LOWER, each of five
one of NORMAL, and each of three one of HIGHER.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from claraedge.jobs.model import Priority

#: The stride of each class: the inverse of its weight.
STRIDES: Mapping[Priority, int] = MappingProxyType(
    {Priority.HIGHER: 1, Priority.NORMAL: 2, Priority.LOWER: 4}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """The tag of each class."""

    tags: Mapping[Priority, int] = field(default_factory=dict)
    now: int = 0
    """The tag of the job that was taken last."""

    def order(self, waiting: Collection[Priority]) -> Sequence[Priority]:
        """Returns the waiting classes, the next one first."""
        return sorted(waiting, key=lambda c: (c is not Priority.IMMEDIATE, self._tag(c), -c))

    def taken(self, priority: Priority) -> Turns:
        """Returns the state after a job of this class was taken."""
        stride = STRIDES.get(priority)
        if stride is None:
            return self
        start = self._tag(priority)
        return Turns(tags={**self.tags, priority: start + stride}, now=start)

    def _tag(self, priority: Priority) -> int:
        return max(self.tags.get(priority, 0), self.now)
