"""Long lists, a page at a time.

Each page is a read of its own, so that a client that is slow to take the list keeps no transaction
open, and in memory there is one page. Rows come in the order of their key: each is there once, as
it was when its page was read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from claraedge import memory
from claraedge.store.database import Database, Parameter, Row, Transaction

T = TypeVar("T")

#: Rows that are looked at for a page, and bytes of what it keeps.
_ROWS = 500
_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """A query of rows after the key `:after`, and what to make of them."""

    query: str
    key: str
    """The column by which it is ordered."""
    first: str | int
    """Less than any key."""
    read: Callable[[Transaction, Row], T]
    cost: Callable[[T], int]
    """Bytes of memory, nearly."""
    wanted: Callable[[Row], bool] = lambda _: True
    check: Callable[[Transaction], object] = lambda _: None
    """Raises where there is nothing to list (any more); called for each page."""


async def pages(
    database: Database, listing: Listing[T], **parameters: Parameter
) -> AsyncGenerator[T, None]:
    """What is listed. Raises StreamMemoryError where open calls keep too much already."""
    after: str | int | None = listing.first
    while after is not None:
        start = after

        def page(
            tx: Transaction, start: str | int = start
        ) -> tuple[list[T], int, str | int | None]:
            return _page(tx, listing, start, parameters)

        found, size, after = await database.read_page(page)
        with memory.kept(size):
            found.reverse()
            while found:
                yield found.pop()


def _page(
    tx: Transaction, listing: Listing[T], after: str | int, parameters: dict[str, Parameter]
) -> tuple[list[T], int, str | int | None]:
    """What is listed of one page, its size, and the key to go on after; None: that was all."""
    listing.check(tx)
    found, size = [], 0
    for count, row in enumerate(tx.each(listing.query, after=after, **parameters), 1):
        if listing.wanted(row):
            one = listing.read(tx, row)
            found.append(one)
            size += listing.cost(one)
        if count == _ROWS or size >= _BYTES:
            return found, size, row[listing.key]
    return found, size, None
