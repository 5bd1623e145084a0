"""The pause that work makes while Podman is down or the disk is full: longer each time."""

from __future__ import annotations

import logging

from claraedge.clock import Clock
from claraedge.errors import ClaraedgeError

_log = logging.getLogger(__name__)

FIRST = 0.5
LONGEST = 15.0


class Pause:
    """Times in seconds of the clock's `elapsed`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._length = 0.0
        self._until = 0.0
        self.reason = ""
        """Why work waits; empty where it does not."""

    @property
    def remaining(self) -> float | None:
        """Seconds until work is tried again; None where it does not wait."""
        return max(0.0, self._until - self._clock.elapsed()) if self.reason else None

    @property
    def lapse(self) -> float | None:
        """Seconds until an outage is taken for over that nobody has met since; None: there is none.

        An operator that runs for an hour tells of nothing before its end.
        """
        return max(0.0, self._until + LONGEST - self._clock.elapsed()) if self.reason else None

    def met(self, error: ClaraedgeError) -> None:
        """An outage. Several that are met in one pause do not lengthen it."""
        if not self.reason:
            _log.warning("work waits", extra={"reason": str(error)})
        self.reason = str(error) or error.name
        now = self._clock.elapsed()
        if now >= self._until:
            self._length = min(LONGEST, max(FIRST, 2 * self._length))
            self._until = now + self._length

    def over(self) -> None:
        """Something worked: there is no outage."""
        if self.reason:
            _log.info("work continues")
        self.reason = ""
        self._length = self._until = 0.0
