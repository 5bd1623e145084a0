"""Registries that images may be pulled from: those listed in `[images]`, and public addresses.

A definition names its images, so whoever may create a pipeline could make this machine contact any
host that it reaches. Listed registries are trusted because the administrator listed them. Other
names are resolved, and refused where one of their addresses belongs to this machine or a private
network. The pull itself resolves the name again, and a registry may redirect it: see
docs/images.md.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import TypeAlias
from urllib.request import getproxies, proxy_bypass

from claraedge.config import ImagesSettings
from claraedge.errors import RegistryNotAllowedError
from claraedge.runner.references import host

#: Resolves a host to its addresses; none where it is unknown here. Blocks.
Resolve: TypeAlias = Callable[[str], Sequence[str]]

_EVERY = "*"
_LOAD = "or load it with `claraedge create image -f ARCHIVE.tar`"


def addresses(name: str) -> Sequence[str]:
    """Resolves a host to its addresses; none where it is unknown. Blocks as long as the resolver
    does.

    Also returns none where a proxy resolves the name: the proxy controls what it reaches.
    """
    own = name == "localhost" or name.endswith(".localhost")
    proxied = "https" in getproxies() and not proxy_bypass(name)
    flags = socket.AI_NUMERICHOST if proxied and not own else 0
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError):
        return ()
    return [str(entry[4][0]) for entry in found]


def refuse(name: str, settings: ImagesSettings, resolve: Resolve) -> None:
    """Raises RegistryNotAllowedError for a full name that must not be pulled. Blocks."""
    registry = host(name) or ""
    listed = (*settings.allow, *settings.registries)
    named = any(_covers(entry, name) for entry in listed if entry != _EVERY)
    if settings.allow and not named and _EVERY not in settings.allow:
        raise RegistryNotAllowedError(
            f"the image {name} is not pulled: [images] allow does not list it; add"
            f' "{registry}", or a part of its path, to [images] allow, {_LOAD}'
        )
    if named or registry in settings.insecure_registries:
        return
    private = next(filter(is_private, resolve(_bare(registry))), None)
    if private is not None:
        allow = ", ".join(f'"{entry}"' for entry in (*(settings.allow or (_EVERY,)), registry))
        raise RegistryNotAllowedError(
            f"the image {name} is not pulled: its registry {registry} is at {private}, an address"
            " of this machine or of a private network, which has to be listed; set [images] allow"
            f" = [{allow}], {_LOAD}"
        )


def is_private(address: str) -> bool:
    """Whether an address is outside of the public Internet. Pure."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_multicast or not found.is_global


def _covers(entry: str, name: str) -> bool:
    """Whether a name is below a prefix `HOST[:PORT][/PATH]`, whose host may be `*.DOMAIN`."""
    prefix, _, path = entry.partition("/")
    registry, _, rest = name.partition("/")
    if prefix.startswith("*."):
        if not registry.endswith(prefix[1:]):
            return False
    elif registry != prefix:
        return False
    repository = rest.partition("@")[0]
    return not path or repository == path or repository.startswith((f"{path}/", f"{path}:"))


def _bare(registry: str) -> str:
    """Returns the host without its port."""
    if registry.startswith("["):
        return registry[1:].partition("]")[0]
    return registry.partition(":")[0]
