"""One memory budget for data that open calls keep: names of uploads, definitions, lists.

Each call has a share, which grows with the data that the call keeps and is released at its end.
Code that works for a call reports what it keeps with `take`; outside of calls `take` does nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from claraedge.errors import StreamMemoryError

#: Bytes that all open calls together may keep.
TOTAL = 64 * 1024 * 1024
#: Bytes that one entry of a growing mapping needs in addition to its texts.
_ENTRY = 200


class Budget:
    """The bytes that all calls of a server keep. Use it only on the server's event loop."""

    def __init__(self, total: int = TOTAL) -> None:
        self.total = total
        self.used = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Opens a share: bytes taken inside this context count for it, and are returned at the end.

        Only code in the same context (contextvars) uses this share.
        """
        share = Share(self)
        token = _share.set(share)
        try:
            yield share
        finally:
            _share.reset(token)
            share.close()


class Share:
    """The part of the budget that one call uses."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._closed = False
        self.taken = 0

    def close(self) -> None:
        """Returns all bytes to the budget; later calls of `grow` have no effect."""
        self.grow(-self.taken)
        self._closed = True

    def grow(self, size: int) -> bool:
        """Counts `size` more bytes, or releases them if negative; False if too few are left."""
        if self._closed:
            return True
        if size > 0 and self._budget.used + size > self._budget.total:
            return False
        self._budget.used += size
        self.taken += size
        return True

    def refused(self, size: int) -> StreamMemoryError:
        """Returns the error for a request of `size` more bytes."""
        return StreamMemoryError(
            f"the open calls keep {self._budget.used} of the {self._budget.total} bytes of memory"
            f" that they may keep together, {self.taken} of them for this one, and it needs {size}"
            " more; try again when some have ended, with fewer files or ids in one call"
        )


_share: ContextVar[Share | None] = ContextVar("share", default=None)


def take(size: int) -> None:
    """Counts `size` bytes that this call keeps from now on.

    Raises StreamMemoryError if too few are left.
    """
    share = _share.get()
    if share is not None and not share.grow(size):
        raise share.refused(size)


def try_take(size: int) -> bool:
    """Does the same as `take`, but returns whether the budget had room instead of raising."""
    share = _share.get()
    return share is None or share.grow(size)


def give_back(size: int) -> None:
    """Returns `size` of the bytes that this call has taken."""
    share = _share.get()
    if share is not None:
        share.grow(-size)


@contextmanager
def kept(size: int) -> Iterator[None]:
    """Counts `size` bytes while this context is open. Raises StreamMemoryError."""
    take(size)
    try:
        yield
    finally:
        give_back(size)


def of_text(*texts: str) -> int:
    """Returns the bytes that texts in a mapping or list use, including the cost of the entry."""
    return sum(map(sys.getsizeof, texts)) + _ENTRY
