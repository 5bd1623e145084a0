"""Who reads payloads at this moment: what a client is about to take is not removed under it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from claraedge.clock import Clock

#: Seconds after a read in which the same client may come for the next file.
LINGER = 60.0


class Readers:
    """The payloads that are read now, or were a moment ago. It keeps no others in mind."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[str, int] = {}
        self._until: dict[str, float] = {}

    @contextmanager
    def reading(self, payload: str) -> Iterator[None]:
        """While it is open the payload is read, and a moment after."""
        self._open[payload] = self._open.get(payload, 0) + 1
        try:
            yield
        finally:
            self._open[payload] -= 1
            if not self._open[payload]:
                del self._open[payload]
            self._forget()
            # Last in order: `_forget` looks at the oldest only.
            self._until.pop(payload, None)
            self._until[payload] = self._clock.elapsed() + LINGER

    def present(self) -> frozenset[str]:
        """The ids of the payloads that are read."""
        self._forget()
        return frozenset(self._open) | frozenset(self._until)

    def _forget(self) -> None:
        now = self._clock.elapsed()
        while self._until:
            payload, until = next(iter(self._until.items()))
            if until > now:
                return
            del self._until[payload]
