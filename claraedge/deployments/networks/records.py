"""Reads and writes the records of private networks in a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from claraedge.decoding import decode_json
from claraedge.deployments.networks.model import NetworkKind, NetworkRequest, PrivateNetwork
from claraedge.errors import (
    NetworkExistsError,
    NetworkInUseError,
    NetworkLimitError,
    NetworkNotFoundError,
)
from claraedge.packages.model import RestartPolicy
from claraedge.store.database import Row, Transaction

#: The most networks of a device: Podman has so many subnets for all its users of one machine.
MOST = 100
#: The most components on a network: it has 256 addresses, and Podman assigns some itself.
MEMBERS = 200


@dataclass(frozen=True, slots=True)
class Member:
    """A component on a network."""

    component: str
    network: str
    place: int
    """Of its address, counted from the end of the network; 0 is that of the ROS master."""


def add(tx: Transaction, network: PrivateNetwork) -> None:
    """Adds a network. Raises NetworkExistsError if its name is used, NetworkLimitError above
    `MOST`.
    """
    given = network.given
    other = tx.row("network", text=given.name)
    if other is not None:
        state = "" if other["wanted"] else ", which is being deleted"
        raise NetworkExistsError(
            f"the name {given.name} is that of the network {other['id']}{state}; use that one, or"
            " give another name"
        )
    count = tx.row("count_networks")
    if count is not None and count["count"] >= MOST:
        raise NetworkLimitError(
            f"this device has {MOST} networks, which is the most; delete one that is not used"
            " (`claraedge list networks`, `claraedge delete network NETWORK`)"
        )
    tx.run(
        "add_network",
        id=network.id,
        name=given.name,
        kind=given.kind.value,
        distro=given.distro,
        interface=given.interface,
        restart=given.restart.value,
        labels=msgspec.json.encode(given.labels).decode(),
        created=network.created,
    )


def listed(tx: Transaction) -> Sequence[PrivateNetwork]:
    """Returns all networks in the order of their creation, with those that are being deleted."""
    return [_network(tx, row) for row in tx.rows("networks")]


def find(tx: Transaction, text: str) -> PrivateNetwork:
    """Returns a network by its id or name. Raises NetworkNotFoundError."""
    row = tx.row("network", text=text)
    if row is None:
        raise NetworkNotFoundError(
            f"no network has the id or name {text[:80]!r}; `claraedge list networks` shows all"
        )
    return _network(tx, row)


def known(tx: Transaction, texts: Iterable[str]) -> Mapping[str, PrivateNetwork]:
    """Returns networks by their ids or names; those that do not exist are left out."""
    rows = {text: tx.row("network", text=text) for text in texts}
    return {
        text: _network(tx, row) for text, row in rows.items() if row is not None and row["wanted"]
    }


def set_unwanted(tx: Transaction, text: str) -> PrivateNetwork:
    """Records that a network is to be removed; returns it. Raises NetworkNotFoundError, and
    NetworkInUseError if deployments that have not stopped are on it.
    """
    network = find(tx, text)
    users = tx.rows("members_of_network", network=network.id)
    if users:
        shown = ", ".join(dict.fromkeys(f"{row['name']} ({row['id']})" for row in users))
        raise NetworkInUseError(
            f"the {network.title} is used by {shown}; end that first"
            f" (`claraedge undeploy {users[0]['id']}`)"
        )
    tx.run("set_network_unwanted", id=network.id)
    return find(tx, network.id)


def drop(tx: Transaction, network: str) -> None:
    """Removes the record of a network that was removed."""
    tx.run("drop_network", id=network)


def join(
    tx: Transaction, deployment: str, components: Sequence[str], networks: Iterable[str]
) -> None:
    """Records that components (ids) of a deployment are on networks (ids), each with a place.

    Raises NetworkNotFoundError for a network that does not exist or is being deleted, and
    NetworkLimitError if one is full.
    """
    for text in networks:
        network = find(tx, text)
        if not network.wanted:
            raise NetworkNotFoundError(f"the {network.title} is being deleted; use another one")
        taken = {row["place"] for row in tx.rows("members_of_network", network=network.id)}
        free = [place for place in range(1, MEMBERS + 1) if place not in taken]
        if len(free) < len(components):
            raise NetworkLimitError(
                f"the {network.title} has {len(taken)} components, and {MEMBERS} at most; end a"
                " deployment on it, or use another network"
            )
        for component, place in zip(components, free, strict=False):
            tx.run(
                "add_network_member",
                deployment=deployment,
                component=component,
                network=network.id,
                place=place,
            )


def memberships(tx: Transaction, deployment: str) -> Sequence[Member]:
    """Returns where the components of a deployment are, network by network."""
    rows = tx.rows("networks_of_deployment", deployment=deployment)
    return [Member(row["component"], row["network"], row["place"]) for row in rows]


def _network(tx: Transaction, row: Row) -> PrivateNetwork:
    users = tx.rows("members_of_network", network=row["id"])
    return PrivateNetwork(
        id=row["id"],
        given=NetworkRequest(
            name=row["name"],
            kind=NetworkKind(row["kind"]),
            distro=row["distro"],
            interface=row["interface"],
            restart=RestartPolicy(row["restart"]),
            labels=decode_json(row["labels"], dict[str, str]),
        ),
        wanted=bool(row["wanted"]),
        created=row["created"],
        used_by=tuple(dict.fromkeys(user["id"] for user in users)),
    )
