"""When to search for orphans: containers that a crash or an outage of Podman left behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from claraedge.clock import Clock

#: Seconds after which a search is repeated: a Podman that was interrupted in a call, because the
#: daemon was killed or the call timed out, may create its container after the first search.
LATE = 5.0


class OrphanSearch:
    """Searches once orphans are expected, and once more `LATE` seconds later."""

    def __init__(self, clock: Clock, *, expected: bool) -> None:
        """`expected`: whether the first search is due at once."""
        self._elapsed = clock.elapsed
        self._expected = expected
        self._late: float | None = None
        """BOOTTIME (seconds) of the second search; None: none is due."""

    def expect(self) -> None:
        """Requests a search, after an outage or a failed removal."""
        self._expected = True

    def soonest(self) -> float | None:
        """Returns the seconds until the next search; None: none is due, no orphan can remain."""
        if self._expected:
            return 0.0
        return None if self._late is None else max(0.0, self._late - self._elapsed())

    def repeat_late(self) -> None:
        """Requests the second search, after a first one."""
        self._late = self._elapsed() + LATE

    async def run_due(self, search: Callable[[], Awaitable[object]]) -> None:
        """Calls `search` if one is due; a search that raises is due again. Raises its error."""
        if self.soonest() != 0.0:
            return
        first, self._expected, self._late = self._expected, False, None
        try:
            await search()
        except BaseException:
            self._expected = True
            raise
        if first:
            self.repeat_late()
