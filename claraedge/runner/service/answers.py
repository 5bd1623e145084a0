"""Podman's answers to the calls that make, load and remove, and its refusals in our words."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import (
    ClaraedgeError,
    ContainerError,
    ImageNotFoundError,
    RunnerUnavailableError,
    StorageFullError,
)
from claraedge.runner.networks import impossible
from claraedge.runner.protocol import ContainerSpec
from claraedge.runner.service import causes
from claraedge.runner.service.http import Response

T = TypeVar("T")

#: How runc and crun say that what an image has there did not fit into a tmpfs.
_FULL = "no space left on device"
_ENDS_FULL = re.compile(
    rf": {_FULL}(?:: OCI runtime error|:? exit status \d+)*[\s.]*$", re.I | re.M
)
_COPY_FULL = re.compile(r"tmpcopyup: .*no space left|crun: write: no space left", re.IGNORECASE)


class Security(msgspec.Struct, rename="camel"):
    """Whether calls are filtered, and by which file; a text that is no path where by none."""

    seccomp_enabled: bool = False
    seccomp_profile_path: str = ""
    rootless: bool = False


class Slirp(msgspec.Struct):
    """A program that gives a rootless container a way out; what Podman 4 uses."""

    executable: str = ""


class Conmon(msgspec.Struct):
    """The program that supervises containers."""

    path: str = ""


class Runtime(msgspec.Struct):
    """The program that makes containers."""

    name: str = ""


class Range(msgspec.Struct):
    """Numbers of users or groups, in Podman's user namespace and outside of it."""

    container_id: int
    host_id: int
    size: int


class Mappings(msgspec.Struct):
    """Podman's user namespace."""

    uid_map: list[Range] | None = msgspec.field(name="uidmap", default=None)
    gid_map: list[Range] | None = msgspec.field(name="gidmap", default=None)

    @property
    def users(self) -> list[tuple[int, int, int]]:
        """(First inside, first of this machine, how many)."""
        return [(r.container_id, r.host_id, r.size) for r in self.uid_map or ()]

    @property
    def groups(self) -> list[tuple[int, int, int]]:
        """In the same form."""
        return [(r.container_id, r.host_id, r.size) for r in self.gid_map or ()]


class Host(msgspec.Struct):
    """The machine's part of `GET /info`."""

    security: Security
    runtime: Runtime = msgspec.field(name="ociRuntime", default_factory=Runtime)
    mappings: Mappings = msgspec.field(name="idMappings", default_factory=Mappings)
    slirp4netns: Slirp = msgspec.field(default_factory=Slirp)
    conmon: Conmon = msgspec.field(default_factory=Conmon)
    cgroup_version: str = msgspec.field(name="cgroupVersion", default="")
    cgroup_controllers: list[str] | None = msgspec.field(name="cgroupControllers", default=None)
    """Those that this user may use."""
    cgroup_manager: str = msgspec.field(name="cgroupManager", default="")
    """Who makes the control groups of containers: `systemd` or `cgroupfs`."""


class Store(msgspec.Struct):
    """Where Podman keeps images, and on a tmpfs what it notes of containers that run."""

    graph_root: str = msgspec.field(name="graphRoot", default="")
    run_root: str = msgspec.field(name="runRoot", default="")
    driver: str = msgspec.field(name="graphDriverName", default="")


class Info(msgspec.Struct):
    """`GET /info`, as much as is used."""

    host: Host
    store: Store = msgspec.field(default_factory=Store)


class Created(msgspec.Struct, rename="pascal"):
    """`POST /containers/create`."""

    id: str


class Loaded(msgspec.Struct, rename="pascal"):
    """`POST /images/load`: names, or ids of images without one."""

    names: list[str] | None = None


class Removed(msgspec.Struct, rename="pascal"):
    """One entry of `DELETE /containers/{id}`, which may carry an error in an answer of 200."""

    err: object = None


def decode(response: Response, kind: type[T]) -> T:
    """The answer as a value. Raises RunnerUnavailableError where it is none."""
    try:
        return decode_json(response.body, kind)
    except msgspec.MsgspecError as error:
        raise RunnerUnavailableError(f"Podman's answer cannot be read: {error}") from error


def removal_error(response: Response) -> str:
    """Why an answered removal did not remove; empty: it did."""
    reports = decode(response, list[Removed]) if response.body.startswith(b"[") else []
    return "; ".join(str(report.err) for report in reports if report.err)


def refused(response: Response, spec: ContainerSpec) -> ClaraedgeError:
    """The error for a container that Podman did not make."""
    if spec.scratch is not None and _COPY_FULL.search(response.reason):
        return ContainerError(
            f"container {spec.name} could not be made: its image has more files in /tmp, /var/tmp"
            f" or /run than the {spec.scratch >> 20} MB that each of these may hold in memory;"
            " write a larger `requests.memory`, or set engine.scratch_mb, or build the image"
            " without them"
        )
    check_storage(response)
    if response.cause == "image not known":
        return ImageNotFoundError(
            f"image {spec.image} of container {spec.name} is not on this device; load it with "
            "`claraedge create image -f TAR`"
        )
    lacking = impossible(response.reason) if spec.networks else None
    return lacking or ContainerError(explained(response.reason))


def explained(reason: str) -> str:
    """Podman's reason with what it means and what to do, as far as that is known."""
    cause = causes.of_refusal(reason)
    return f"Podman says: {reason}" if cause is None else f"{cause} (Podman says: {reason})"


def check_storage(response: Response) -> None:
    """Raises StorageFullError where that is why Podman refused, and not where an image says so.

    The kernel's words are the innermost error. Where that is one of the runtime, or where Podman
    tells of several readers of an archive, they end a line.
    """
    cause = response.cause.lower()
    told = not cause or cause.startswith("oci ") or "\n" in cause
    if cause == _FULL or (told and _ENDS_FULL.search(response.own_words)):
        raise StorageFullError(
            f"the disk of Podman's storage or of its temporary files (/var/tmp) is full:"
            f" {response.reason}"
        )
