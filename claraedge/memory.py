"""One budget of memory for what open calls keep: names of uploads, definitions, lists.

Each call has a share, which grows with what it keeps and ends with it. Code that works for a call
says what it keeps with `take`; outside of calls that counts nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from claraedge.errors import StreamMemoryError

#: Bytes that all open calls together may keep.
TOTAL = 64 * 1024 * 1024
#: An entry of a mapping while that grows.
_ENTRY = 200


class Budget:
    """The bytes of all calls of a server. All of it runs on the server's loop."""

    def __init__(self, total: int = TOTAL) -> None:
        self.total = total
        self.used = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """What is taken while it is open counts for this call, and is given back at its end."""
        share = Share(self)
        token = _share.set(share)
        try:
            yield share
        finally:
            _share.reset(token)
            share.close()


class Share:
    """What one call keeps."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._closed = False
        self.taken = 0

    def close(self) -> None:
        """Gives all back; what is given back afterwards counts no more."""
        self.grow(-self.taken)
        self._closed = True

    def grow(self, size: int) -> bool:
        """Takes so many bytes more, or with less than none gives back; False: there is no room."""
        if self._closed:
            return True
        if size > 0 and self._budget.used + size > self._budget.total:
            return False
        self._budget.used += size
        self.taken += size
        return True

    def refused(self, size: int) -> StreamMemoryError:
        """The error for so many bytes more."""
        return StreamMemoryError(
            f"the open calls keep {self._budget.used} of the {self._budget.total} bytes of memory"
            f" that they may keep together, {self.taken} of them for this one, and it needs {size}"
            " more; try again when some have ended, with fewer files or ids in one call"
        )


_share: ContextVar[Share | None] = ContextVar("share", default=None)


def take(size: int) -> None:
    """Counts so many bytes that this call keeps from now on. Raises StreamMemoryError."""
    share = _share.get()
    if share is not None and not share.grow(size):
        raise share.refused(size)


def try_take(size: int) -> bool:
    """As `take`, but says whether there was room."""
    share = _share.get()
    return share is None or share.grow(size)


def give_back(size: int) -> None:
    """So many of the bytes that were taken are kept no more."""
    share = _share.get()
    if share is not None:
        share.grow(-size)


@contextmanager
def kept(size: int) -> Iterator[None]:
    """Counts so many bytes while it is open. Raises StreamMemoryError."""
    take(size)
    try:
        yield
    finally:
        give_back(size)


def of_text(*texts: str) -> int:
    """Bytes of texts that are kept in a mapping or a list, with what that costs beside them."""
    return sum(map(sys.getsizeof, texts)) + _ENTRY
