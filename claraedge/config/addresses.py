"""Addresses that a daemon may listen on, and who may call them. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from claraedge.config.model import ApiSettings, HttpSettings, TlsSettings

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.I)


def mistakes_of(api: ApiSettings, http: HttpSettings, tls: TlsSettings) -> list[str]:
    """Returns what is wrong with `[api] listen`, `[http]` and `[tls]`."""
    mistakes = [
        *_of_addresses("api.listen", api.listen, tls),
        *_of_addresses("http.listen", http.listen, tls),
    ]
    mistakes += [
        f"http.listen: {address} is in api.listen as well; choose another port"
        for address in sorted(set(api.listen) & set(http.listen))
    ]
    if http.listen and not http.enabled:
        mistakes.append("http.listen: has no effect while http.enabled is false; remove one")
    mistakes += [
        f"http.hosts: {host!r} is no name of a host; write it as device.example.org, without"
        " scheme and port"
        for host in http.hosts
        if not _is_host(host)
    ]
    if (tls.certificate is None) != (tls.key is None):
        given, lacking = ("certificate", "key") if tls.key is None else ("key", "certificate")
        mistakes.append(f"tls.{given}: has no effect without tls.{lacking}; set both")
    if tls.client_ca is not None and tls.certificate is None:
        mistakes.append("tls.client_ca: has no effect without tls.certificate and tls.key")
    return mistakes


def is_loopback(address: str) -> bool:
    """Whether this is `HOST:PORT` with a number of this machine's own as its host."""
    parts = parsed(address)
    return parts is not None and ipaddress.ip_address(parts[0]).is_loopback


def parsed(address: str) -> tuple[str, int] | None:
    """Returns the number and the port of `HOST:PORT`; None if it is not of that form."""
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        version = ipaddress.ip_address(bare).version
    except ValueError:
        return None
    if (version == 6) != (bare != host) or not (port.isascii() and port.isdecimal()):
        return None
    return (bare, int(port)) if 0 < int(port) < 65536 else None


def _of_addresses(key: str, listen: Sequence[str], tls: TlsSettings) -> Iterator[str]:
    for address in listen:
        if parsed(address) is None:
            yield (
                f"{key}: {address!r} is not ADDRESS:PORT; write the number of an address of this"
                " machine, as in 127.0.0.1:30031, [::1]:30031 or 0.0.0.0:30031"
            )
        elif tls.certificate is None and not is_loopback(address):
            yield (
                f"{key}: other machines reach {address}, and without encryption everybody on the"
                " way can read and change what is sent; set tls.certificate and tls.key, or use"
                " 127.0.0.1 and an SSH tunnel"
            )
    if len(set(listen)) < len(listen):
        yield f"{key}: names an address twice; once is enough"


def _is_host(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return len(text) <= 253 and _NAME.fullmatch(text) is not None
