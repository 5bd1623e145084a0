"""uvicorn's HTTP protocol with limits for clients that are slow, or wrong.

uvicorn closes a connection by `close` of its transport, which waits without a limit until the
client has read all that was sent to it, and which breaks a client that is still sending. Here such
waits have a limit, and what a refused client still sends is read, so that it sees the refusal.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from claraedge.errors import NAME_KEY, TooManyCallsError
from claraedge.web.http.failures import HttpError, invalid, refused

#: Seconds for the headers of a request, or for the rest of one that is refused already; and between
#: two requests of a connection.
HEADERS, KEEP_ALIVE = 20.0, 75
#: Bytes of the headers of a request.
HEADER_BYTES = 32 * 1024
#: Connections at the same time.
CONNECTIONS = 1024
#: Seconds for a client to read the last bytes of a connection that is closed.
_LINGER = 30.0
#: The same with TLS, where a client that is still sending sees no end before.
_CUT = 2.0

# uvicorn has to know each status with which a program behind a static route may answer.
STATUS_PHRASES.update(dict.fromkeys(range(600, 1000), b""))


class _Transport:
    """A transport whose `close` ends in any case, and lets a client that is sending finish."""

    def __init__(self, transport: Any, is_sending: Callable[[], bool]) -> None:
        self._transport = transport
        self._is_sending = is_sending
        self._lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._lingers or bool(self._transport.is_closing())

    def close(self) -> None:
        if self.is_closing():
            return
        limit = _LINGER
        if self._is_sending():
            self._lingers, limit = True, HEADERS
            if self._transport.can_write_eof():  # not with TLS
                self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()
        asyncio.get_running_loop().call_later(limit, self._transport.abort)


class HttpProtocol(H11Protocol):
    """One connection. `scope["state"]` of its requests has `abort`, `cut`, and the event `gone`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gone = asyncio.Event()
        self.app_state = {
            **self.app_state,
            "abort": self.abort,
            "cut": self.cut,
            "gone": self._gone,
        }
        self._due: asyncio.TimerHandle | None = None

    def abort(self) -> None:
        """Ends the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def cut(self) -> None:
        """Ends the connection without the end of an answer, once what was sent is read."""
        self.transport.close()
        if not self.transport.can_write_eof():
            self.loop.call_later(_CUT, self.transport.abort)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(
            cast("asyncio.Transport", _Transport(transport, self._client_is_sending))
        )
        if len(self.connections) > CONNECTIONS:
            self._refuse(
                refused(
                    TooManyCallsError(
                        f"{CONNECTIONS} connections are open, which is the most; try again later"
                    ),
                    503,
                )
            )
            return
        self._limit()

    def _client_is_sending(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY

    def eof_received(self) -> None:
        if self.transport.is_closing():  # a refused client has finished
            self.abort()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():  # the rest of what was refused
            return
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # what followed a request is invalid, and it is in work
            self.abort()
            return
        if self._has_second_request:
            self.abort()
            return
        self._limit()

    @property
    def _has_second_request(self) -> bool:
        """Whether another request follows one that is in work.

        While it waits, nothing more is read, and nobody would see that the client has gone.
        """
        if self.cycle is None or self.cycle.response_complete:
            return False
        more = self.conn.trailing_data[0].strip(b"\r\n")  # some clients end a body by a line
        return self.conn.their_state is h11.DONE and bool(more)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        self._end_limit()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        self.abort()

    def send_400_response(self, msg: str) -> None:
        self._refuse(invalid(f"the request is not valid HTTP/1.1 ({msg.rstrip('.')})", 400))

    def _refuse(self, failure: HttpError) -> None:
        """Answers without a request that could be read, and closes the connection."""
        cycle = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.abort()  # an answer is under way
            return
        body = failure.text
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (NAME_KEY.encode(), failure.name.encode()),
        ]
        with contextlib.suppress(h11.LocalProtocolError):
            for event in (
                h11.Response(status_code=failure.status, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.cut()

    def _limit(self) -> None:
        """Limits the time in which only the client has something to do."""
        state = self.conn.states
        refused_early = state[h11.SERVER] is h11.DONE and state[h11.CLIENT] is h11.SEND_BODY
        between = state[h11.CLIENT] is h11.IDLE and self.cycle is not None
        if between and not self.conn.trailing_data[0]:  # all of a refused request has come
            self._end_limit()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(KEEP_ALIVE, self.abort)
        elif state[h11.CLIENT] is not h11.IDLE and not refused_early:
            self._end_limit()
        elif self._due is None and not self.transport.is_closing():
            self._due = self.loop.call_later(HEADERS, self.abort)

    def _end_limit(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
