"""The device, as deployments and their clients see it."""

from __future__ import annotations

import fcntl
import ipaddress
import platform
import socket
import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64v8", "armv7l": "arm32v7"}
#: ioctl of Linux that returns the IPv4 address of an interface, and the size of its argument.
_SIOCGIFADDR = 0x8915
_IFREQ = 40
_ADDRESS_AT = 20
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """The device, for clients."""

    id: str
    """A UUID that belongs to this installation."""
    name: str
    """The host name."""
    architecture: str
    """In the words of manifests; that of the machine where they have none."""
    description: str
    """The operating system."""
    interfaces: Mapping[str, Sequence[str]]
    """Name of a network interface -> its addresses."""
    variables: Mapping[str, str]
    labels: Mapping[str, str]
    project: str
    """The value of RIO_PROJECT_ID."""


def architecture() -> str:
    """Returns the architecture of this machine in the words of manifests."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def device_id(instance: str) -> str:
    """Returns the UUID of the device, derived from the id of the installation."""
    return str(uuid.UUID(instance))


def project_id(instance: str) -> str:
    """Returns the id of the only project of the device: `project-` and 24 letters."""
    number, letters = uuid.UUID(instance).int, ""
    for _ in range(24):
        number, rest = divmod(number, len(_LETTERS))
        letters += _LETTERS[rest]
    return f"project-{letters}"


def view(instance: str, variables: Mapping[str, str], labels: Mapping[str, str]) -> DeviceView:
    """Returns the device as it is now. Blocks."""
    return DeviceView(
        id=device_id(instance),
        name=socket.gethostname(),
        architecture=architecture(),
        description=_system(),
        interfaces=interfaces(),
        variables=variables,
        labels=labels,
        project=project_id(instance),
    )


def interfaces() -> Mapping[str, Sequence[str]]:
    """Returns the addresses of the network interfaces, without loopback. Blocks."""
    found: dict[str, list[str]] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            request = struct.pack(f"{_IFREQ}s", name.encode())
            try:
                answer = fcntl.ioctl(asking.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue  # it has no IPv4 address
            found[name] = [socket.inet_ntoa(answer[_ADDRESS_AT : _ADDRESS_AT + 4])]
    for name, address in _sixes():
        found.setdefault(name, []).append(address)
    return {
        name: addresses
        for name, addresses in found.items()
        if not ipaddress.ip_address(addresses[0]).is_loopback
    }


def _sixes() -> Sequence[tuple[str, str]]:
    try:
        lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
    except OSError:
        return ()
    parts = [line.split() for line in lines]
    return [(fields[-1], str(ipaddress.IPv6Address(int(fields[0], 16)))) for fields in parts]


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
