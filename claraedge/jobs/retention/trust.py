"""Whether this device's wall clock can be trusted, for all that is removed by age."""

from __future__ import annotations

from collections.abc import Sequence

from claraedge.clock import Clock
from claraedge.jobs.retention.ageing import ClockReading, Trust, assess
from claraedge.store.database import Database


class ClockTrust:
    """Compares both clocks, and the time of the newest record."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._trust: Trust | None = None

    async def check(self) -> Trust:
        """Reads the clocks; returns the present trust."""
        newest = await self._database.read(lambda tx: tx.row("newest_record"))
        now = ClockReading(wall=self._clock.now(), boot=self._clock.elapsed())
        self._trust = assess(self._trust, now, None if newest is None else newest["time"])
        return self._trust

    def warnings(self) -> Sequence[str]:
        """Returns the reasons why old artifacts are not removed, for `claraedge status`."""
        if self._trust is None or not self._trust.why:
            return []
        return [
            f"the clock is not trusted: {self._trust.why}; nothing is removed by its age until the"
            " clock has been steady for an hour"
        ]
