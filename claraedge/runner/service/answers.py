"""Parses Podman's answers to calls that create, load and remove, and explains its refusals."""

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

#: Errors of runc and crun where the image's files at that path did not fit into a tmpfs.
_FULL = "no space left on device"
_ENDS_FULL = re.compile(
    rf": {_FULL}(?:: OCI runtime error|:? exit status \d+)*[\s.]*$", re.I | re.M
)
_COPY_FULL = re.compile(r"tmpcopyup: .*no space left|crun: write: no space left", re.IGNORECASE)


class Security(msgspec.Struct, rename="camel"):
    """Podman's seccomp settings. Without a filter, the path is a text that is no path."""

    seccomp_enabled: bool = False
    seccomp_profile_path: str = ""
    rootless: bool = False


class Slirp(msgspec.Struct):
    """slirp4netns, the program that gives rootless containers network access in Podman 4."""

    executable: str = ""


class Conmon(msgspec.Struct):
    """The program that supervises containers."""

    path: str = ""


class Runtime(msgspec.Struct):
    """The OCI runtime, the program that creates containers."""

    name: str = ""


class Range(msgspec.Struct):
    """A range of user or group ids, inside and outside of Podman's user namespace."""

    container_id: int
    host_id: int
    size: int


class Mappings(msgspec.Struct):
    """The id mappings of Podman's user namespace."""

    uid_map: list[Range] | None = msgspec.field(name="uidmap", default=None)
    gid_map: list[Range] | None = msgspec.field(name="gidmap", default=None)

    @property
    def users(self) -> list[tuple[int, int, int]]:
        """Ranges of users: (first id inside, first id on this machine, length)."""
        return [(r.container_id, r.host_id, r.size) for r in self.uid_map or ()]

    @property
    def groups(self) -> list[tuple[int, int, int]]:
        """Ranges of groups, in the same form."""
        return [(r.container_id, r.host_id, r.size) for r in self.gid_map or ()]


class HostInfo(msgspec.Struct):
    """The host part of `GET /info`."""

    security: Security
    runtime: Runtime = msgspec.field(name="ociRuntime", default_factory=Runtime)
    mappings: Mappings = msgspec.field(name="idMappings", default_factory=Mappings)
    slirp4netns: Slirp = msgspec.field(default_factory=Slirp)
    conmon: Conmon = msgspec.field(default_factory=Conmon)
    cgroup_version: str = msgspec.field(name="cgroupVersion", default="")
    cgroup_controllers: list[str] | None = msgspec.field(name="cgroupControllers", default=None)
    """The cgroup controllers that this user may use."""
    cgroup_manager: str = msgspec.field(name="cgroupManager", default="")
    """What creates the cgroups of containers: `systemd` or `cgroupfs`."""


class StoreInfo(msgspec.Struct):
    """Folders in which Podman keeps images and, on a tmpfs, records of running containers."""

    graph_root: str = msgspec.field(name="graphRoot", default="")
    run_root: str = msgspec.field(name="runRoot", default="")
    driver: str = msgspec.field(name="graphDriverName", default="")


class VersionInfo(msgspec.Struct, rename="pascal"):
    """The version part of `GET /info`."""

    version: str = ""
    """Such as `4.3.1`."""

    @property
    def major(self) -> int:
        """The first number; 0 where the version is not known."""
        first = self.version.partition(".")[0]
        return int(first) if first.isdecimal() else 0


class Info(msgspec.Struct):
    """The answer of `GET /info`, reduced to what is used."""

    host: HostInfo
    store: StoreInfo = msgspec.field(default_factory=StoreInfo)
    version: VersionInfo = msgspec.field(default_factory=VersionInfo)


class ContainerCreateResponse(msgspec.Struct, rename="pascal"):
    """The answer of `POST /containers/create`."""

    id: str


class ImageLoadReport(msgspec.Struct, rename="pascal"):
    """The answer of `POST /images/load`: names, or ids of images without a name."""

    names: list[str] | None = None


class RmReport(msgspec.Struct, rename="pascal"):
    """One entry of the answer of `DELETE /containers/{id}`, which may report an error with status
    200.
    """

    err: object = None


def decode(response: Response, kind: type[T]) -> T:
    """Parses the body of an answer. Raises RunnerUnavailableError where it is invalid."""
    try:
        return decode_json(response.body, kind)
    except msgspec.MsgspecError as error:
        raise RunnerUnavailableError(f"Podman's answer cannot be read: {error}") from error


def removal_error(response: Response) -> str:
    """Returns why an answered removal failed; empty where it succeeded."""
    reports = decode(response, list[RmReport]) if response.body.startswith(b"[") else []
    return "; ".join(str(report.err) for report in reports if report.err)


def refused(response: Response, spec: ContainerSpec) -> ClaraedgeError:
    """Returns the error for a container that Podman did not create."""
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
    """Returns Podman's reason, with its meaning and what to do where that is known."""
    cause = causes.of_refusal(reason)
    return f"Podman says: {reason}" if cause is None else f"{cause} (Podman says: {reason})"


def check_storage(response: Response) -> None:
    """Raises StorageFullError where a full disk is why Podman refused, but not where a text of an
    image says so.

    The kernel's words are the innermost error. Where that error is one of the runtime, or where
    Podman reports several readers of an archive, they end a line.
    """
    cause = response.cause.lower()
    ends_a_line = not cause or cause.startswith("oci ") or "\n" in cause
    if cause == _FULL or (ends_a_line and _ENDS_FULL.search(response.own_words)):
        raise StorageFullError(
            f"the disk of Podman's storage or of its temporary files (/var/tmp) is full:"
            f" {response.reason}; free some space there"
        )
