"""Tracks which payloads are being read, so that they are not removed while a client downloads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from claraedge.clock import Clock

#: Seconds after a read in which the same client may request the next file.
LINGER = 60.0


class Readers:
    """The payloads that are being read, or were within the last LINGER seconds; no
    others are kept.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[str, int] = {}
        self._until: dict[str, float] = {}

    @contextmanager
    def reading(self, payload: str) -> Iterator[None]:
        """Marks the payload as being read while the context is open, and LINGER seconds after."""
        self._open[payload] = self._open.get(payload, 0) + 1
        try:
            yield
        finally:
            self._open[payload] -= 1
            if not self._open[payload]:
                del self._open[payload]
            self._forget()
            # Insert it last: `_forget` checks only the oldest entries.
            self._until.pop(payload, None)
            self._until[payload] = self._clock.elapsed() + LINGER

    def present(self) -> frozenset[str]:
        """Returns the ids of the payloads that are being read."""
        self._forget()
        return frozenset(self._open) | frozenset(self._until)

    def _forget(self) -> None:
        now = self._clock.elapsed()
        while self._until:
            payload, until = next(iter(self._until.items()))
            if until > now:
                return
            del self._until[payload]
