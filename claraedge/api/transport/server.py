"""The gRPC server, which listens on its Unix socket and, if configured, on TCP addresses."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from claraedge.access.certificates import Certificate, Certificates
from claraedge.access.token import Token
from claraedge.api.transport.calls import CallLimits, CallRules, OnCall, UnknownMethods, handlers
from claraedge.api.transport.slots import Slots
from claraedge.api.transport.standard import HEALTH, REFLECTION, HealthServicer, ReflectionServicer
from claraedge.appliance.lock import FileLock
from claraedge.appliance.unix_sockets import for_group, remove_stale
from claraedge.config.addresses import is_loopback
from claraedge.errors import AlreadyRunningError, ConfigurationError
from claraedge.fs import files
from claraedge.memory import Budget

_log = logging.getLogger(__name__)

#: Bytes of `sun_path`, without the terminating NUL.
_MAX_SOCKET_PATH = 107
#: gRPC's own limit of concurrent calls of all kinds: far above the limits of `Slots`, because it
#: also counts calls that are being refused. It bounds their memory if their clients read nothing.
_CALLS = 16_384
#: Concurrent calls on one connection; more of them wait in the client.
STREAMS = 256
#: Maximum bytes of a message in either direction: gRPC's default, which clients have as well.
MESSAGE = 4 * 1024 * 1024
#: Concurrent connections of the socket, and of each address: they have no token yet, and each needs
#: up to 70 KiB with TLS.
CONNECTIONS = 1024
#: Milliseconds for the handshake of TLS; gRPC's default is two minutes.
HANDSHAKE = 20_000
#: Milliseconds of silence after which a client gets a keepalive ping, and for its answer.
ASKED_AFTER, ANSWERED_WITHIN = 60_000, 20_000
_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE),
    ("grpc.max_send_message_length", MESSAGE),
    ("grpc.max_concurrent_streams", STREAMS),
    # If more calls than these arrive at once, gRPC cancels random ones of any client; with its
    # default of 1,000 it cancels `Status` calls of others while one client opens many streams.
    ("grpc.server.max_pending_requests", _CALLS),
    ("grpc.server.max_pending_requests_hard_limit", _CALLS),
    ("grpc.so_reuseport", 0),
    # Bounds the data that a client may send ahead; by default gRPC lets it grow to tens of MiB.
    # With less, or frames of 16 KiB (the default), clients of small chunks pause more often; with
    # 512 KiB, 20 uploads side by side need 7 MiB more.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 320 * 1024),
    ("grpc.http2.max_frame_size", 1024 * 1024),
    # A client that vanished without closing its connection is noticed within a minute and a half.
    ("grpc.keepalive_time_ms", ASKED_AFTER),
    ("grpc.keepalive_timeout_ms", ANSWERED_WITHIN),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients may send keepalive pings at any rate. By default gRPC disconnects a client that pings
    # twice within five minutes with "too_many_pings", and its calls fail. Many clients ping every
    # 10 s, the minimum of grpc-go and grpc-java; a limit near that fails by jitter
    # (OpenC3/cosmos#3271).
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE),
    ("grpc.max_allowed_incoming_connections", CONNECTIONS),
]
#: Seconds that calls get to end when the daemon stops.
_STOP_GRACE = 3.0


class RuntimeFolder:
    """The folder of the socket, locked by one daemon before any address is bound.

    Without the lock gRPC would replace the socket of a running server. Entering raises
    ConfigurationError if the folder cannot be used, and AlreadyRunningError if it is locked.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._lock = FileLock(socket.with_suffix(".lock"))

    def __enter__(self) -> Self:
        folder = self._socket.parent
        if len(os.fsencode(self._socket)) > _MAX_SOCKET_PATH:
            raise ConfigurationError(
                f"runtime_dir: the socket path {self._socket} is longer than {_MAX_SOCKET_PATH}"
                " bytes, the most that the kernel accepts; choose a shorter CLARAEDGE_RUNTIME_DIR"
            )
        try:
            files.make_folders(folder, 0o750)
            if folder.stat().st_uid == os.geteuid():
                folder.chmod(0o750)
            self._lock.acquire()
        except AlreadyRunningError as error:
            raise AlreadyRunningError(
                f"another claraedge daemon serves {self._socket} ({error}); stop it, or give this"
                " one a runtime folder of its own (CLARAEDGE_RUNTIME_DIR)"
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"runtime_dir: {folder} cannot be used ({error.strerror}); choose another"
                " (CLARAEDGE_RUNTIME_DIR), or give it to this user"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


class Server:
    """Serves while its context is open, on a socket of mode 0660 whose group controls access.

    Addresses of loopback are open to the machine; on others, clients use TLS. Entering raises
    AlreadyRunningError if another program listens on the socket or on an address of `listen`.
    """

    def __init__(
        self,
        path: Path,
        services: Sequence[tuple[ServiceDescriptor, object]],
        limits: CallLimits,
        listen: Sequence[str] = (),
        certificates: Certificates | None = None,
        token: Token | None = None,
        on_call: OnCall = lambda _service, _method, _code, _seconds: None,
    ) -> None:
        """`certificates`: needed if an address of `listen` is not of loopback.

        `token`: what callers show there; None: each has a certificate.
        """
        self._path = path
        self._listen = listen
        self._certificates = certificates
        self._server = grpc.aio.server(
            options=_OPTIONS,
            maximum_concurrent_rpcs=_CALLS,
            compression=grpc.Compression.NoCompression,
        )
        names = [*(d.full_name for d, _ in services), HEALTH.full_name, REFLECTION.full_name]
        self._health = HealthServicer(names)
        served = [*services, (HEALTH, self._health), (REFLECTION, ReflectionServicer(names))]
        rules = CallRules(
            limits=limits, slots=Slots(), budget=Budget(), on_call=on_call, token=token
        )
        self._server.add_generic_rpc_handlers(
            [*(handlers(d, s, rules) for d, s in served), UnknownMethods(on_call)]
        )

    async def __aenter__(self) -> Self:
        remove_stale(self._path)
        with for_group():
            self._bind(f"unix:{self._path}")
        for address in self._listen:
            self._bind(address, None if is_loopback(address) else self._credentials(address))
        await self._server.start()
        self._health.set(serving=True)
        _log.info("serving", extra={"socket": str(self._path), "listen": list(self._listen)})
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._health.set(serving=False)
        await self._server.stop(_STOP_GRACE)
        self._path.unlink(missing_ok=True)

    async def run(self) -> None:
        """Waits until the server has ended."""
        # Shielded: gRPC's shutdown waits for the same future, and its cancellation would end every
        # call at once instead of after the grace period.
        await asyncio.shield(self._server.wait_for_termination())

    def _credentials(self, address: str) -> grpc.ServerCredentials:
        if self._certificates is None:
            raise ConfigurationError(
                f"api.listen: other machines reach {address}, so it needs a certificate; set"
                " tls.certificate and tls.key"
            )
        return _dynamic(self._certificates)

    def _bind(self, address: str, credentials: grpc.ServerCredentials | None = None) -> None:
        try:
            if credentials is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, credentials)
        except RuntimeError:  # its text is not useful; gRPC has logged the reason
            bound = 0
        if bound == 0:
            raise AlreadyRunningError(
                f"{address} cannot be listened on: another program does perhaps (`ss -ltnp` shows"
                " it), or this machine does not have that address (`ip address`); end that program,"
                " or choose another address or port in api.listen"
            )


def _dynamic(certificates: Certificates) -> grpc.ServerCredentials:
    """Returns credentials for which gRPC asks again at each connection, in threads of its own."""
    known = certificates.current()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal known
        current = certificates.current()
        if current is known:
            return None
        known = current
        return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(known),
        cast("Callable[[], grpc.ServerCertificateConfiguration]", renewed),  # None: as before
        require_client_authentication=certificates.for_clients,
    )


def _configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(certificate.key, certificate.chain)], certificate.clients
    )
