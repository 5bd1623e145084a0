"""The gRPC server on its Unix socket."""

from __future__ import annotations

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

from claraedge.api.answers import handlers
from claraedge.appliance.lock import FileLock
from claraedge.errors import AlreadyRunningError, ConfigurationError

_log = logging.getLogger(__name__)

#: Of sun_path, less the NUL.
_MAX_SOCKET_PATH = 107
_RECEIVE = 4 * 1024 * 1024
#: Calls get so many seconds to end when the daemon stops.
_STOP_GRACE = 3.0


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
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
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

    Entering raises AlreadyRunningError where a stranger listens on the socket.
    """

    def __init__(self, path: Path, services: Sequence[tuple[ServiceDescriptor, object]]) -> None:
        self._path = path
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _RECEIVE),
                ("grpc.max_send_message_length", _RECEIVE),
            ]
        )
        self._server.add_generic_rpc_handlers([handlers(d, s) for d, s in services])

    async def __aenter__(self) -> Self:
        _remove_stale(self._path)
        # The mask is the process's own; nothing else of ours makes files while the daemon starts.
        before = os.umask(0o117)
        try:
            bound = self._server.add_insecure_port(f"unix:{self._path}")
        except RuntimeError as error:
            raise ConfigurationError(
                f"the socket {self._path} could not be bound: {error}"
            ) from error
        finally:
            os.umask(before)
        if bound == 0:
            raise ConfigurationError(f"the socket {self._path} could not be bound")
        await self._server.start()
        _log.info("serving", extra={"socket": str(self._path)})
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._server.stop(_STOP_GRACE)
        self._path.unlink(missing_ok=True)

    async def run(self) -> None:
        """Ends only when the server has ended."""
        await self._server.wait_for_termination()


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
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
            return
    raise AlreadyRunningError(
        f"another program listens on {path}; stop it, or choose another CLARAEDGE_RUNTIME_DIR"
    )
