"""Reads the body of a request."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from claraedge.errors import CallTimeoutError
from claraedge.web.http.failures import invalid, refused, too_large

Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
Scope: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Bytes that every request may keep; whoever keeps more needs a place.
_SMALL = 64 * 1024


class ClientGoneError(Exception):
    """The client has closed its connection, so nobody reads an answer."""


class MessagePlace:
    """The place of one request among those that keep a large part of a message in memory.

    Small messages need none, so that calls such as Status never wait for others.
    """

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._taken = False

    async def keep(self, size: int) -> None:
        """Notes that `size` bytes are kept; waits for a place if they are many."""
        if size > _SMALL and not self._taken:
            await self._places.acquire()
            self._taken = True
        elif size <= _SMALL:
            self.close()

    def close(self) -> None:
        """Gives the place back."""
        if self._taken:
            self._taken = False
            self._places.release()


class Body:
    """The body of one request; it is read once."""

    def __init__(self, receive: Receive, idle: float) -> None:
        """`idle`: seconds to wait for the next part of a stream, and for the whole of a message."""
        self._receive = receive
        self._idle = idle
        self._message_due: float | None = None
        self._may_be_silent = False
        self._end = asyncio.Event()

    def expect(self, *, message: bool, silence: bool = False) -> None:
        """Says what follows: the rest of a message that has begun, or the next one.

        `silence`: the next one may take any time, as with the client of a watch.
        """
        if not message:
            self._message_due = None
        elif self._message_due is None:
            self._message_due = asyncio.get_running_loop().time() + self._idle
        self._may_be_silent = silence and not message

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Yields the body as it arrives. Raises ClientGoneError, HttpError."""
        loop = asyncio.get_running_loop()
        while not self._end.is_set():
            limit = self._message_due or loop.time() + self._idle
            try:
                async with asyncio.timeout_at(None if self._may_be_silent else limit) as bound:
                    event = await self._receive()
            except TimeoutError:
                if not bound.expired():
                    raise
                raise refused(
                    CallTimeoutError(
                        f"the client sent no message, or not the whole of one, for {self._idle:g}"
                        " s, so the request is ended; send it again, or raise api.idle_seconds"
                    )
                ) from None
            if event["type"] == "http.disconnect":
                raise ClientGoneError
            if not event.get("more_body", False):
                self._end.set()
            yield event.get("body", b"")

    async def whole(self, limit: int, place: MessagePlace) -> bytes:
        """Returns the whole body. Raises ClientGoneError, and HttpError above `limit` bytes."""
        body = bytearray()
        self.expect(message=True)
        async for part in self.parts():
            body += part
            if len(body) > limit:
                raise too_large(limit)
            await place.keep(len(body))
        return bytes(body)

    async def gone(self) -> None:
        """Returns when the client has closed its connection, after it has sent the whole body."""
        await self._end.wait()
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
