"""Reports the state of the daemon to systemd by the sd_notify protocol, one datagram per message.

Every function returns whether the message was sent: False if there is no $NOTIFY_SOCKET or if the
receiver is gone. The daemon never ends because its supervisor does not listen.
Source: sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

_SOCKET = "NOTIFY_SOCKET"


def notify(state: str, *, environment: Mapping[str, str] = os.environ) -> bool:
    """Sends `state`, one or more `NAME=value` lines, to the supervisor.

    A socket address that starts with `@` is in the abstract namespace (sd_notify(3)).
    """
    address = environment.get(_SOCKET, "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        # A supervisor that does not read must not block the event loop.
        channel.settimeout(1.0)
        channel.connect(address)
        channel.sendall(state.encode())
        return True
    return False


def ready(text: str, *, environment: Mapping[str, str] = os.environ) -> bool:
    """Reports that the daemon has recovered and serves.

    The message includes MAINPID: systemd may have started a script whose child is this process. The
    unit needs `NotifyAccess=all` for that.
    """
    return notify(
        f"READY=1\nMAINPID={os.getpid()}\nSTATUS={_one_line(text)}", environment=environment
    )


def stopping(text: str = "stopping", *, environment: Mapping[str, str] = os.environ) -> bool:
    """Reports that the daemon has begun to stop."""
    return notify(f"STOPPING=1\nSTATUS={_one_line(text)}", environment=environment)


def status(text: str, *, environment: Mapping[str, str] = os.environ) -> bool:
    """Sets the status line that `systemctl status` shows."""
    return notify(f"STATUS={_one_line(text)}", environment=environment)


def extend_timeout(seconds: float, *, environment: Mapping[str, str] = os.environ) -> bool:
    """Requests `seconds` more, from now, to start or stop (for a migration or a long recovery)."""
    return notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", environment=environment)


def _one_line(text: str) -> str:
    """Joins the words by single spaces: a line end would begin a new assignment."""
    return " ".join(text.split())
