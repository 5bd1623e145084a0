"""Explains why a GPU that a CDI spec names cannot be given to a container, and what to do about it.

Podman only says "unresolvable CDI devices" for any problem with a spec. So the specs are checked
here for known problems. Measured with Podman 4.3: it ignores a spec of CDI 0.6 or later, one with a
field that is not in CDI 0.5, and a device that two files of one folder name. Podman 4.9 does the
same with `additionalGids`, which NVIDIA's toolkit writes from 1.19 on
(NVIDIA/nvidia-container-toolkit#1860).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from claraedge.gpu import cdi

_GENERATE = "`sudo nvidia-ctk cdi generate --output={path}` writes it again"

#: The fields of CDI 0.5, by place. Source: the schema of the specification, release 0.5.
_FIELDS = {
    "": {"cdiVersion", "kind", "devices", "containerEdits"},
    "devices": {"name", "containerEdits"},
    "containerEdits": {"env", "deviceNodes", "hooks", "mounts"},
    "deviceNodes": {
        *("path", "hostPath", "type", "major", "minor"),
        *("fileMode", "permissions", "uid", "gid"),
    },
    "hooks": {"hookName", "path", "args", "env", "timeout"},
    "mounts": {"hostPath", "containerPath", "options", "type"},
}


def none_seen(folders: Sequence[Path] = cdi.FOLDERS) -> str | None:
    """Returns why no device is found at all, where there are files that could name some; else None.

    Blocks.
    """
    found = [f"{path}: {why}" for path, why in cdi.faulty_files(folders).items()]
    if not found:
        return None
    return (
        f"{'; '.join(found)}. Make it readable for everybody (`sudo chmod a+r FILE`), give it a"
        " name that ends with .yaml or .json, or have it written again (`sudo nvidia-ctk cdi"
        " generate --output=/etc/cdi/nvidia.yaml`)"
    )


def by_spec(device: str, folders: Sequence[Path] = cdi.FOLDERS) -> str | None:
    """Returns what is wrong with a device by its spec alone; None where no problem is known.
    Blocks.
    """
    for entry in cdi.entries(device, folders)[-1:]:
        nodes = {*entry.own.nodes().values(), *entry.common.nodes().values()}
        missing = [path for path in dict.fromkeys(entry.needs()) if not _is_there(path)]
        again = _GENERATE.format(path=entry.path)
        gone = [path for path in missing if path in nodes]
        if gone:
            return (
                f"{_some(gone)} of {entry.path} is not on this machine: its driver is not loaded."
                f" {_how_to_load(gone)}; where the GPU is another one now, {again}"
            )
        if missing:
            return (
                f"{_some(missing)} of {entry.path} is not on this machine any more, as after an"
                f" update of the driver; {again}"
            )
    return None


def unresolved(device: str, podman: str, folders: Sequence[Path] = cdi.FOLDERS) -> str | None:
    """Returns why Podman finds no device of that name; None where unknown. Blocks.

    `podman`: its name and version.
    """
    kind, _, name = device.rpartition("=")
    podman = podman or "Podman"
    paths = [entry.path for entry in cdi.entries(device, folders)]
    for folder in {path.parent for path in paths}:
        twice = [str(path) for path in paths if path.parent == folder]
        if len(twice) > 1:
            return (
                f"the device {name} of {kind} is in {' and in '.join(twice)}, and {podman} uses"
                " neither; remove one of these files"
            )
    for path in paths[-1:]:
        newer = _newer(path)
        if newer:
            return (
                f"{podman} does not read {path}, which is written in a newer form of CDI"
                f" ({', '.join(newer)}). Use a newer Podman, or have it written by an older"
                " nvidia-container-toolkit (1.18 and before), or write `cdiVersion: 0.5.0` in it"
                " and take out what is newer"
            )
    return None


def _newer(path: Path) -> list[str]:
    """Returns what a spec has that CDI 0.5 does not know: its version, and fields."""
    try:
        spec = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return []
    if not isinstance(spec, Mapping):
        return []
    version = str(spec.get("cdiVersion", ""))
    numbers = [int(part) for part in version.split(".") if part.isdigit()]
    newer = [f"cdiVersion {version}"] if numbers > [0, 5, 0] else []
    return newer + list(dict.fromkeys(_unknown(spec, _FIELDS[""])))


def _unknown(part: Mapping[str, object], known: Collection[str]) -> Iterator[str]:
    for name, value in part.items():
        if name not in known:
            yield str(name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping) and name in _FIELDS:
                yield from _unknown(each, _FIELDS[name])


def _is_there(path: str) -> bool:
    """Whether a file exists; one that this user may not access counts as existing."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _some(paths: Sequence[str]) -> str:
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    return f"{paths[0]}{more}"


def _how_to_load(nodes: Sequence[str]) -> str:
    if any("nvidia-uvm" in node for node in nodes):
        return (
            "`sudo nvidia-modprobe -u -c 0` loads it, `nvidia-uvm` in /etc/modules-load.d at boot"
        )
    return "`sudo nvidia-smi` loads NVIDIA's driver, and says why where it cannot"
