"""Networks in the words of Podman's API, and what it says about them. Pure.

A network joins the containers of one job and nobody else: a bridge without a way out. Measured with
Podman 4.3 and its CNI plugins, rootless:

- making one takes 10 to 30 ms, connecting a running container 20 to 50 ms;
- disconnecting a running container must not be done: where no other one runs on a bridge, Podman
  takes the whole network namespace down, with every other network of the container;
- a container that is made again with its old address needs its old hardware address as well, or
  its peers do not find it for a minute (they remember the old one).
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

#: Texts of Podman, slirp4netns and the plugins where a machine cannot have such networks.
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


class _Listed(msgspec.Struct):
    name: str
    labels: dict[str, str] | None = None
    subnets: list[_Subnet] | None = None


def create_network_request(name: str, labels: Mapping[str, str]) -> dict[str, object]:
    """The body of `POST /networks/create`."""
    return {
        "name": name,
        "driver": "bridge",
        "internal": True,
        "dns_enabled": False,  # addresses are told as numbers: no resolver is needed
        "labels": dict(labels),
    }


def read_network(body: bytes) -> Network:
    """What `POST /networks/create` answers."""
    return _network(_decoded(body, _Listed))


def read_networks(body: bytes) -> Sequence[Network]:
    """What `GET /networks/json` answers."""
    return [_network(entry) for entry in _decoded(body, list[_Listed])] if body != b"null\n" else []


def place(address: str) -> dict[str, object]:
    """How a container stands on a network: at this IPv4 address, or, empty, at any free one."""
    if not address:
        return {}
    octets = ipaddress.IPv4Address(address).packed
    # Of the address and of nothing else; `02` says that no maker has given it.
    hardware = ":".join(f"{octet:02x}" for octet in (0x02, 0xCE, *octets))
    return {"static_ips": [address], "static_mac": hardware}


def namespace(spec: ContainerSpec, outside: str) -> dict[str, object]:
    """The part of a create call that says what a container reaches.

    `outside`: Podman's word for a rootless way out on this machine.
    """
    if not spec.networks:
        return {"netns": {"nsmode": "none"}}
    # A port below 1024 needs no privilege in a network of one's own.
    low_ports = {"sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"}}
    if OUTSIDE in spec.networks:
        return {"netns": {"nsmode": outside}, **low_ports}
    networks = {name: place(address) for name, address in spec.networks.items()}
    return {"netns": {"nsmode": "bridge"}, "networks": networks, **low_ports}


def impossible(reason: str) -> NetworkError | None:
    """The error for a refusal that shows that this machine lacks what networks need."""
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


def _network(entry: _Listed) -> Network:
    subnets = [part.subnet for part in entry.subnets or [] if ":" not in part.subnet]
    return Network(
        name=entry.name, labels=entry.labels or {}, subnet=subnets[0] if subnets else None
    )


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return decode_json(body, kind)
    except msgspec.MsgspecError as error:
        raise RunnerUnavailableError(
            f"Podman's answer about networks cannot be read: {error}"
        ) from error
