"""TCP sockets on which the daemon listens."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket

from claraedge.errors import AlreadyRunningError, ConfigurationError

_log = logging.getLogger(__name__)

#: Options of Linux that Python does not name: bind to an address that the machine does not have.
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
#: Seconds of silence after which the kernel asks whether a client is there, between two of its
#: questions, and how many may stay unanswered. Accepted connections inherit them.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3))


def bound(host: str, port: int, setting: str) -> socket.socket:
    """Returns a socket that is bound to an address, and does not listen yet.

    An address that this machine does not have, such as that of a network without a cable, is
    bound all the same: it is served once the machine has it.

    `setting`: the one that names the address. Raises AlreadyRunningError if another program listens
    there, and ConfigurationError if the daemon may not use it.
    """
    is_v6 = ipaddress.ip_address(host).version == 6
    listener = socket.socket(
        socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC
    )
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
        if is_v6:  # 0.0.0.0 may be listened on as well, with the same port
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            _log.warning(
                "this machine does not have the address now; it is served once it has",
                extra={"address": f"{host} (port {port})", "setting": setting},
            )
            level, option = (
                (socket.IPPROTO_IPV6, _IPV6_FREEBIND)
                if is_v6
                else (socket.IPPROTO_IP, _IP_FREEBIND)
            )
            listener.setsockopt(level, option, 1)
            listener.bind((host, port))
    except OSError as error:
        listener.close()
        shown = f"[{host}]:{port}" if is_v6 else f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise AlreadyRunningError(
                f"{shown} cannot be listened on: another program does (`ss -ltnp` shows it); end"
                f" that one, or choose another port in {setting}"
            ) from error
        raise ConfigurationError(
            f"{setting}: {shown} cannot be listened on ({error.strerror}); choose a port of at"
            " least 1024, or another address"
        ) from error
    return listener
