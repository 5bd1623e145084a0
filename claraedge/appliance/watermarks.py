"""How full a disk may be. Pure: a decision over figures.

Below the soft limit the device takes on nothing new; below the hard limit it gives up what runs.
A disk that was below a limit is over it again only some way above, so that work does not start and
stop with every file.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30
#: The way above a limit: this part of the disk, and at most this part of the limit. The second
#: counts on big disks, whose limits are small parts of them.
_HYSTERESIS = 0.02
_HYSTERESIS_OF_LIMIT = 0.1
#: The hard limit is at most this part of the soft one, so that a small disk has both.
_HARD_OF_SOFT = 0.5


class Level(enum.IntEnum):
    """How a disk is."""

    ROOM = 0
    LOW = 1
    """Below the soft limit."""
    OUT = 2
    """Below the hard limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a disk is low: free below the smaller of a share and a figure. Figures in bytes."""

    soft_share: float = 0.2
    soft: int = 10 * GIB
    hard: int = GIB

    def soft_of(self, total: int) -> int:
        """The soft limit of a disk of so many bytes."""
        return min(int(total * self.soft_share), self.soft)

    def hard_of(self, total: int) -> int:
        """The hard limit of a disk of so many bytes: below the soft one, however small it is."""
        return min(self.hard, int(self.soft_of(total) * _HARD_OF_SOFT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at a disk, in bytes."""

    name: str
    """What lies there, in words."""
    free: int
    """What this user can still write."""
    total: int


def room_again(limit: int, total: int) -> int:
    """What must be free so that a disk that was below the limit is over it."""
    return limit + int(min(total * _HYSTERESIS, limit * _HYSTERESIS_OF_LIMIT))


def level(before: Level, now: Reading, limits: Limits) -> Level:
    """How a disk is now that was `before` at the last look."""
    for one, limit in (
        (Level.OUT, limits.hard_of(now.total)),
        (Level.LOW, limits.soft_of(now.total)),
    ):
        wanted = room_again(limit, now.total) if before >= one else limit
        if now.free < wanted:
            return one
    return Level.ROOM


def lacking(now: Reading, limits: Limits) -> int:
    """Bytes to remove until the disk has room again; 0: it has."""
    return max(0, room_again(limits.soft_of(now.total), now.total) - now.free)


def told(now: Reading, wanted: Level, limits: Limits) -> str:
    """How full a disk is, and what must be free to be over one of its limits, in words."""
    limit = limits.hard_of(now.total) if wanted is Level.OUT else limits.soft_of(now.total)
    return (
        f"the disk of {now.name} has {amount(now.free)} of {amount(now.total)} free,"
        f" but {amount(room_again(limit, now.total))} must be free"
    )


def amount(size: int) -> str:
    """Bytes for people, in binary units."""
    if size < GIB:
        return f"{size / MIB:.0f} MiB"
    return f"{size / GIB:.1f} GiB"


def worst(levels: Iterable[Level]) -> Level:
    """The level of a device with disks of these."""
    return max(levels, default=Level.ROOM)
