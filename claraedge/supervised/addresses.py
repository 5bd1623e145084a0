"""Addresses of containers on a private network. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from claraedge.errors import NetworkError

#: Addresses are assigned from the end of a network's range; any others come from its beginning.
#: The last few are left free.
_LAST = 5


def addresses(subnet: str | None, keys: Sequence[str]) -> dict[str, str]:
    """Returns the address of each of these keys on a network; the same for each call.

    Raises NetworkError if the network has no IPv4 addresses.
    """
    return {each: address(subnet, place) for place, each in enumerate(sorted(keys))}


def address(subnet: str | None, place: int) -> str:
    """Returns an address on a network, counted from the end of its range.

    Raises NetworkError if the network has no IPv4 addresses.
    """
    try:
        last = ipaddress.IPv4Network(subnet or "").broadcast_address - _LAST
    except ValueError as error:
        raise NetworkError(f"Podman made a network without IPv4 addresses ({subnet})") from error
    return str(last - place)
