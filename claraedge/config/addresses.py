"""Addresses that a daemon may listen on. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence


def mistakes_of(listen: Sequence[str]) -> list[str]:
    """What is wrong with `api.listen`: there is no encryption and no login, so loopback only."""
    mistakes = [
        f"api.listen: {address!r} is not HOST:PORT of this machine's loopback (127.0.0.1:30031);"
        " others reach the daemon through an SSH tunnel or a proxy that checks who they are"
        for address in listen
        if not is_loopback(address)
    ]
    if len(set(listen)) < len(listen):
        mistakes.append("api.listen: names an address twice; once is enough")
    return mistakes


def is_loopback(address: str) -> bool:
    """Whether this is `HOST:PORT` with a number of this machine's own as its host."""
    host, _, port = address.rpartition(":")
    try:
        own = ipaddress.ip_address(host.strip("[]")).is_loopback
        return own and port.isdecimal() and 0 < int(port) < 65536
    except ValueError:
        return False
