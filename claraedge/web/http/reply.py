"""Sends the answer of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate

from claraedge.errors import NAME_KEY
from claraedge.web.http.body import ClientGoneError, Scope, Send
from claraedge.web.http.failures import FailureForm, HttpError, connect_form

#: Seconds to wait for a client to read that its request has failed.
_HURRY = 5.0
#: Bytes that are sent at once: the client has the idle time for each of them.
_SLICE = 256 * 1024
#: Headers of each answer, unless an answer has others of the same name.
_ALWAYS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


class Reply:
    """The answer of one request."""

    def __init__(
        self, scope: Scope, send: Send, idle: float, form: FailureForm = connect_form
    ) -> None:
        """`idle`: seconds to wait for the client to read what was sent. `form`: of failures."""
        self._connection = scope["state"]
        self._gone: asyncio.Event = self._connection["gone"]
        self._is_head = scope["method"] == "HEAD"
        self.begun = False
        """Whether the status was sent, so that it cannot change any more."""
        self.check_caller: Callable[[], None] = lambda: None
        """Raises HttpError if the caller may read the answer no longer: its browser signed out."""
        self._send = send
        self._idle = idle
        self._form = form

    def hurry(self) -> None:
        """Waits less for the client from now on: the request has failed."""
        self._idle = min(self._idle, _HURRY)

    async def gone(self) -> None:
        """Returns when the connection to the client is lost."""
        await self._gone.wait()

    def cut(self) -> None:
        """Closes the connection without the end of the body."""
        self._connection["cut"]()

    async def begin(
        self,
        content_type: str | None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        more: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Sends the status and the headers. Raises ClientGoneError after those of a HEAD.

        `content_type`: None for an answer without a body. `more`: headers whose names occur several
        times.
        """
        known = {**_ALWAYS, "date": formatdate(usegmt=True)}
        if content_type is not None:
            known["content-type"] = content_type
        known |= {name.lower(): value for name, value in (headers or {}).items()}
        lines = [(name.encode(), value.encode("latin-1")) for name, value in known.items()]
        lines += more
        self.begun = True
        await self._sent({"type": "http.response.start", "status": status, "headers": lines})
        if self._is_head:  # nobody reads the rest
            await self._sent({"type": "http.response.body", "body": b"", "more_body": False})
            raise ClientGoneError

    async def part(self, data: bytes) -> None:
        """Sends a part of the body; returns when there is room for the next one.

        If the client does not read it within the idle time, the connection is ended, and
        ClientGoneError raised.
        """
        for start in range(0, len(data), _SLICE):
            slice_ = data[start : start + _SLICE]
            await self._sent({"type": "http.response.body", "body": slice_, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Sends the last part of the body, and waits until there is room again: once an answer has
        ended, nobody waits for its client.
        """
        if data:
            await self.part(data)
        await self._sent({"type": "http.response.body", "body": b"", "more_body": False})

    async def empty(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        """Sends an answer without a body: 204, 304, or one to HEAD."""
        await self.begin(None, status=status, headers=headers)
        await self.end()

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
        answer = self._form(failure)
        headers = {**failure.headers, NAME_KEY: failure.name, **answer.headers}
        await self.whole(answer.body, answer.content_type, status=answer.status, headers=headers)

    async def _sent(self, event: dict[str, object]) -> None:
        """Sends an event. Raises ClientGoneError if the client has gone, or does not read."""
        try:
            async with asyncio.timeout(self._idle) as bound:
                await self._send(event)
        except TimeoutError:
            if not bound.expired():
                raise
            self._connection["abort"]()
            raise ClientGoneError from None
        if self._gone.is_set():  # uvicorn drops what nobody reads, without a word
            raise ClientGoneError
