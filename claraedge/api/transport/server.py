"""The gRPC server: on its Unix socket, and where configured on the loopback."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from claraedge.api.transport.calls import Limits, handlers
from claraedge.api.transport.slots import Slots
from claraedge.api.transport.standard import HEALTH, REFLECTION, HealthServicer, ReflectionServicer
from claraedge.appliance.lock import FileLock
from claraedge.config.addresses import is_loopback, mistakes_of
from claraedge.errors import AlreadyRunningError, ConfigurationError
from claraedge.fs import files
from claraedge.memory import Budget

_log = logging.getLogger(__name__)

#: Of sun_path, less the NUL.
_MAX_SOCKET_PATH = 107
#: gRPC's own count of calls, of all kinds together: far above what `Slots` takes, for it also has
#: those that are being refused. It bounds their memory, should their clients read nothing at all.
_CALLS = 16_384
#: Calls at a time on one connection; more wait in the client.
STREAMS = 256
#: Bytes of a message, either way: gRPC's own default, which clients have as well.
MESSAGE = 4 * 1024 * 1024
#: Milliseconds of silence after which a client is asked whether it is there, and to answer in.
ASKED_AFTER, ANSWERED_WITHIN = 60_000, 20_000
_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE),
    ("grpc.max_send_message_length", MESSAGE),
    ("grpc.max_concurrent_streams", STREAMS),
    # Of more calls than these that come at once, gRPC cancels some by chance, whosever they are; by
    # its default of 1,000 that hits `Status` of others while one client opens many streams.
    ("grpc.server.max_pending_requests", _CALLS),
    ("grpc.server.max_pending_requests_hard_limit", _CALLS),
    ("grpc.so_reuseport", 0),
    # What a client may send ahead is bounded; left to itself gRPC lets it grow to tens of MiB.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
    # A client that is gone without a word is noticed within a minute and a half.
    ("grpc.keepalive_time_ms", ASKED_AFTER),
    ("grpc.keepalive_timeout_ms", ANSWERED_WITHIN),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients ask as often as they like. By gRPC's default one that asks twice within five minutes
    # is sent away with "too_many_pings" and loses its calls, and 10 s is what many are set to: the
    # least that grpc-go and grpc-java take. A limit near that fails by jitter, OpenC3/cosmos#3271.
    ("grpc.http2.max_ping_strikes", 0),
]
#: Calls get so many seconds to end when the daemon stops.
_STOP_GRACE = 3.0
#: Seconds for whoever listens on the socket's path to take a call.
_PROBE = 1.0


class RuntimeFolder:
    """The folder of the socket, held by one daemon: the lock is taken before anything is bound.

    gRPC itself would take the socket away from a living server.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._lock = FileLock(socket.with_suffix(".lock"))

    def __enter__(self) -> Self:
        folder = self._socket.parent
        if len(os.fsencode(self._socket)) > _MAX_SOCKET_PATH:
            raise ConfigurationError(
                f"runtime_dir: the socket path {self._socket} is longer than {_MAX_SOCKET_PATH}"
                " bytes, the most that the kernel takes; choose a shorter CLARAEDGE_RUNTIME_DIR"
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
    """Serves while its context lasts, on a socket of mode 0660: its group is the access control.

    Entering raises AlreadyRunningError where a stranger listens on the socket or on an address of
    `listen`, ConfigurationError where one is not the loopback's.
    """

    def __init__(
        self,
        path: Path,
        services: Sequence[tuple[ServiceDescriptor, object]],
        limits: Limits,
        listen: Sequence[str] = (),
    ) -> None:
        self._path = path
        self._listen = listen
        self._server = grpc.aio.server(
            options=_OPTIONS,
            maximum_concurrent_rpcs=_CALLS,
            compression=grpc.Compression.NoCompression,
        )
        names = [*(d.full_name for d, _ in services), HEALTH.full_name, REFLECTION.full_name]
        self._health = HealthServicer(names)
        served = [*services, (HEALTH, self._health), (REFLECTION, ReflectionServicer(names))]
        slots, budget = Slots(), Budget()
        self._server.add_generic_rpc_handlers(
            [handlers(d, s, limits, slots, budget) for d, s in served]
        )

    async def __aenter__(self) -> Self:
        _remove_stale(self._path)
        # The mask is the process's own; nothing else of ours makes files while the daemon starts.
        before = os.umask(0o117)
        try:
            self._bind(f"unix:{self._path}")
        finally:
            os.umask(before)
        for address in self._listen:
            if not is_loopback(address):  # no encryption and no login
                raise ConfigurationError(*mistakes_of([address]))
            self._bind(address)
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
        """Ends only when the server has ended."""
        # Shielded: gRPC's own shutdown waits for the same future, and a cancel of it would cut off
        # every call at once instead of after the grace.
        await asyncio.shield(self._server.wait_for_termination())

    def _bind(self, address: str) -> None:
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError:  # says nothing of use; gRPC has logged the reason
            bound = 0
        if bound == 0:
            raise AlreadyRunningError(
                f"{address} cannot be listened on: another program does perhaps (`ss -ltnp` shows"
                " it); end that one, or choose another port in api.listen"
            )


def _remove_stale(path: Path) -> None:
    """Removes the socket that a killed daemon left; we hold the lock, so it is not another's."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(
            f"{path} is in the way: it is not a socket. Move it away, or choose another"
            " CLARAEDGE_RUNTIME_DIR"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(_PROBE)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError:  # full, or not ours to call: somebody is there
            pass
    raise AlreadyRunningError(
        f"another program listens on {path}; stop it, or choose another CLARAEDGE_RUNTIME_DIR"
    )
