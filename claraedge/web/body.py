"""Reads the body of a request."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from claraedge.errors import CallTimeoutError, MessageSizeError
from claraedge.web.failures import HttpError, invalid, refused

Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
Scope: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class ClientGoneError(Exception):
    """The client has closed its connection, so nobody reads an answer."""


class Body:
    """The body of one request; it is read once."""

    def __init__(self, receive: Receive, idle: float) -> None:
        """`idle`: seconds to wait for the next part of the body."""
        self._receive = receive
        self._idle = idle
        self._ended = False

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Yields the body as it arrives. Raises ClientGoneError, HttpError."""
        while not self._ended:
            try:
                async with asyncio.timeout(self._idle) as bound:
                    event = await self._receive()
            except TimeoutError:
                if not bound.expired():
                    raise
                raise refused(
                    CallTimeoutError(
                        f"the client sent nothing for {self._idle:g} s, so the request is ended;"
                        " send it again, or raise api.idle_seconds"
                    )
                ) from None
            if event["type"] == "http.disconnect":
                raise ClientGoneError
            self._ended = not event.get("more_body", False)
            yield event.get("body", b"")

    async def whole(self, limit: int) -> bytes:
        """Returns the whole body. Raises ClientGoneError, and HttpError above `limit` bytes."""
        body = bytearray()
        async for part in self.parts():
            body += part
            if len(body) > limit:
                raise too_large(limit)
        return bytes(body)

    async def gone(self) -> None:
        """Returns when the client has closed its connection. Call it after the end of the body."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def too_large(limit: int) -> HttpError:
    """Returns the failure of a message above `limit` bytes."""
    return refused(
        MessageSizeError(
            f"a message has more than {limit} bytes, the most that is read; send large files as a"
            " stream of smaller messages"
        ),
        413,
    )


def inflated(data: bytes, limit: int) -> bytes:
    """Returns what gzip compressed. Raises HttpError above `limit` bytes."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        found = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise invalid(f"the body is not gzip ({error}); send it without compression") from None
    if len(found) > limit:
        raise too_large(limit)
    if not inflater.eof or inflater.unused_data:
        raise invalid("the gzip data is incomplete, or more follows it; send it again")
    return found
