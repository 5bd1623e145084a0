"""The pause of all work while Podman is unavailable or the disk is full: exponential backoff."""

from __future__ import annotations

import logging

from claraedge.clock import Clock
from claraedge.errors import ClaraedgeError
from claraedge.waiting.backoff import Backoff

_log = logging.getLogger(__name__)

FIRST = 0.5
LONGEST = 15.0


class Pause:
    """The current pause. Times are seconds of the clock's `elapsed`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._backoff = Backoff(FIRST, LONGEST)
        self._until = 0.0
        self.reason = ""
        """Why work is paused; empty if it is not."""

    @property
    def remaining(self) -> float | None:
        """Seconds until work is retried; None if it is not paused."""
        return max(0.0, self._until - self._clock.elapsed()) if self.reason else None

    @property
    def lapse(self) -> float | None:
        """Seconds until an outage counts as over if it is not met again; None: there is none.

        An operator that runs for an hour reports nothing before its end, so success alone cannot
        end it.
        """
        return max(0.0, self._until + LONGEST - self._clock.elapsed()) if self.reason else None

    def met(self, error: ClaraedgeError) -> None:
        """Records an outage. Further outages during one pause do not lengthen it."""
        if not self.reason:
            _log.warning("work waits", extra={"reason": str(error)})
        self.reason = str(error) or error.name
        now = self._clock.elapsed()
        if now >= self._until:
            self._until = now + self._backoff.next()

    def over(self) -> None:
        """Ends the pause, because a call has succeeded."""
        if self.reason:
            _log.info("work continues")
        self.reason = ""
        self._backoff.reset()
        self._until = 0.0
