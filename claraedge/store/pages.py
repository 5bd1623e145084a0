"""Reads long lists, one page at a time; of a call that asks for one page, that page alone.

Each page is a read of its own, so that a client that is slow to receive the list keeps no
transaction open, and only one page is in memory. Rows come in the order of their key: each appears
once, in the state that it had when its page was read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, TypeVar

from claraedge import memory
from claraedge.errors import InvalidRequestError
from claraedge.store.database import Database, Row, Transaction

T = TypeVar("T")

#: Most rows that are read for a page, and bytes of results after which it ends.
_ROWS = 500
_BYTES = 256 * 1024
#: Bytes of results after which a page that a call asked for ends.
_LARGE = 2 * 1024 * 1024


@dataclass(slots=True, kw_only=True)
class WantedPage:
    """The page of a list that a call asks for."""

    size: int
    """The most results."""
    after: str
    """The key after which it begins, as `next` of the page before; empty: the first page."""
    next: str | None = None
    """The key of its last result, once it has ended and others may follow."""


#: Set by a call that asks for one page of the list that it reads.
wanted_page: ContextVar[WantedPage | None] = ContextVar("wanted_page", default=None)


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
    """Yields what is listed, or the wanted page of it.

    Raises StreamMemoryError where open calls use too much memory, and InvalidRequestError if the
    list has no such page.
    """
    wanted = wanted_page.get()
    after: str | int | None = _start(listing.first, wanted)
    left, total = None if wanted is None else wanted.size, 0
    while after is not None:
        start, rows = after, _ROWS if left is None else min(_ROWS, left)

        def page(
            tx: Transaction, start: str | int = start, rows: int = rows
        ) -> tuple[list[T], int, str | int | None]:
            return _page(tx, listing, start, rows)

        found, size, after = await database.read_page(page)
        with memory.kept(size):
            found.reverse()
            if left is not None:
                left, total = left - len(found), total + size
            while found:
                yield found.pop()
        if wanted is not None and after is not None and (not left or total >= _LARGE):
            wanted.next = str(after)
            return


def _start(first: str | int, wanted: WantedPage | None) -> str | int:
    """Returns the key after which to begin. Raises InvalidRequestError."""
    if wanted is None or not wanted.after:
        return first
    if isinstance(first, str):
        return max(first, wanted.after)
    if not (wanted.after.isascii() and wanted.after.isdigit() and len(wanted.after) < 19):
        raise InvalidRequestError(
            f"no page of this list begins after {wanted.after[:40]!r}; begin again with the first"
            " page"
        )
    return max(first, int(wanted.after))


def _page(
    tx: Transaction, listing: Listing[T], after: str | int, rows: int
) -> tuple[list[T], int, str | int | None]:
    """Reads up to `rows` rows: the results, their bytes, and the key to continue after.

    That is None at the end.
    """
    listing.check(tx)
    found, size = [], 0
    listed = listing.rows(tx, after)
    for count, row in enumerate(listed, 1):
        one = listing.read(tx, row)
        found.append(one)
        size += listing.cost(one)
        if count == rows or size >= _BYTES:
            return found, size, None if next(listed, None) is None else row[listing.key]
    return found, size, None
