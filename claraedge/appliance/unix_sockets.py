"""Unix sockets on which the daemon listens."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from claraedge.errors import AlreadyRunningError, ConfigurationError

#: Seconds for a process that listens on the path of the socket to accept a connection.
_PROBE = 1.0


@contextmanager
def for_group() -> Iterator[None]:
    """Gives sockets that are bound in this context the mode 0660.

    The umask applies to the whole process: no other code of ours may create files meanwhile.
    """
    before = os.umask(0o117)
    try:
        yield
    finally:
        os.umask(before)


def remove_stale(path: Path) -> None:
    """Removes the socket of a killed daemon.

    The caller has the lock of its folder (`RuntimeFolder`), so no other daemon uses it.

    Raises ConfigurationError if the path is not a socket, and AlreadyRunningError if a program
    listens on it.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(
            f"{path} is in the way: it is not a socket. Move it to another folder, or choose"
            " another CLARAEDGE_RUNTIME_DIR"
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
        except OSError:  # its backlog is full, or no permission: a program is listening
            pass
    raise AlreadyRunningError(
        f"another program listens on {path}; stop it, or choose another CLARAEDGE_RUNTIME_DIR"
    )
