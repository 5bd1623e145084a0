"""Decides from figures how full a disk may be. Pure.

When free space is below the soft limit, the device accepts no new work; below the hard limit it
also evicts running jobs. A disk that was below a limit counts as above it again only some way above
the limit (hysteresis), so that work does not start and stop with every file.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30
#: Hysteresis above a limit: this part of the disk, and at most this part of the limit. The second
#: one applies on big disks, whose limits are small parts of the disk.
_HYSTERESIS = 0.02
_HYSTERESIS_OF_LIMIT = 0.1
#: The hard limit is at most this part of the soft one, so that a small disk has both.
_HARD_OF_SOFT = 0.5


class Level(enum.IntEnum):
    """The level of free space on a disk."""

    ROOM = 0
    LOW = 1
    """Below the soft limit."""
    OUT = 2
    """Below the hard limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskLimits:
    """The limits of free space, in bytes; the soft one is also bounded by a share of the disk."""

    soft_share: float = 0.2
    """Part of the disk, from 0 to 1."""
    soft: int = 10 * GIB
    hard: int = GIB

    def soft_of(self, total: int) -> int:
        """Returns the soft limit of a disk of `total` bytes."""
        return min(int(total * self.soft_share), self.soft)

    def hard_of(self, total: int) -> int:
        """Returns the hard limit of a disk of `total` bytes: below the soft one on any disk."""
        return min(self.hard, int(self.soft_of(total) * _HARD_OF_SOFT))


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskReading:
    """One measurement of a disk, in bytes."""

    name: str
    """What the disk stores, for messages."""
    free: int
    """Bytes that this user can still write."""
    total: int


def room_again(limit: int, total: int) -> int:
    """Returns the bytes that must be free for a disk below the limit to count as above it again."""
    return limit + int(min(total * _HYSTERESIS, limit * _HYSTERESIS_OF_LIMIT))


def level(before: Level, now: DiskReading, limits: DiskLimits) -> Level:
    """Returns the level of a disk whose level at the last check was `before`."""
    for one, limit in (
        (Level.OUT, limits.hard_of(now.total)),
        (Level.LOW, limits.soft_of(now.total)),
    ):
        wanted = room_again(limit, now.total) if before >= one else limit
        if now.free < wanted:
            return one
    return Level.ROOM


def lacking(now: DiskReading, limits: DiskLimits) -> int:
    """Returns the bytes to remove until the disk has room again; 0 if it has room."""
    return max(0, room_again(limits.soft_of(now.total), now.total) - now.free)


def shortage(now: DiskReading, wanted: Level, limits: DiskLimits) -> str:
    """Describes the free space of a disk, and how much must be free to be above a limit."""
    limit = limits.hard_of(now.total) if wanted is Level.OUT else limits.soft_of(now.total)
    return (
        f"the disk of {now.name} has {amount(now.free)} of {amount(now.total)} free,"
        f" but {amount(room_again(limit, now.total))} must be free"
    )


def amount(size: int) -> str:
    """Formats bytes for people, in binary units."""
    if size < GIB:
        return f"{size / MIB:.0f} MiB"
    return f"{size / GIB:.1f} GiB"


def worst(levels: Iterable[Level]) -> Level:
    """Returns the worst level of several disks, which is the level of the device."""
    return max(levels, default=Level.ROOM)
