"""Finds the address of the daemon: an argument, CLARAEDGE_HOST, or one of the default sockets."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from claraedge.errors import InvalidRequestError, UnavailableError

#: Begins a target that is called by TLS.
TLS = "tls:"

SYSTEM_SOCKET = Path("/run/claraedge/claraedge.sock")

#: Bytes of `sun_path` of a Unix socket address, without its terminating NUL.
_LONGEST_PATH = 107
#: Seconds for a daemon to accept a connection.
_KNOCK = 2.0


def find_target(
    host: str | None,
    environment: Mapping[str, str],
    user: int,
    exists: Callable[[Path], bool] = Path.exists,
) -> str:
    """Returns the target, `unix:/path`, `host:port` or `tls:host:port`.

    The first of these applies: `host`, `CLARAEDGE_HOST`, `CLARAEDGE_RUNTIME_DIR`, the user's own
    socket if it exists, the system's socket if it exists, and otherwise the socket that `claraedge
    serve` would create for this `user` (a uid). Raises InvalidRequestError if that is no
    valid target.
    """
    named = host or environment.get("CLARAEDGE_HOST")
    if named:
        return parse_target(named)
    if environment.get("CLARAEDGE_RUNTIME_DIR"):
        return parse_target(f"unix:{environment['CLARAEDGE_RUNTIME_DIR']}/claraedge.sock")
    own = Path(
        environment.get("XDG_RUNTIME_DIR") or f"/run/user/{user}", "claraedge/claraedge.sock"
    )
    for path in (own, SYSTEM_SOCKET):
        if _seen(path, exists):
            return parse_target(f"unix:{path}")
    return parse_target(f"unix:{SYSTEM_SOCKET if user == 0 else own}")


def user_of(target: str) -> int:
    """Returns the uid of the daemon at `target`, as the kernel reports it (SO_PEERCRED).

    Raises InvalidRequestError if it is not a Unix socket, and UnavailableError if no process
    listens.
    """
    if not target.startswith("unix:"):
        raise InvalidRequestError(f"{target}: name the daemon's socket on this machine, unix:/path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(_KNOCK)
        try:
            peer.connect(target.removeprefix("unix:"))
        except OSError as error:
            raise UnavailableError(_explain(target.removeprefix("unix:"), error)) from error
        size = struct.calcsize("3i")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    user: int = struct.unpack("3i", credentials)[1]
    return user


def _seen(path: Path, exists: Callable[[Path], bool]) -> bool:
    try:
        return exists(path)
    except PermissionError:  # this user may not enter the folder: the call reports that
        return True


def parse_target(text: str) -> str:
    """Returns `text` as a target. Raises InvalidRequestError that names the valid forms."""
    if text.startswith(("/", "unix:")):
        path = text.removeprefix("unix:")
        if path.startswith("//"):  # unix:///run/x.sock
            path = path.removeprefix("//")
        path = str(Path(path).absolute())
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise InvalidRequestError(
                f"{path}: the path of a socket is at most {_LONGEST_PATH} bytes; this one has"
                f" {len(os.fsencode(path))}: use a shorter folder (CLARAEDGE_RUNTIME_DIR)"
            )
        return f"unix:{path}"
    name, colon, port = text.removeprefix(TLS).rpartition(":")
    if not (colon and name and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InvalidRequestError(
            f"{text!r} names no daemon: give unix:/path, host:port, or tls:host:port"
        )
    return text


def why_unreachable(target: str) -> str:
    """Connects to `target` once; returns the reason why it is unreachable, and what to do."""
    if target.startswith(TLS):
        return (
            f"no daemon answers by TLS at {target.removeprefix(TLS)}: check the address, that"
            " CLARAEDGE_CA is the authority of its certificate, and that it accepts the one of"
            " CLARAEDGE_CERTIFICATE if it asks for one"
        )
    if not target.startswith("unix:"):
        return (
            f"no daemon answers at {target}: check the address, and that the daemon listens there"
            " (`listen` below [api] in its configuration)"
        )
    path = target.removeprefix("unix:")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_KNOCK)
        try:
            probe.connect(path)
        except OSError as error:
            return _explain(path, error)
    return (
        f"the daemon at {path} ended the call: it may be starting or stopping; try again in a few"
        " seconds"
    )


def _explain(path: str, error: OSError) -> str:
    join = (
        "ask an administrator of claraedge; who is to administer it joins the group that may do"
        ' everything: `sudo usermod --append --groups claraedge "$USER"`, then log in again'
        if path == str(SYSTEM_SOCKET)
        else "run the command as the user of that daemon"
    )
    begin = (
        "sudo systemctl start claraedge   (why it ended: sudo journalctl -u claraedge)"
        if path == str(SYSTEM_SOCKET)
        else "claraedge serve   (or: systemctl --user start claraedge)"
    )
    match error.errno:
        case errno.ENOENT:
            return f"there is no socket {path}: the daemon does not run; start it: {begin}"
        case errno.ECONNREFUSED:
            return f"nobody listens at {path}: the daemon has ended; start it: {begin}"
        case errno.EACCES | errno.EPERM:
            return f"{path} is not open to this user; {join}"
    return f"{path}: {error.strerror or error}"
