"""Lists that are longer than a page."""

from __future__ import annotations

import contextlib
from typing import TypeVar

from google.protobuf.message import Message

from claraedge.web.console.visit import Visit

M = TypeVar("M", bound=Message)

#: Rows of a page.
ROWS = 100


def start_of(visit: Visit) -> int:
    """Returns the number of rows before the first one that the viewer asks for."""
    text = visit.query.get("start", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else 0


async def first_of(visit: Visit, name: str, request: Message, kind: type[M], most: int) -> list[M]:
    """Returns at most the first `most` answers of a method. Raises HttpError."""
    found: list[M] = []
    async with contextlib.aclosing(visit.daemon.each(name, request, kind)) as answers:
        async for answer in answers:
            found.append(answer)
            if len(found) == most:
                break
    return found
