"""Removes mounts of Podman that block the removal of a layer, and with it every other call of
Podman.

Podman bind-mounts its folder of layers onto itself, and each of its processes unmounts it at its
end, if no container is mounted. A container that another process mounts at that moment is covered
by the next such mount: nobody can unmount it, its layer cannot be removed ("device or resource
busy"), and from then on every Podman of this user first retries that for ten seconds and then
fails, until the machine restarts (containers/podman#17216, #27012).

Podman's mounts are in a mount namespace of its own. In ours, the folder under such a mount is an
ordinary one: when it is removed, the kernel removes the mounts on it in every namespace, including
covered ones. Podman then removes the layer by itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from claraedge import spawn
from claraedge.blocking import in_thread
from claraedge.decoding import decode_json
from claraedge.fs.mounts import parse
from claraedge.runner.processes import pause_process

_log = logging.getLogger(__name__)

_LAYER = re.compile(rb"(/.*)/overlay/([0-9a-f]{64})/merged", re.DOTALL)
#: Files in which Podman records which of its layers are half created or half removed.
_LISTS = ("layers.json", "volatile-layers.json")
_SECONDS = 10.0  # for the removal of the folders


class _Layer(msgspec.Struct):
    id: str
    flags: dict[str, object] | None = None


async def release(service: int | None = None) -> None:
    """Unmounts what is mounted on half-removed layers.

    `service` is a process of Podman, where one is known. Failures are only logged.
    """
    try:
        await _release({await in_thread(pause_process), service} - {None})
    except (OSError, msgspec.MsgspecError, TimeoutError) as error:
        _log.warning("mounts that Podman cannot remove are not searched for: %r", error)


async def _release(processes: Iterable[int | None]) -> None:
    for process in processes:
        stuck = await in_thread(_stuck, process)
        if not stuck:
            continue
        # As root of Podman's user namespace, for layers of other users; in our own mount namespace.
        enter = ["nsenter", "-t", str(process), "-U", "--preserve-credentials"]
        code, text = await spawn.run([*enter, "rmdir", "--", *map(str, stuck)], timeout=_SECONDS)
        if code == 0:
            for folder in stuck:
                _log.warning(
                    "removed the mount point that kept Podman from removing a layer: %s", folder
                )
            return
        _log.error(
            "Podman cannot remove a layer that is still mounted, and fails until that is gone: %s;"
            " restart this machine if it stays so",
            text.strip(),
        )


def _stuck(process: int | None) -> list[Path]:
    """Returns the mount points of half-removed layers in the process's mount namespace.

    Raises OSError, MsgspecError.
    """
    try:
        mounts = Path(f"/proc/{process}/mountinfo").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    found: dict[Path, set[str]] = {}
    for mount in parse(mounts):
        if (layer := _LAYER.fullmatch(mount.point)) is not None:
            found.setdefault(Path(os.fsdecode(layer[1])), set()).add(layer[2].decode())
    return [
        root / "overlay" / layer / "merged"
        for root, layers in found.items()
        for layer in sorted(layers & set(_incomplete(root)))
    ]


def _incomplete(root: Path) -> Iterable[str]:
    for name in _LISTS:
        with contextlib.suppress(FileNotFoundError):
            content = (root / "overlay-layers" / name).read_bytes()
            for layer in decode_json(content, list[_Layer]):
                if (layer.flags or {}).get("incomplete"):
                    yield layer.id
