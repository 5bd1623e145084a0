"""A socket on which the server accepts connections, with or without TLS."""

from __future__ import annotations

import asyncio
import socket
from asyncio import sslproto
from dataclasses import dataclass, field
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from claraedge.access.certificates import Certificates
from claraedge.web.http.protocol import CONNECTIONS, HEADERS, HttpProtocol


@dataclass(slots=True, kw_only=True)
class Listener:
    """A bound socket, and its connections: those of one do not use up those of another."""

    socket: socket.socket
    certificates: Certificates | None = None
    """None: without TLS."""
    needs_token: bool = False
    state: ServerState = field(default_factory=ServerState)
    encrypted: set[TlsConnection] = field(default_factory=set)

    def accepted(self, config: uvicorn.Config) -> asyncio.BaseProtocol:
        """Returns the protocol of a new connection."""
        loop = asyncio.get_running_loop()
        states = {
            "needs_token": self.needs_token,
            "is_tcp": self.socket.family != socket.AF_UNIX,
        }
        protocol = HttpProtocol(config, self.state, states, loop)
        if self.certificates is None:
            return protocol
        return TlsConnection(loop, protocol, self.certificates, self.encrypted)

    def abort(self) -> None:
        """Ends all connections at once."""
        for connection in list(self.state.connections):
            if isinstance(connection, HttpProtocol):
                connection.abort()
        for encrypted in list(self.encrypted):
            encrypted.abort()


class TlsConnection(sslproto.SSLProtocol):
    """An encrypted connection, by the certificate as it is now. asyncio would use one for ever."""

    #: Bytes of the buffer that each connection has; a record of TLS has 16 KiB.
    max_size = 64 * 1024

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: HttpProtocol,
        certificates: Certificates,
        connections: set[TlsConnection],
    ) -> None:
        super().__init__(
            loop,
            protocol,
            certificates.current().context,
            cast("asyncio.Future[Any]", None),  # nobody waits for the handshake
            server_side=True,
            ssl_handshake_timeout=int(HEADERS),
        )
        self._connections = connections
        self._below: Any = None

    def connection_made(self, transport: Any) -> None:
        self._below = transport
        if len(self._connections) >= CONNECTIONS:
            transport.abort()
            return
        self._connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.discard(self)
        self._below = None
        super().connection_lost(exc)

    def _on_handshake_complete(self, handshake_exc: BaseException | None) -> None:
        if handshake_exc is not None:
            cast("Any", self)._process_outgoing()  # the client sees why
        super()._on_handshake_complete(handshake_exc)

    def _fatal_error(self, exc: BaseException, message: str = "") -> None:
        """Ends the connection. What a client does wrong is not logged; asyncio would do that."""
        self.abort()

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._below is not None:
            self._below.abort()
