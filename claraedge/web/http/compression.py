"""Answers that are compressed for clients that accept it."""

from __future__ import annotations

import gzip
import re

from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request

#: Bytes of a body from which compression is worth its headers.
_WORTH = 1024
_REFUSED = re.compile(r"q=0(\.0*)?")


def accepts(header: str | None, value: str) -> bool:
    """Returns whether a header such as Accept names `value`, and does not refuse it by `q=0`."""
    for item in (header or "").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name == value:
            return not any(_REFUSED.fullmatch(parameter) for parameter in parameters)
    return False


async def send_text(
    request: Request, reply: Reply, body: bytes, content_type: str, headers: dict[str, str]
) -> None:
    """Sends a whole answer, compressed by gzip if its client accepts that."""
    headers = {**headers, "Vary": "Accept, Accept-Encoding"}
    if len(body) >= _WORTH and accepts(request.headers.get("accept-encoding"), "gzip"):
        body = gzip.compress(body, 1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    await reply.whole(body, content_type, headers=headers)
