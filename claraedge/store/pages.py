"""Reads long lists, one page at a time.

Each page is a read of its own, so that a client that is slow to receive the list keeps no
transaction open, and only one page is in memory. Rows come in the order of their key: each appears
once, in the state that it had when its page was read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from claraedge import memory
from claraedge.store.database import Database, Row, Transaction

T = TypeVar("T")

#: Most rows that are read for a page, and bytes of results after which it ends.
_ROWS = 500
_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """What to list, and how to convert it."""

    rows: Callable[[Transaction, str | int], Iterator[Row]]
    """Returns the rows after a key, in the order of their keys; they are read as needed."""
    key: str
    """The column with the key."""
    first: str | int
    """A value less than any key."""
    read: Callable[[Transaction, Row], T]
    """Converts a row."""
    cost: Callable[[T], int]
    """Returns the approximate bytes of memory of a result."""
    check: Callable[[Transaction], object] = lambda _: None
    """Raises an error where there is nothing to list (any more); called for each page."""


async def pages(database: Database, listing: Listing[T]) -> AsyncGenerator[T, None]:
    """Yields what is listed. Raises StreamMemoryError where open calls use too much memory."""
    after: str | int | None = listing.first
    while after is not None:
        start = after

        def page(
            tx: Transaction, start: str | int = start
        ) -> tuple[list[T], int, str | int | None]:
            return _page(tx, listing, start)

        found, size, after = await database.read_page(page)
        with memory.kept(size):
            found.reverse()
            while found:
                yield found.pop()


def _page(
    tx: Transaction, listing: Listing[T], after: str | int
) -> tuple[list[T], int, str | int | None]:
    """Reads one page: its results, their bytes, and the key to continue after (None: the end)."""
    listing.check(tx)
    found, size = [], 0
    for count, row in enumerate(listing.rows(tx, after), 1):
        one = listing.read(tx, row)
        found.append(one)
        size += listing.cost(one)
        if count == _ROWS or size >= _BYTES:
            return found, size, row[listing.key]
    return found, size, None
