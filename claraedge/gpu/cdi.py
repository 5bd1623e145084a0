"""The devices of a CDI kind, as the specs on this machine name them.

Source: Container Device Interface 0.3 to 0.8: JSON or YAML files in /etc/cdi and /var/run/cdi, the
later folder wins. A driver that is late at boot writes its spec late, so the folders are looked at
each time; a file that did not change is not read again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
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


class _Edits(msgspec.Struct, rename="camel"):
    device_nodes: list[_Node] | None = None


class _Device(msgspec.Struct, rename="camel"):
    name: str | int
    container_edits: _Edits | None = None


class _Spec(msgspec.Struct):
    kind: str
    devices: list[_Device]


def devices(kind: str, folders: Sequence[Path] = FOLDERS) -> tuple[str, ...]:
    """CDI names (`kind=name`) of the single devices, in the order of the specs.

    The spec of a driver lists each GPU by index, or by UUID, or by both, and all of them as `all`:
    the indexes are the devices; else what is neither a UUID nor `all`, such as the parts of a
    divided GPU (`0:1`); else the UUIDs; else `all`, which some drivers name alone.
    """
    names = {str(device.name): None for device in _devices(kind, folders)}
    numbered = [name for name in names if name.isdigit()]
    uuids = [name for name in names if name.startswith(("GPU-", "MIG-"))]
    others = [name for name in names if name != "all" and name not in uuids]
    return tuple(f"{kind}={name}" for name in numbered or others or uuids or names)


def nodes(device: str, folders: Sequence[Path] = FOLDERS) -> Mapping[str, str] | None:
    """The device nodes that are a device's own: path in the container -> path on this machine.

    `device` is a CDI name. Empty: its spec gives it none. None: no spec here names it. The nodes
    that a spec adds for all of its devices are not in it.
    """
    kind, _, name = device.rpartition("=")
    found = [each for each in _devices(kind, folders) if str(each.name) == name]
    if not found:
        return None
    edits = found[-1].container_edits
    return {
        node.path: node.host_path or node.path
        for node in (edits.device_nodes if edits else None) or ()
        if node.type != "p"
    }


def _devices(kind: str, folders: Sequence[Path]) -> Iterator[_Device]:
    for folder in folders:
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.suffix not in (".json", ".yaml", ".yml"):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # replaced at this moment
                continue
            spec = _read(path, status.st_ino, status.st_ctime_ns, status.st_size)
            if spec is not None and spec.kind == kind:
                yield from spec.devices


@lru_cache(maxsize=64)
def _read(path: Path, _inode: int, _ctime_ns: int, _size: int) -> _Spec | None:
    """The spec in a file, or None, which is logged once for each state of the file."""
    try:
        return msgspec.convert(yaml.safe_load(path.read_bytes()), _Spec, strict=False)
    except (OSError, yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        _log.warning(
            "CDI spec left out: it cannot be read", extra={"path": str(path), "error": str(error)}
        )
        return None
