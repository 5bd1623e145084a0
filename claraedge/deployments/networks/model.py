"""Private networks as values. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from claraedge.deployments.model import DeploymentPhase, DeploymentStatus
from claraedge.errors import InvalidNetworkError
from claraedge.packages.model import RestartPolicy

MAX_NAME = 63
_MAX_LABELS = 64
_MAX_LABEL = 255
_DISTRO = re.compile(r"[a-z]{1,32}")


class NetworkKind(enum.StrEnum):
    """The kind of a network of rapyuta.io; on one device they differ in nothing else."""

    NATIVE = "native"
    ROUTED = "routed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRequest:
    """What a client asks for; what is recorded of a network."""

    name: str
    kind: NetworkKind = NetworkKind.NATIVE
    distro: str = ""
    """The ROS distribution whose master the network has; empty: none."""
    interface: str = ""
    """The interface of this device that the client named; empty: none."""
    restart: RestartPolicy = RestartPolicy.ALWAYS
    """Of its ROS master."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateNetwork:
    """A network as it is recorded."""

    id: str
    given: NetworkRequest
    wanted: bool = True
    """False once it was deleted."""
    created: float
    """Unix seconds."""
    used_by: tuple[str, ...] = ()
    """Ids of the deployments on it that have not stopped."""

    @property
    def title(self) -> str:
        """Its name for messages."""
        return f"network {self.given.name} ({self.id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkView:
    """A network with its state at this moment."""

    network: PrivateNetwork
    phase: DeploymentPhase
    status: DeploymentStatus
    subnet: str
    """Its IPv4 addresses, such as `10.89.1.0/24`; empty: not known yet."""
    master: str
    """The value of ROS_MASTER_URI on it; empty: it has no ROS master."""
    details: str
    """What a client should know of its state, as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What a component has of the networks that it is on."""

    addresses: Mapping[str, str]
    """Name of a network in Podman -> the component's address there."""
    variables: Mapping[str, str]
    """Environment variables of ROS."""


def check_network(request: NetworkRequest, interfaces: Collection[str]) -> None:
    """Raises InvalidNetworkError with all mistakes. `interfaces`: those of this device."""
    name, mistakes = request.name, []
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        mistakes.append(
            f"name: {name[:80]!r} is no name of a network; give 1 to {MAX_NAME} printable"
            " characters, without blanks at the ends"
        )
    if request.distro and not _DISTRO.fullmatch(request.distro):
        mistakes.append(
            f"ros_distro: {request.distro[:80]!r} is no ROS distribution; give a name such as"
            " noetic, or none for a network without ROS"
        )
    if request.interface and request.interface not in interfaces:
        mistakes.append(
            f"interface: {request.interface[:80]!r} is no network interface of this device; it has"
            f" {', '.join(sorted(interfaces)) or 'none'}"
        )
    if len(request.labels) > _MAX_LABELS:
        mistakes.append(f"labels: there are {len(request.labels)}; give at most {_MAX_LABELS}")
    mistakes += [
        f"labels.{key[:40]}: key and value have at most {_MAX_LABEL} printable characters each"
        for key, value in request.labels.items()
        if not key or max(len(key), len(value)) > _MAX_LABEL or not (key + value).isprintable()
    ]
    if mistakes:
        raise InvalidNetworkError(*mistakes)


def details_of(given: NetworkRequest, *, has_image: bool, failure: str) -> str:
    """Returns what a client should know of a network, as text.

    `has_image`: whether the administrator names an image for its ROS distribution. `failure`: why
    its ROS master does not run; empty: it does.
    """
    found = []
    if given.interface:
        found.append(
            f"it is not bound to the interface {given.interface}: it connects containers of this"
            " device with each other, and with nothing else"
        )
    if given.distro and not has_image:
        found.append(
            f"it has no ROS master, since `[deployments] ros_images` names no image for"
            f" {given.distro}; name one, and restart the daemon, or run a master in a deployment"
        )
    if failure:
        found.append(failure)
    return "; ".join(found)
