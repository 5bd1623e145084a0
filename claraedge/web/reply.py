"""Sends the answer of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from email.utils import formatdate

from claraedge.web.body import ClientGoneError, Send
from claraedge.web.failures import NAME_HEADER, HttpError

_ALWAYS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


class Reply:
    """The answer of one request."""

    def __init__(self, send: Send, idle: float) -> None:
        """`idle`: seconds to wait for the client to read what was sent."""
        self.begun = False
        """Whether the status was sent, so that it cannot change any more."""
        self._send = send
        self._idle = idle

    async def begin(
        self, content_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends the status and the headers."""
        lines = [(b"content-type", content_type.encode()), *_ALWAYS]
        lines += [(b"date", formatdate(usegmt=True).encode())]
        lines += [(k.lower().encode(), v.encode("latin-1")) for k, v in (headers or {}).items()]
        self.begun = True
        await self._sent({"type": "http.response.start", "status": status, "headers": lines})

    async def part(self, data: bytes) -> None:
        """Sends a part of the body; returns when there is room for the next one.

        Raises ClientGoneError if the client does not read it within the idle time.
        """
        await self._sent({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Sends the last part of the body."""
        await self._sent({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(
        self,
        body: bytes,
        content_type: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Sends a whole answer."""
        length = {"Content-Length": str(len(body))}
        await self.begin(content_type, status=status, headers={**(headers or {}), **length})
        await self.end(body)

    async def fail(self, failure: HttpError) -> None:
        """Sends a failure as a whole answer."""
        headers = {**failure.headers, NAME_HEADER.decode(): failure.name}
        await self.whole(failure.text, "application/json", status=failure.status, headers=headers)

    async def _sent(self, event: dict[str, object]) -> None:
        try:
            async with asyncio.timeout(self._idle) as bound:
                await self._send(event)
        except TimeoutError:
            if not bound.expired():
                raise
            raise ClientGoneError from None
