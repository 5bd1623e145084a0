"""Gives a call the page of a list that its metadata ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from claraedge import paging
from claraedge.api.answers import Context
from claraedge.errors import InvalidRequestError
from claraedge.store.pages import WantedPage, wanted_page


@contextmanager
def page_of(context: Context) -> Iterator[None]:
    """Has lists that are read while the context is open yield one page, if the call asks for one.

    Raises InvalidRequestError if its metadata name no page.
    """
    wanted = _wanted(dict(context.invocation_metadata() or ()))
    if wanted is None:
        yield
        return
    before = wanted_page.set(wanted)
    try:
        yield
    finally:
        wanted_page.reset(before)
    if wanted.next is not None:
        context.set_trailing_metadata(((paging.NEXT, paging.token_of(wanted.next)),))


def _wanted(metadata: dict[str, str | bytes]) -> WantedPage | None:
    size, token = metadata.get(paging.SIZE), metadata.get(paging.AFTER, "")
    if size is None:
        return None
    if not (isinstance(size, str) and size.isascii() and size.isdigit() and len(size) < 10):
        size = "0"
    if not 1 <= int(size) <= paging.LARGEST:
        raise InvalidRequestError(
            f"the size of a page has to be a number from 1 to {paging.LARGEST}; correct it"
        )
    try:
        after = paging.key_of(str(token))
    except ValueError:
        raise InvalidRequestError(
            f"the token {str(token)[:40]!r} names no page of this list; begin again with the first"
            " page"
        ) from None
    return WantedPage(size=int(size), after=after)
