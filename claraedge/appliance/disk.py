"""Watches the disks that work needs, and frees space on them while there is too little.

Other components read a value: `blocked_by` returns the reason why no new work may begin. The value
is at most as old as the time between two checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from claraedge.appliance.ballast import Ballast
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
from claraedge.bugs import known
from claraedge.clock import Clock
from claraedge.errors import ClaraedgeError

_log = logging.getLogger(__name__)

#: Seconds between checks, while there is room and while there is not.
_PAUSE, _PAUSE_LOW = 2.0, 0.5
#: Seconds between attempts to free space below the soft limit, and to create the ballast again
#: after a failure.
_RELIEF, _BALLAST = 5.0, 60.0

#: Returns (free, total) bytes of a disk. Raises OSError or ClaraedgeError if it cannot be measured.
Measure: TypeAlias = Callable[[], Awaitable[tuple[int, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A location on a disk that work needs."""

    name: str
    """The name for messages, with its path if it has one."""
    measure: Measure
    jobs_write: bool = True
    """Whether jobs write there, so that ending a job may free space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The figures of a disk for `claraedge status`, in bytes."""

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


async def _nothing(_: int) -> int:
    return 0


async def _nobody(_: str) -> None:
    return


class DiskGuard:
    """Checks the disks while `run` runs; `prepare` checks them once, before work begins."""

    def __init__(
        self,
        state: Store,
        others: Sequence[Store],
        limits: DiskLimits,
        ballast: Ballast,
        clock: Clock,
    ) -> None:
        """`state` is the store on whose disk `reclaim` and the ballast free space."""
        self.reclaim: Callable[[int], Awaitable[int]] = _nothing
        """Removes data that has expired, then the oldest data, until the given number of bytes is
        freed on the disk of the state; returns the number of bytes freed."""
        self.evict: Callable[[str], Awaitable[None]] = _nobody
        """Ends a running job for the given reason, unless one is already ending for it."""
        self.on_room: Callable[[], None] = lambda: None
        """Called when there is room again: waiting work may continue."""
        self._state = state
        self._stores = (state, *others)
        self._limits = limits
        self._ballast = ballast
        self._clock = clock
        self._readings: dict[str, DiskReading] = {}
        self._levels: dict[str, Level] = {}
        self._next_relief = 0.0
        self._next_ballast = 0.0
        self._in_vain = False
        self._trouble = ""

    # --- values for other components ------------------------------------------------------------

    @property
    def level(self) -> Level:
        """The worst level of all disks at the last check."""
        return worst(self._levels.values())

    def blocked_by(self) -> str | None:
        """Returns the reason why no new work may begin; None if it may."""
        return None if self.level is Level.ROOM else f"disk: {self._shortage()}"

    def warnings(self) -> Sequence[str]:
        """Returns the warnings about low disks for `claraedge status`."""
        if self.level is Level.ROOM:
            return []
        text = f"{self._shortage()}: until then nothing new is taken, started or uploaded"
        if self._evicts():
            text += ", and running jobs are evicted one after the other"
        if self._in_vain:
            text += (
                "; claraedge has nothing more that it may remove: delete results that were fetched"
                " from the outbox, and images that nobody needs (`claraedge list images`,"
                " `claraedge delete images NAME`)"
            )
        return [text]

    def figures(self) -> Sequence[Figures]:
        """Returns the figures of the disks at the last check."""
        return [
            Figures(
                name=name,
                free=reading.free,
                total=reading.total,
                soft=self._limits.soft_of(reading.total),
                hard=self._limits.hard_of(reading.total),
                level=self._levels[name],
            )
            for name, reading in self._readings.items()
        ]

    # --- life cycle -----------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Runs the first check; from then on the values are available."""
        await self._measure()
        await self._keep_ballast()

    async def run(self) -> None:
        """Checks the disks until cancelled. A failed check is logged and repeated."""
        while True:
            try:
                await self.check()
            except Exception as error:  # noqa: BLE001 - it fails alone
                why = str(known(error, "the check of the disks"))
                if why != self._trouble:
                    self._trouble = why
                    _log.warning("no room can be made now: %s", why)
            else:
                self._trouble = ""
            await asyncio.sleep(_PAUSE if self.level is Level.ROOM else _PAUSE_LOW)

    async def check(self) -> None:
        """Checks the disks once and frees space, evicts a job or creates the ballast as needed."""
        await self._measure()
        now = self._clock.elapsed()
        try:
            if self.level is not Level.ROOM and (now >= self._next_relief or self._evicts()):
                self._next_relief = now + _RELIEF
                await self._relieve()
        finally:  # even if the removal of old files failed
            if self._evicts():
                await self.evict(self._shortage(Level.OUT))
        await self._keep_ballast()

    async def _relieve(self) -> None:
        missing = lacking(self._readings[self._state.name], self._limits) if self._low() else 0
        removed = await self.reclaim(missing)
        self._in_vain = missing > 0 and removed == 0
        if removed:
            await self._measure()

    def _low(self) -> bool:
        """Returns whether the disk of the state is low, so that removing files there helps."""
        return self._levels.get(self._state.name, Level.ROOM) is not Level.ROOM

    def _evicts(self) -> bool:
        return any(
            self._levels.get(store.name) is Level.OUT for store in self._stores if store.jobs_write
        )

    async def _measure(self) -> None:
        before = self.level
        for store in self._stores:
            # For a disk that cannot be measured now, the last reading counts.
            with contextlib.suppress(OSError, ClaraedgeError):
                free, total = await store.measure()
                reading = DiskReading(name=store.name, free=free, total=total)
                self._readings[store.name] = reading
                self._levels[store.name] = level(
                    self._levels.get(store.name, Level.ROOM), reading, self._limits
                )
        after = self.level
        if after is before:
            return
        if after is Level.ROOM:
            self._in_vain = False
            _log.info("the disks have room again: work continues")
            self.on_room()
            return
        self._next_relief = self._clock.elapsed()
        say = _log.error if after is Level.OUT else _log.warning
        say("%s: work waits", self._shortage(), extra={"disk": after.name})

    def _shortage(self, limit: Level = Level.LOW) -> str:
        """Describes the fullest disk: its free space, and the free space that new work needs.

        With OUT: the free space above which no job is evicted.
        """
        low = next(name for name, one in self._levels.items() if one is self.level)
        return shortage(self._readings[low], limit, self._limits)

    async def _keep_ballast(self) -> None:
        """Creates the ballast again, once the disk stays above the soft limit with it."""
        now = self._clock.elapsed()
        reading = self._readings.get(self._state.name)
        if self.level is not Level.ROOM or reading is None or now < self._next_ballast:
            return
        needed = room_again(self._limits.soft_of(reading.total), reading.total) + self._ballast.size
        if reading.free < needed or await in_thread(self._ballast.is_there):
            return
        if not await in_thread(self._ballast.make):
            self._next_ballast = now + _BALLAST
