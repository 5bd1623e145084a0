"""Converts networks to and from the terms of Podman's API. Pure.

A network connects the containers of one job or deployment and nobody else: a bridge, without access
to the outside or with it. Measured with Podman 4.3 and its CNI plugins, rootless:

- creating one lasts 10 to 30 ms, connecting a running container 20 to 50 ms;
- a running container must not be disconnected: where no other one runs on the bridge, Podman
  removes the whole network namespace, with every other network of the container;
- a container that is created again with its old address needs its old hardware address as well;
  otherwise its peers, which remember the old one, do not find it for a minute.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import NetworkError, RunnerUnavailableError
from claraedge.runner.protocol import OUTSIDE, ContainerSpec, Network

T = TypeVar("T")

#: Parts of errors of Podman, slirp4netns and the plugins on a machine that cannot have such
#: networks.
_SIGNS = (
    "rootless netns",
    "rootless network namespace",
    "slirp4netns",
    "pasta",
    "/dev/net/tun",
    "cni plugin",
    "netavark",
    "aardvark",
    "iptables",
    "nftables",
)


class _Subnet(msgspec.Struct):
    subnet: str = ""


class _ListedNetwork(msgspec.Struct):
    name: str
    labels: dict[str, str] | None = None
    subnets: list[_Subnet] | None = None
    internal: bool = False


def create_network_request(
    name: str, labels: Mapping[str, str], *, outside: bool = False
) -> dict[str, object]:
    """Returns the body of `POST /networks/create`.

    `outside`: containers on it reach what this machine reaches. Measured with Podman 4.3 and CNI:
    without `isolate`, they would also reach the containers on other networks of this kind.
    """
    return {
        "name": name,
        "driver": "bridge",
        **({"options": {"isolate": "true"}} if outside else {"internal": True}),
        "dns_enabled": False,  # peers get addresses as numbers: no resolver is needed
        "labels": dict(labels),
    }


def read_network(body: bytes) -> Network:
    """Parses the answer of `POST /networks/create`. Raises RunnerUnavailableError."""
    return _network(_decoded(body, _ListedNetwork))


def read_networks(body: bytes) -> Sequence[Network]:
    """Parses the answer of `GET /networks/json`. Raises RunnerUnavailableError."""
    return (
        [_network(entry) for entry in _decoded(body, list[_ListedNetwork])]
        if body != b"null\n"
        else []
    )


def place(address: str) -> dict[str, object]:
    """Returns the addresses of a container on a network: this IPv4 address, or, if empty, any free
    one.
    """
    if not address:
        return {}
    octets = ipaddress.IPv4Address(address).packed
    # Derived from the address alone; the first octet `02` marks a locally administered address.
    hardware = ":".join(f"{octet:02x}" for octet in (0x02, 0xCE, *octets))
    return {"static_ips": [address], "static_mac": hardware}


def namespace(
    spec: ContainerSpec, outside: str, joined: int = 0, resolvers: Sequence[str] = ()
) -> dict[str, object]:
    """Returns the part of a create call that sets the network access of a container.

    `outside`: Podman's network mode for rootless access to the outside on this machine. `joined`:
    pid of the first process of the container that it joins; 0: it joins none. `resolvers`: see
    `Host.resolvers`.
    """
    if joined:
        # Podman's own way, `container:ID`, starts that container. Settings of the namespace are
        # those of its first container.
        return {"netns": {"nsmode": "path", "value": f"/proc/{joined}/ns/net"}}
    if not spec.networks:
        return {"netns": {"nsmode": "none"}}
    # In a network namespace of its own, a container may use ports below 1024 without privileges.
    low_ports = {"sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"}}
    if OUTSIDE in spec.networks:
        return {"netns": {"nsmode": outside}, **low_ports}
    networks = {name: place(address) for name, address in spec.networks.items()}
    servers = {"dns_server": list(resolvers)} if resolvers else {}
    return {"netns": {"nsmode": "bridge"}, "networks": networks, **low_ports, **servers}


def impossible(reason: str) -> NetworkError | None:
    """Returns the error for a refusal which shows that this machine lacks what networks need; else
    None.
    """
    lowered = reason.lower()
    if not any(sign in lowered for sign in _SIGNS):
        return None
    return NetworkError(
        f"this machine cannot give containers a network: {reason}",
        "rootless networks need: read and write access to /dev/net/tun for this user (as root:"
        " `chmod 0666 /dev/net/tun`, or `modprobe tun` where it is missing), slirp4netns or passt,"
        " and netavark or containernetworking-plugins, with iptables (`apt-get install slirp4netns"
        " containernetworking-plugins iptables`)",
        "`failed to mount runtime directory for rootless netns` means that an earlier failure left"
        " something behind: once the cause is removed, `podman system migrate` as this user ends"
        " that (and all containers of this user)",
    )


def _network(entry: _ListedNetwork) -> Network:
    subnets = [part.subnet for part in entry.subnets or [] if ":" not in part.subnet]
    return Network(
        name=entry.name,
        labels=entry.labels or {},
        subnet=subnets[0] if subnets else None,
        outside=not entry.internal,
    )


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return decode_json(body, kind)
    except msgspec.MsgspecError as error:
        raise RunnerUnavailableError(
            f"Podman's answer about networks cannot be read: {error}"
        ) from error
