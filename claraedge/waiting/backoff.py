"""Growing pauses between attempts. Pure: nothing here waits."""

from __future__ import annotations


class Backoff:
    """The pauses between attempts, in seconds: each is `factor` times the last, up to `most`."""

    def __init__(self, first: float, most: float, *, factor: float = 2.0) -> None:
        self._first = first
        self._most = most
        self._factor = factor
        self._next = first

    def next(self) -> float:
        """Returns the pause before the next attempt; the first one is `first`."""
        pause = self._next
        self._next = min(pause * self._factor, self._most)
        return pause

    def reset(self) -> None:
        """Begins with `first` again, because an attempt has succeeded."""
        self._next = self._first
