"""Reads the body of a request."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from claraedge import memory
from claraedge.errors import CallTimeoutError
from claraedge.web.failures import invalid, refused, too_large

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
        """`idle`: seconds to wait for the next part of a stream, or for the whole of a message."""
        self._receive = receive
        self._idle = idle
        self._endless = False
        self._ended = False

    def expect_silence(self) -> None:
        """Waits without a limit from now on, as for the client of a watch."""
        self._endless = True

    async def parts(self, until: float | None = None) -> AsyncGenerator[bytes, None]:
        """Yields the body as it arrives. Raises ClientGoneError, HttpError.

        `until`: when all of it has to be there, by the clock of the event loop.
        """
        loop = asyncio.get_running_loop()
        while not self._ended:
            limit = None if self._endless else until or loop.time() + self._idle
            try:
                async with asyncio.timeout_at(limit) as bound:
                    event = await self._receive()
            except TimeoutError:
                if not bound.expired():
                    raise
                raise refused(
                    CallTimeoutError(
                        f"the client sent nothing more for {self._idle:g} s, or too slowly, so the"
                        " request is ended; send it again, or raise api.idle_seconds"
                    )
                ) from None
            if event["type"] == "http.disconnect":
                raise ClientGoneError
            self._ended = not event.get("more_body", False)
            yield event.get("body", b"")

    async def whole(self, limit: int) -> bytes:
        """Returns the whole body, which counts for the memory of the call.

        Raises ClientGoneError, StreamMemoryError, and HttpError above `limit` bytes.
        """
        body = bytearray()
        async for part in self.parts(asyncio.get_running_loop().time() + self._idle):
            memory.take(len(part))
            body += part
            if len(body) > limit:
                raise too_large(limit)
        return bytes(body)

    async def gone(self) -> None:
        """Returns when the client has closed its connection. Call it after the end of the body."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def inflated(data: bytes, limit: int) -> bytes:
    """Returns what gzip compressed. Raises HttpError above `limit` bytes."""
    if not data:
        return data
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
