"""The HTTP server: uvicorn inside the daemon, on a Unix socket next to that of gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h11
import uvicorn
from google.protobuf.descriptor import ServiceDescriptor
from uvicorn.protocols.http.h11_impl import H11Protocol

from claraedge.appliance.unix_sockets import for_group, remove_stale
from claraedge.web.gateway import Gateway
from claraedge.web.guard import Guard
from claraedge.web.methods import methods_of
from claraedge.web.upstream import Upstream

_log = logging.getLogger(__name__)

#: Seconds for the headers of a request, and between two requests of a connection.
_HEADERS, _KEEP_ALIVE = 20.0, 75
#: Connections, and requests in work, beyond which a request is answered with 503.
_CONNECTIONS = 1024
#: Bytes of the headers of a request.
_HEADER_BYTES = 32 * 1024
#: Seconds for requests to end when the daemon stops, after the gRPC server has ended its calls.
_STOP_GRACE = 1.0


class HttpServer:
    """Serves while its context is open, on a socket of mode 0660 whose group controls access.

    Leave the context after that of the gRPC server, which ends all calls, and so all requests.
    Entering raises AlreadyRunningError if another program listens on the socket.
    """

    def __init__(
        self, path: Path, services: Sequence[ServiceDescriptor], grpc_socket: Path, *, idle: float
    ) -> None:
        """`services`: those of the gRPC server on `grpc_socket`.

        `idle`: seconds to wait for a client.
        """
        self._path = path
        self._upstream = Upstream(grpc_socket)
        gateway = Gateway(methods_of(services), self._upstream, idle=idle)
        self._server = _Server(
            uvicorn.Config(
                Guard(gateway, idle=idle),
                http=_Protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                limit_concurrency=_CONNECTIONS,
                h11_max_incomplete_event_size=_HEADER_BYTES,
                timeout_keep_alive=_KEEP_ALIVE,
            )
        )
        self._serving: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # What a client does wrong is answered, not logged; our applications catch all exceptions.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        remove_stale(self._path)
        listener = _bound(self._path)
        await self._stack.enter_async_context(self._upstream)
        self._serving = asyncio.create_task(self._server.serve([listener]), name="http")
        await self._server.ready.wait()
        _log.info("serving HTTP", extra={"socket": str(self._path)})
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._serving is not None, "the context was entered"
        self._server.ended.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self._serving
        await self._stack.aclose()
        self._path.unlink(missing_ok=True)

    async def run(self) -> None:
        """Waits until the server has ended."""
        assert self._serving is not None, "the context was entered"
        await asyncio.shield(self._serving)


class _Server(uvicorn.Server):
    """uvicorn without its timers of 0.1 s and its handlers of signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()

    async def main_loop(self) -> None:
        self.ready.set()
        await self.ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if requests := list(self.server_state.tasks):
            _, late = await asyncio.wait(requests, timeout=_STOP_GRACE)
            for request in late:
                request.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(H11Protocol):
    """uvicorn's protocol with a time limit for the headers of each request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._headers_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._limit_headers()

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # what followed a request is invalid, and it is in work
            self.transport.abort()
            return
        self._limit_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_limit()
        super().connection_lost(exc)

    def _limit_headers(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._end_limit()
        elif self._headers_due is None and not self.transport.is_closing():
            self._headers_due = self.loop.call_later(_HEADERS, self.transport.abort)

    def _end_limit(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None


def _bound(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with for_group():
            listener.bind(str(path))
    except BaseException:
        listener.close()
        raise
    return listener
