"""Ids: 32 lower-case hex digits, the "N" form of a UUID, as Clara's own clients print them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from claraedge.errors import InvalidRequestError

#: Makes a new id; a parameter wherever tests need to know it beforehand.
NewId = Callable[[], str]

_FORM = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> str:
    """A random id (UUID version 4, 32 lower-case hex digits)."""
    return uuid.uuid4().hex


def parse_id(text: str, error: type[InvalidRequestError] = InvalidRequestError) -> str:
    """The id in its one stored form; accepts upper case and the dashed form.

    Raises `error` where the text is no UUID.
    """
    lowered = text.strip().lower()
    if not _FORM.fullmatch(lowered):
        shown = text if len(text) <= 64 else text[:61] + "..."
        raise error(f"{shown!r} is not an id: an id is 32 hex digits, with or without dashes")
    return lowered.replace("-", "")
