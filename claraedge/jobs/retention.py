"""Takes away what nobody will come back for: jobs that were never started, and deleted payloads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from claraedge.clock import Clock
from claraedge.errors import ClaraedgeError
from claraedge.jobs import records
from claraedge.jobs.ageing import Reading, Trust, Unstarted, expired, look
from claraedge.payloads.payloads import Payloads
from claraedge.store.database import Database, Transaction

_log = logging.getLogger(__name__)

_LEAST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0


class Retention:
    """Looks now and then, for as long as `run` runs."""

    def __init__(
        self, database: Database, payloads: Payloads, clock: Clock, *, unstarted_after: float
    ) -> None:
        """`unstarted_after`: seconds that a job may wait for its start."""
        self._database = database
        self._payloads = payloads
        self._clock = clock
        self._limit = unstarted_after
        self._trust: Trust | None = None
        self._seen: dict[str, float] = {}

    def warnings(self) -> Sequence[str]:
        """What keeps old things from being removed, for `claraedge status`."""
        if self._trust is None or not self._trust.why:
            return []
        return [
            f"the clock is not trusted: {self._trust.why}; nothing is removed by its age until the"
            " clock has been steady for an hour"
        ]

    async def run(self) -> None:
        """Looks until cancelled. A full disk or a Podman that does not answer is tried again."""
        pause = min(_LONGEST_PAUSE, max(_LEAST_PAUSE, self._limit / 20))
        while True:
            try:
                await self.look()
            except ClaraedgeError as error:
                _log.warning("what is old cannot be removed now: %s", error)
            await asyncio.sleep(pause)

    async def look(self) -> None:
        """One look: removes the jobs that have waited too long, and what deletions left."""

        def gather(tx: Transaction) -> tuple[float | None, list[Unstarted]]:
            newest = tx.row("newest_record")
            return None if newest is None else newest["time"], records.unstarted(tx)

        newest, waiting = await self._database.read(gather)
        now = Reading(wall=self._clock.now(), boot=self._clock.elapsed())
        self._trust = trust = look(self._trust, now, newest)
        self._seen = {job.id: self._seen.get(job.id, now.boot) for job in waiting}
        old = expired(waiting, self._seen, trust, self._limit)
        if old:
            await self._remove(old)
        await self._payloads.empty()

    async def _remove(self, jobs: Sequence[Unstarted]) -> None:
        def work(tx: Transaction) -> list[Unstarted]:
            return [job for job in jobs if records.forget_unstarted(tx, job, self._clock.now())]

        removed = await self._database.write(work)
        for job in removed:
            _log.info("job removed: it was never started", extra={"job": job.id})
        await self._payloads.discard([job.payload for job in removed])
