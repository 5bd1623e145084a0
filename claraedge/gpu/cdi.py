"""The devices of a CDI kind, as the specs on this machine name them.

Source: Container Device Interface 0.3 to 0.8: JSON or YAML files in /etc/cdi and /var/run/cdi, the
later folder wins. A driver that is late at boot writes its spec late, so nothing is cached.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml

FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))

_log = logging.getLogger(__name__)


class _Device(msgspec.Struct):
    name: str | int


class _Spec(msgspec.Struct):
    kind: str
    devices: list[_Device]


def devices(kind: str, folders: Sequence[Path] = FOLDERS) -> tuple[str, ...]:
    """CDI names (`kind=name`) of the single devices, in the order of the specs.

    The spec of a driver lists each GPU by index and by UUID, and all of them as `all`: the names
    that are indexes are the devices, or else those that are neither `all` nor a UUID.
    """
    names: dict[str, None] = {}
    for folder in folders:
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.suffix in (".json", ".yaml", ".yml"):
                names |= dict.fromkeys(_names(path, kind))
    numbered = [name for name in names if name.isdigit()]
    others = [n for n in names if n != "all" and not n.startswith(("GPU-", "MIG-"))]
    return tuple(f"{kind}={name}" for name in numbered or others)


def _names(path: Path, kind: str) -> list[str]:
    try:
        spec = msgspec.convert(yaml.safe_load(path.read_bytes()), _Spec, strict=False)
    except (OSError, yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        _log.warning(
            "CDI spec left out: it cannot be read", extra={"path": str(path), "error": str(error)}
        )
        return []
    return [str(device.name) for device in spec.devices] if spec.kind == kind else []
