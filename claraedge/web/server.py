"""The HTTP server: uvicorn inside the daemon, on a Unix socket next to that of gRPC, and on TCP."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from google.protobuf.descriptor import ServiceDescriptor

from claraedge.access.certificates import Certificates
from claraedge.access.sockets import bound
from claraedge.access.token import Token
from claraedge.appliance.unix_sockets import for_group, remove_stale
from claraedge.config import HttpSettings
from claraedge.config.addresses import parsed
from claraedge.web.connect.gateway import Gateway
from claraedge.web.console import console
from claraedge.web.console.visit import failure_page, is_page
from claraedge.web.files import routes as files
from claraedge.web.health import Health
from claraedge.web.http.application import HttpApplication
from claraedge.web.http.body import Scope
from claraedge.web.http.failures import FailureForm
from claraedge.web.http.guard import Guard
from claraedge.web.http.listener import Listener
from claraedge.web.http.protocol import HEADER_BYTES, KEEP_ALIVE, HttpProtocol
from claraedge.web.http.router import Router
from claraedge.web.login.login import LoginPages
from claraedge.web.metrics import Exposed, MetricsPage
from claraedge.web.openapi.routes import OpenApi
from claraedge.web.proxy.proxy import Dial, RouteProxy
from claraedge.web.rapyuta import routes as rapyuta
from claraedge.web.rapyuta.failures import form_of
from claraedge.web.rpc.methods import methods_of
from claraedge.web.rpc.upstream import Upstream
from claraedge.web.v1.resources import routes_of

_log = logging.getLogger(__name__)

#: Requests that keep a large message at the same time; more of them wait.
_PLACES = 16
#: Seconds for requests to end when the daemon stops, after the gRPC server has ended its calls, and
#: for what is left of them once they are cancelled.
_STOP_GRACE, _LAST = 1.0, 1.0


class HttpServer:
    """Serves while its context is open, on a socket of mode 0660 whose group controls access.

    On addresses of TCP, callers show the token or a certificate. Leave the context after that of
    the gRPC server, which ends all calls, and so all requests. Entering raises AlreadyRunningError
    if another program listens on the socket or on an address, and ConfigurationError if the daemon
    may not use an address.
    """

    def __init__(
        self,
        path: Path,
        settings: HttpSettings,
        services: Sequence[ServiceDescriptor],
        grpc_socket: Path,
        certificates: Certificates | None = None,
        token: Token | None = None,
        *,
        metrics: Exposed,
        dial: Dial,
        idle: float,
    ) -> None:
        """`services`: those of the gRPC server on `grpc_socket`, with that of its health.

        `certificates`: for TLS on all addresses; None: no TLS. `token`: None if each caller has a
        certificate. `dial` opens connections to what static routes lead to. `idle`: seconds to wait
        for a client.
        """
        self._path = path
        self._listen = settings.listen
        self._certificates = certificates
        self._upstream = Upstream(grpc_socket)
        guard = Guard(settings.hosts, token)
        places = asyncio.Semaphore(_PLACES)
        methods = methods_of(services)
        routes = [
            *Gateway(methods, self._upstream, places).routes(),
            *routes_of(methods, self._upstream, places),
            *files.routes_of(methods, self._upstream),
            *rapyuta.routes_of(methods, self._upstream, places, path),
            *Health(methods, self._upstream).routes(),
            *MetricsPage(metrics).routes(),
            *OpenApi(methods).routes(),
            *console.routes_of(methods, self._upstream),
            *RouteProxy(dial, settings.route_seconds, settings.trusted_routes).routes(),
        ]
        if token is not None:
            routes += LoginPages(guard).routes()
        self._server = _Server(
            uvicorn.Config(
                HttpApplication(Router(routes), guard, idle=idle, form_of=_form_of),
                http=HttpProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                h11_max_incomplete_event_size=HEADER_BYTES,
                timeout_keep_alive=KEEP_ALIVE,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        # What a client does wrong is answered, not logged; our applications catch all exceptions.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        remove_stale(self._path)
        listeners = self._bound()
        serving = asyncio.create_task(self._server.serve_on(listeners), name="http")
        ready = asyncio.create_task(self._server.ready.wait())
        try:
            await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
                raise RuntimeError("the HTTP server ended at its start")
        except BaseException:
            serving.cancel()
            for listener in listeners:
                listener.socket.close()
            self._path.unlink(missing_ok=True)
            raise
        finally:
            ready.cancel()
        self._serving = serving
        _log.info(
            "serving HTTP",
            extra={
                "socket": str(self._path),
                "listen": list(self._listen),
                "tls": self._certificates is not None,
            },
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._serving is not None, "the context was entered"
        self._server.ended.set()
        try:
            await asyncio.wait({self._serving})
        finally:
            self._path.unlink(missing_ok=True)
            await self._upstream.close()

    async def run(self) -> None:
        """Waits until the server has ended."""
        assert self._serving is not None, "the context was entered"
        await asyncio.shield(self._serving)

    def _bound(self) -> list[Listener]:
        listeners = [Listener(socket=_bound(self._path))]
        certificates = self._certificates
        try:
            for address in self._listen:
                host_and_port = parsed(address)
                assert host_and_port is not None, "the configuration was checked"
                listener = Listener(
                    socket=bound(*host_and_port, "http.listen"),
                    certificates=certificates,
                    needs_token=certificates is None or not certificates.for_clients,
                )
                listeners.append(listener)
        except BaseException:
            for listener in listeners:
                listener.socket.close()
            self._path.unlink(missing_ok=True)
            raise
        return listeners


class _Server(uvicorn.Server):
    """uvicorn without its timers of 0.1 s and its handlers of signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self._listeners: Sequence[Listener] = ()

    async def serve_on(self, listeners: Sequence[Listener]) -> None:
        """Serves until `ended` is set."""
        self._listeners = listeners
        await self.serve()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = [
            await asyncio.get_running_loop().create_server(
                partial(listener.accepted, self.config),
                sock=listener.socket,
                backlog=self.config.backlog,
            )
            for listener in self._listeners
        ]
        self.started = True

    async def main_loop(self) -> None:
        self.ready.set()
        await self.ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends all connections; a client that reads nothing cannot delay it."""
        for server in self.servers:
            server.close()
        if requests := self._requests:
            await asyncio.wait(requests, timeout=_STOP_GRACE)
        for listener in self._listeners:
            listener.abort()
        if self._requests:  # what waited for its client has ended by that
            await asyncio.sleep(0)
            late = self._requests
            for request in late:
                request.cancel()
            if late:
                await asyncio.wait(late, timeout=_LAST)

    @property
    def _requests(self) -> set[asyncio.Task[None]]:
        return {task for listener in self._listeners for task in listener.state.tasks}

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _form_of(scope: Scope) -> FailureForm:
    """Returns the form of failures of a request."""
    path: str = scope["path"]
    kind: bytes = dict(scope["headers"]).get(b"content-type", b"")
    signs_in = path == "/login" and kind.startswith(b"application/x-www-form-urlencoded")
    return partial(failure_page, scope) if signs_in or is_page(path) else form_of(path)


def _bound(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with for_group():
            listener.bind(str(path))
    except BaseException:
        listener.close()
        raise
    return listener
