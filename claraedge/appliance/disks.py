"""Measures the disks that work needs.

Other components read a value: `blocked_by` returns the reason why no new work may begin. The value
is at most as old as the time between two measurements.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from claraedge.appliance.watermarks import (
    DiskLimits,
    DiskReading,
    Level,
    lacking,
    level,
    room_again,
    shortage,
    worst,
)
from claraedge.blocking import in_thread
from claraedge.errors import ClaraedgeError

#: Returns (free, total) bytes of a disk. Raises OSError or ClaraedgeError if it cannot be measured.
Measure: TypeAlias = Callable[[], Awaitable[tuple[int, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A location on a disk that work needs."""

    area: str
    """The word for programs: `state`, `inbox` or `podman`."""
    name: str
    """The name for messages, with its path if it has one."""
    measure: Measure
    jobs_write: bool = True
    """Whether jobs write there, so that ending a job may free space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of a disk for `claraedge status`, in bytes."""

    area: str
    name: str
    free: int
    total: int
    soft: int
    hard: int
    level: Level


def measured(path: Path) -> Measure:
    """Returns a function that measures the disk of a folder: the space that this user may fill."""

    def read() -> tuple[int, int]:
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    async def measure() -> tuple[int, int]:
        return await in_thread(read)

    return measure


class Disks:
    """The free space of the disks, as of the last `measure`."""

    def __init__(self, state: Store, others: Sequence[Store], limits: DiskLimits) -> None:
        """`state` is the store on whose disk files can be removed to free space."""
        self._state = state
        self._stores = (state, *others)
        self._limits = limits
        self._readings: dict[str, DiskReading] = {}
        self._levels: dict[str, Level] = {}

    async def measure(self) -> None:
        """Measures all disks; for a disk that cannot be measured now, the last reading counts."""
        for store in self._stores:
            with contextlib.suppress(OSError, ClaraedgeError):
                free, total = await store.measure()
                reading = DiskReading(name=store.name, free=free, total=total)
                self._readings[store.name] = reading
                self._levels[store.name] = level(
                    self._levels.get(store.name, Level.ROOM), reading, self._limits
                )

    @property
    def level(self) -> Level:
        """The worst level of all disks."""
        return worst(self._levels.values())

    @property
    def jobs_need_space(self) -> bool:
        """Whether a disk that jobs write to is below the hard limit."""
        return any(
            self._levels.get(store.name) is Level.OUT for store in self._stores if store.jobs_write
        )

    @property
    def lacking(self) -> int:
        """Bytes to remove until the disk of the state has room again; 0 if it is not low."""
        if self._levels.get(self._state.name, Level.ROOM) is Level.ROOM:
            return 0
        return lacking(self._readings[self._state.name], self._limits)

    @property
    def margin(self) -> int:
        """Bytes that may be written before a disk is low; 0: one is, or is not measured yet."""
        if len(self._readings) < len(self._stores):
            return 0
        margins = (one.free - self._limits.soft_of(one.total) for one in self._readings.values())
        return max(0, min(margins))

    def has_room_for(self, size: int) -> bool:
        """Returns whether the disk of the state has room again even with `size` bytes more."""
        reading = self._readings.get(self._state.name)
        if reading is None:
            return False
        return reading.free >= room_again(self._limits.soft_of(reading.total), reading.total) + size

    def blocked_by(self) -> str | None:
        """Returns the reason why no new work may begin; None if it may."""
        return None if self.level is Level.ROOM else f"disk: {self.shortage()}"

    def shortage(self, limit: Level = Level.LOW) -> str:
        """Describes the fullest disk: its free space, and the free space that new work needs.

        With OUT: the free space above which no job is evicted.
        """
        low = next(name for name, one in self._levels.items() if one is self.level)
        return shortage(self._readings[low], limit, self._limits)

    def figures(self) -> Sequence[Figures]:
        """Returns the figures of the disks."""
        return [
            Figures(
                area=store.area,
                name=store.name,
                free=reading.free,
                total=reading.total,
                soft=self._limits.soft_of(reading.total),
                hard=self._limits.hard_of(reading.total),
                level=self._levels[store.name],
            )
            for store in self._stores
            if (reading := self._readings.get(store.name)) is not None
        ]
