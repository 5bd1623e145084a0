"""Tells systemd how the daemon is: the sd_notify protocol, which is one datagram a message.

Every call returns whether a message went out: False where nobody asked (no $NOTIFY_SOCKET) and
where the other end is gone. A daemon never ends because its supervisor does not listen.
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

    A name that starts with `@` is in the abstract namespace, as the protocol has it.
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
        # A supervisor that does not read must not hold the loop up.
        channel.settimeout(1.0)
        channel.connect(address)
        channel.sendall(state.encode())
        return True
    return False


def ready(text: str, *, environment: Mapping[str, str] = os.environ) -> bool:
    """The daemon serves and has recovered.

    MAINPID goes along: what systemd started may be a script, and this its child, so that it needs
    `NotifyAccess=all`.
    """
    return notify(
        f"READY=1\nMAINPID={os.getpid()}\nSTATUS={_one_line(text)}", environment=environment
    )


def stopping(text: str = "stopping", *, environment: Mapping[str, str] = os.environ) -> bool:
    """The daemon has begun to stop."""
    return notify(f"STOPPING=1\nSTATUS={_one_line(text)}", environment=environment)


def status(text: str, *, environment: Mapping[str, str] = os.environ) -> bool:
    """One line for `systemctl status`."""
    return notify(f"STATUS={_one_line(text)}", environment=environment)


def extend_timeout(seconds: float, *, environment: Mapping[str, str] = os.environ) -> bool:
    """Asks for `seconds` more, from now, to come up or to stop (a migration, a long recovery)."""
    return notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", environment=environment)


def _one_line(text: str) -> str:
    """A line end would begin a new assignment."""
    return " ".join(text.split())
