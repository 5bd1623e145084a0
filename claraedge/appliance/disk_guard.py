"""Watches the disks that work needs, and frees space on them while there is too little."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from claraedge.appliance.ballast import Ballast
from claraedge.appliance.disks import Disks
from claraedge.appliance.watermarks import Level
from claraedge.blocking import in_thread
from claraedge.bugs import known
from claraedge.clock import Clock

_log = logging.getLogger(__name__)

#: Seconds between checks, while there is room and while there is not.
_PAUSE, _PAUSE_LOW = 2.0, 0.5
#: Bytes that nobody writes in `_PAUSE` seconds: with n times as much room, checks are n times as
#: rare, up to this factor.
_WRITTEN, _RAREST = 8 << 30, 8
#: Seconds between attempts to free space below the soft limit, and to create the ballast again
#: after a failure.
_RELIEF, _BALLAST = 5.0, 60.0


class DiskGuard:
    """Checks the disks while `run` runs; `prepare` checks them once, before work begins."""

    def __init__(
        self,
        disks: Disks,
        ballast: Ballast,
        clock: Clock,
        *,
        reclaim: Callable[[int], Awaitable[int]],
        evict: Callable[[str], Awaitable[None]],
        on_room: Callable[[], None],
    ) -> None:
        """`reclaim` removes data that has expired, then the oldest data, until the given number of
        bytes is freed on the disk of the state, and returns the number of bytes freed. `evict` ends
        a running job for the given reason, unless one is already ending for it. `on_room` is called
        when there is room again: waiting work may continue.
        """
        self._disks = disks
        self._ballast = ballast
        self._clock = clock
        self._reclaim = reclaim
        self._evict = evict
        self._on_room = on_room
        self._next_relief = 0.0
        self._next_ballast = 0.0
        self._in_vain = False
        self._trouble = ""

    def warnings(self) -> Sequence[str]:
        """Returns the warnings about low disks for `claraedge status`."""
        if self._disks.level is Level.ROOM:
            return []
        text = f"{self._disks.shortage()}: until then nothing new is taken, started or uploaded"
        if self._disks.jobs_need_space:
            text += ", and running jobs are evicted one after the other"
        if self._in_vain:
            text += (
                "; claraedge has nothing more that it may remove: delete results that were fetched"
                " from the outbox, and images that nobody needs (`claraedge list images`,"
                " `claraedge delete images NAME`)"
            )
        return [text]

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
            await asyncio.sleep(self.pause)

    @property
    def pause(self) -> float:
        """Seconds until the next check."""
        if self._disks.level is not Level.ROOM:
            return _PAUSE_LOW
        return _PAUSE * min(max(1, self._disks.margin // _WRITTEN), _RAREST)

    async def check(self) -> None:
        """Checks the disks once and frees space, evicts a job or creates the ballast as needed."""
        disks = self._disks
        await self._measure()
        now = self._clock.elapsed()
        try:
            due = now >= self._next_relief or disks.jobs_need_space
            if disks.level is not Level.ROOM and due:
                self._next_relief = now + _RELIEF
                await self._relieve()
        finally:  # even if the removal of old files failed
            if disks.jobs_need_space:
                await self._evict(disks.shortage(Level.OUT))
        await self._keep_ballast()

    async def _relieve(self) -> None:
        missing = self._disks.lacking
        removed = await self._reclaim(missing)
        self._in_vain = missing > 0 and removed == 0
        if removed:
            await self._measure()

    async def _measure(self) -> None:
        before = self._disks.level
        await self._disks.measure()
        after = self._disks.level
        if after is before:
            return
        if after is Level.ROOM:
            self._in_vain = False
            _log.info("the disks have room again: work continues")
            self._on_room()
            return
        self._next_relief = self._clock.elapsed()
        say = _log.error if after is Level.OUT else _log.warning
        say("%s: work waits", self._disks.shortage(), extra={"disk": after.name})

    async def _keep_ballast(self) -> None:
        """Creates the ballast again, once the disk stays above the soft limit with it."""
        now = self._clock.elapsed()
        if self._disks.level is not Level.ROOM or now < self._next_ballast:
            return
        if not self._disks.has_room_for(self._ballast.size):
            return
        if await in_thread(self._ballast.is_there):
            return
        if not await in_thread(self._ballast.make):
            self._next_ballast = now + _BALLAST
