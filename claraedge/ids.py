"""Ids: 32 lower-case hex digits, the "N" form of a UUID, as Clara's own clients print them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from claraedge.errors import InvalidRequestError

#: Returns a new id; passed as a parameter wherever tests need to know the id beforehand.
NewId = Callable[[], str]

_FORM = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> str:
    """Returns a random id (UUID version 4, 32 lower-case hex digits)."""
    return uuid.uuid4().hex


def parse_id(text: str, error: type[InvalidRequestError] = InvalidRequestError) -> str:
    """Returns the id in the form in which it is stored; accepts upper case and the dashed form.

    Raises `error` if the text is not a UUID.
    """
    lowered = text.strip().lower()
    if not _FORM.fullmatch(lowered):
        shown = text if len(text) <= 64 else text[:61] + "..."
        raise error(f"{shown!r} is not an id: an id is 32 hex digits, with or without dashes")
    return lowered.replace("-", "")
