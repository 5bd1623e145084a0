"""Watches the disks that work needs, and makes room on them while there is too little.

What others ask is a value: `held` says in words why nothing new may begin. It never grows old by
more than the time between two looks.
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
    Level,
    Limits,
    Reading,
    lacking,
    level,
    room_again,
    told,
    worst,
)
from claraedge.blocking import in_thread
from claraedge.bugs import known
from claraedge.clock import Clock
from claraedge.errors import ClaraedgeError

_log = logging.getLogger(__name__)

#: Seconds between looks, while there is room and while there is not.
_LOOK, _LOOK_LOW = 2.0, 0.5
#: Seconds between tries to make room below the soft limit, and to make the ballast in vain.
_RELIEF, _BALLAST = 5.0, 60.0

#: (free, total) bytes of a disk. Raises OSError or ClaraedgeError where it cannot be seen.
Measure: TypeAlias = Callable[[], Awaitable[tuple[int, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A place on a disk that work needs."""

    name: str
    """In words, with its path where it has one."""
    measure: Measure
    jobs_write: bool = True
    """Jobs write there, so that ending one may give room back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How a disk is, for `claraedge status`; bytes."""

    name: str
    free: int
    total: int
    soft: int
    hard: int
    level: Level


def measured(path: Path) -> Measure:
    """Measures the disk of a folder, as much of it as this user may fill."""

    def look() -> tuple[int, int]:
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    async def measure() -> tuple[int, int]:
        return await in_thread(look)

    return measure


async def _nothing(_: int) -> int:
    return 0


async def _nobody(_: str) -> None:
    return


class DiskGuard:
    """Looks for as long as `run` runs; `prepare` looks once, before work begins."""

    def __init__(
        self,
        state: Store,
        others: Sequence[Store],
        limits: Limits,
        ballast: Ballast,
        clock: Clock,
    ) -> None:
        """`state` is the store on whose disk `reclaim` and the ballast give room back."""
        self.reclaim: Callable[[int], Awaitable[int]] = _nothing
        """Removes what is old by rule, and then what is oldest until so many bytes of the state's
        disk are free; returns how many that were."""
        self.evict: Callable[[str], Awaitable[None]] = _nobody
        """Ends a running job for this reason, where none is ending for it already."""
        self.on_room: Callable[[], None] = lambda: None
        """There is room again: what waited may go on."""
        self._state = state
        self._stores = (state, *others)
        self._limits = limits
        self._ballast = ballast
        self._clock = clock
        self._readings: dict[str, Reading] = {}
        self._levels: dict[str, Level] = {}
        self._next_relief = 0.0
        self._next_ballast = 0.0
        self._in_vain = False
        self._trouble = ""

    # --- values for others ----------------------------------------------------------------------

    @property
    def level(self) -> Level:
        return worst(self._levels.values())

    def held(self) -> str | None:
        """Why nothing new may begin; None: it may."""
        return None if self.level is Level.ROOM else f"disk: {self._told()}"

    def warnings(self) -> Sequence[str]:
        """What somebody should look at, for `claraedge status`."""
        if self.level is Level.ROOM:
            return []
        text = f"{self._told()}: until then nothing new is taken, started or uploaded"
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
        """The disks as they were at the last look."""
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

    # --- life -----------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """The first look: from now on the values are there."""
        await self._measure()
        await self._keep_ballast()

    async def run(self) -> None:
        """Looks until cancelled. What keeps it from making room is tried again."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - it fails alone
                why = str(known(error, "a look at the disks"))
                if why != self._trouble:
                    self._trouble = why
                    _log.warning("no room can be made now: %s", why)
            else:
                self._trouble = ""
            await asyncio.sleep(_LOOK if self.level is Level.ROOM else _LOOK_LOW)

    async def look(self) -> None:
        """One look, and what follows from it."""
        await self._measure()
        now = self._clock.elapsed()
        try:
            if self.level is not Level.ROOM and (now >= self._next_relief or self._evicts()):
                self._next_relief = now + _RELIEF
                await self._relieve()
        finally:  # whatever keeps old files from being removed
            if self._evicts():
                await self.evict(self._told(Level.OUT))
        await self._keep_ballast()

    async def _relieve(self) -> None:
        missing = lacking(self._readings[self._state.name], self._limits) if self._low() else 0
        removed = await self.reclaim(missing)
        self._in_vain = missing > 0 and removed == 0
        if removed:
            await self._measure()

    def _low(self) -> bool:
        """The state's own disk is low, so that removing what lies there helps."""
        return self._levels.get(self._state.name, Level.ROOM) is not Level.ROOM

    def _evicts(self) -> bool:
        return any(
            self._levels.get(store.name) is Level.OUT for store in self._stores if store.jobs_write
        )

    async def _measure(self) -> None:
        before = self.level
        for store in self._stores:
            # One that cannot be seen now counts as it was seen last.
            with contextlib.suppress(OSError, ClaraedgeError):
                free, total = await store.measure()
                reading = Reading(name=store.name, free=free, total=total)
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
        say("%s: work waits", self._told(), extra={"disk": after.name})

    def _told(self, limit: Level = Level.LOW) -> str:
        """Of the disk that is worst: how full it is, and what must be free for new work; or, with
        OUT, so that nothing is evicted.
        """
        low = next(name for name, one in self._levels.items() if one is self.level)
        return told(self._readings[low], limit, self._limits)

    async def _keep_ballast(self) -> None:
        """Makes the ballast again, once its room is beyond the soft limit."""
        now = self._clock.elapsed()
        reading = self._readings.get(self._state.name)
        if self.level is not Level.ROOM or reading is None or now < self._next_ballast:
            return
        needed = room_again(self._limits.soft_of(reading.total), reading.total) + self._ballast.size
        if reading.free < needed or await in_thread(self._ballast.is_there):
            return
        if not await in_thread(self._ballast.make):
            self._next_ballast = now + _BALLAST
