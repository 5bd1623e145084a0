"""Reads the devices of a CDI kind from the specs on this machine.

Source: Container Device Interface 0.3 to 0.8: JSON or YAML files in /etc/cdi and /var/run/cdi; the
later folder wins. A driver that loads late at boot writes its spec late, so the folders are listed
each time; an unchanged file is not read again.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec
import yaml

FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))

_log = logging.getLogger(__name__)


class _Node(msgspec.Struct, rename="camel"):
    path: str
    host_path: str = ""
    type: str = ""

    @property
    def on_host(self) -> str:
        """The path of the node on this machine."""
        return self.host_path or self.path


class _Mount(msgspec.Struct, rename="camel"):
    host_path: str


class _Hook(msgspec.Struct):
    path: str


class Edits(msgspec.Struct, rename="camel"):
    """The changes that a spec makes to a container, reduced to what is used here."""

    device_nodes: list[_Node] | None = None
    mounts: list[_Mount] | None = None
    hooks: list[_Hook] | None = None

    def nodes(self) -> Mapping[str, str]:
        """Returns the device nodes: path in the container -> path on this machine."""
        return {n.path: n.on_host for n in self.device_nodes or () if n.type != "p"}

    def needs(self) -> Iterator[str]:
        """Yields the files of this machine that have to exist."""
        yield from self.nodes().values()
        yield from (mount.host_path for mount in self.mounts or ())
        yield from (hook.path for hook in self.hooks or ())


class _Device(msgspec.Struct, rename="camel"):
    name: str | int
    container_edits: Edits | None = None


class _Spec(msgspec.Struct, rename="camel"):
    kind: str
    devices: list[_Device]
    container_edits: Edits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CdiDevice:
    """A device as one file defines it."""

    path: Path
    own: Edits
    common: Edits
    """The changes that the file makes for all of its devices."""

    def needs(self) -> Iterator[str]:
        """Yields the files of this machine that have to exist."""
        return itertools.chain(self.own.needs(), self.common.needs())


def devices(kind: str, folders: Sequence[Path] = FOLDERS) -> tuple[str, ...]:
    """Returns the CDI names (`kind=name`) of the single devices, in the order of the specs.

    The spec of a driver lists each GPU by index, or by UUID, or by both, and all of them as `all`.
    The devices are: the indexes; without any, what is neither a UUID nor `all`, such as the parts
    of a divided GPU (`0:1`); else the UUIDs; else `all`, which is the only name in the specs of
    some drivers.
    """
    specs = (spec for _, spec in _specs(folders) if spec.kind == kind)
    names = {str(device.name): None for spec in specs for device in spec.devices}
    numbered = [name for name in names if name.isdigit()]
    uuids = [name for name in names if name.startswith(("GPU-", "MIG-"))]
    others = [name for name in names if name != "all" and name not in uuids]
    return tuple(f"{kind}={name}" for name in numbered or others or uuids or names)


def nodes(device: str, folders: Sequence[Path] = FOLDERS) -> Mapping[str, str] | None:
    """Returns the device nodes of this device alone: path in the container -> path on this machine.

    `device` is a CDI name. Empty: its spec gives it none. None: no spec here names it. Nodes that a
    spec adds for all of its devices are not included.
    """
    found = entries(device, folders)
    return found[-1].own.nodes() if found else None


def all_nodes(device: str, folders: Sequence[Path] = FOLDERS) -> Sequence[str]:
    """Returns the paths on this machine of all nodes that a container with the device is given."""
    return [
        path
        for entry in entries(device, folders)[-1:]
        for edits in (entry.own, entry.common)
        for path in edits.nodes().values()
    ]


def entries(device: str, folders: Sequence[Path] = FOLDERS) -> Sequence[CdiDevice]:
    """Returns the definitions of a device; the last one is effective."""
    kind, _, name = device.rpartition("=")
    return [
        CdiDevice(
            path=path,
            own=found.container_edits or Edits(),
            common=spec.container_edits or Edits(),
        )
        for path, spec in _specs(folders)
        if spec.kind == kind
        for found in spec.devices
        if str(found.name) == name
    ]


def state(device: str, folders: Sequence[Path] = FOLDERS) -> object:
    """Returns the current state of all that a device depends on; equal while nothing of
    it changes.
    """
    found = entries(device, folders)[-1:]
    paths = dict.fromkeys([*map(str, _files(folders)), *(p for e in found for p in e.needs())])
    return tuple((path, _status(path)) for path in paths)


def _status(path: str) -> object:
    try:
        found = Path(path).stat()
    except OSError as error:
        return error.errno
    # No times: those of a node change when it is used.
    return found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_rdev


def faulty_files(folders: Sequence[Path] = FOLDERS) -> Mapping[Path, str]:
    """Returns the files from which no device is read, whatever they name -> why."""
    found = {}
    for path in _files(folders):
        read = _read(path, *_version(path))
        if isinstance(read, str):
            found[path] = read
    for folder in folders:
        for path in sorted(folder.glob("*.yml")):
            found[path] = "only names that end with .yaml or .json count"
    return found


def _specs(folders: Sequence[Path]) -> Iterator[tuple[Path, _Spec]]:
    for path in _files(folders):
        spec = _read(path, *_version(path))
        if isinstance(spec, _Spec):
            yield path, spec


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.glob("*")):
            if path.suffix in (".json", ".yaml"):
                yield path


def _version(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:  # replaced at this moment
        return 0, 0, 0
    return status.st_ino, status.st_ctime_ns, status.st_size


@lru_cache(maxsize=64)
def _read(path: Path, _inode: int, _ctime_ns: int, _size: int) -> _Spec | str:
    """Returns the spec in a file, or what is wrong, which is logged once for each state of the
    file.
    """
    try:
        return msgspec.convert(yaml.safe_load(path.read_bytes()), _Spec, strict=False)
    except OSError as error:
        why = error.strerror or repr(error)
    except (yaml.YAMLError, msgspec.ValidationError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
    _log.warning("CDI spec left out: it cannot be read", extra={"path": str(path), "error": why})
    return why
