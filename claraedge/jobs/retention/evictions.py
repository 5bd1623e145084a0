"""Evicts running jobs to free disk space: one at a time, the next only if that was not enough."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from claraedge.clock import Clock
from claraedge.store.database import Database

_log = logging.getLogger(__name__)

#: Seconds from a job's end until its space is free: its failure is delivered, its payload removed.
_SETTLE = 3.0


class Evictions:
    """Asks the engine to evict one job at a time."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        evict: Callable[[str], Awaitable[str | None]],
    ) -> None:
        """`evict` ends the job whose turn it is and returns its id (`Engine.evict`)."""
        self._database = database
        self._clock = clock
        self._evict = evict
        self._not_before = 0.0

    async def next(self, reason: str) -> None:
        """Evicts one more job, unless one is ending or ended less than `_SETTLE` seconds ago."""
        ending = await self._database.read(lambda tx: tx.row("evicting_job"))
        now = self._clock.elapsed()
        if ending is not None:  # also one from before a restart
            self._not_before = now + _SETTLE
        if now < self._not_before:
            return
        job = await self._evict(reason)
        if job is not None:
            self._not_before = now + _SETTLE
            _log.warning("job evicted", extra={"job": job, "reason": reason})
