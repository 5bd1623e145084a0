"""Tokens of pages of a search. Pure."""

from __future__ import annotations

import math

from claraedge import paging
from claraedge.errors import InvalidRequestError
from claraedge.searching.page import Key


def token_of(newer: bool, key: Key) -> str:
    """Returns the token for the page of the results that are newer, or older, than a place."""
    return paging.token_of(f"{'newer' if newer else 'older'} {key.time!r} {key.id}")


def place_of(token: str) -> tuple[bool, Key]:
    """Returns whether a token is of newer results, and where they begin.

    Raises InvalidRequestError if it is no token.
    """
    try:
        direction, time, id_ = paging.key_of(token).split(" ")
        key = Key(float(time), id_)
        if direction not in ("newer", "older") or not math.isfinite(key.time):
            raise ValueError
        id_.encode()
    except ValueError:
        raise InvalidRequestError(
            f"the token {token[:40]!r} names no page of a search; begin again with the first page"
        ) from None
    return direction == "newer", key
