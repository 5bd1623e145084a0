"""Whether a container has the devices that it was given: looked at between init and start.

A CDI spec that is out of date, or a runtime that leaves a device out, would let an operator run
without its GPU: some programs compute on the CPU then, for hours, and say nothing. What is looked
at is the container itself: its root, as the kernel shows it.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from claraedge.blocking import in_thread
from claraedge.errors import ContainerError
from claraedge.pipelines.containers import VISIBLE_DEVICES
from claraedge.runner.containers import read_initialised
from claraedge.runner.inspector import Inspector
from claraedge.runner.protocol import ContainerSpec
from claraedge.runner.specgen import NO_DEVICES

_log = logging.getLogger(__name__)

#: Which device nodes a CDI name stands for, path in the container -> path on this machine; None:
#: nobody knows. It may block.
Nodes: TypeAlias = Callable[[str], Mapping[str, str] | None]

_TO_DO = (
    "Let the driver's tool write the CDI spec anew (`nvidia-ctk cdi generate"
    " --output=/etc/cdi/nvidia.yaml`), see that what it names is on this machine, and create a new"
    " job"
)


class DeviceCheck:
    """Looks at what a container was given. `visible`: NVIDIA_VISIBLE_DEVICES as it is set there."""

    def __init__(
        self,
        inspector: Inspector,
        *,
        visible: str = NO_DEVICES,
        nodes: Nodes = lambda _device: None,
    ) -> None:
        self.visible = visible
        self._inspector = inspector
        self._nodes = nodes
        self._overruled: set[str] = set()

    async def check(self, container: str, spec: ContainerSpec) -> None:
        """Raises ContainerError where one of its devices is not in an initialised container."""
        found = read_initialised(await self._inspector.inspected(container) or b"")
        own = {device: await in_thread(self._nodes, device) for device in spec.devices}
        await in_thread(check_devices, spec, Path(f"/proc/{found.pid}/root"), found.nodes, own)
        visible = found.environment.get(VISIBLE_DEVICES, "")
        if visible not in (self.visible, *self._overruled):
            self._overruled.add(visible)
            _log.warning(
                "the CDI spec sets %s=%s itself, which wins over engine.visible_devices (%s)",
                VISIBLE_DEVICES,
                visible,
                self.visible,
            )


def check_devices(
    spec: ContainerSpec,
    root: Path,
    given: Mapping[str, str],
    own: Mapping[str, Mapping[str, str] | None],
) -> None:
    """Raises ContainerError where a device of the spec is not in the container. Blocks.

    `root`: the container's own root folder, `/proc/PID/root`. `given`: the nodes that Podman says
    it has, path in it -> a path of the same device on this machine. `own`: CDI name -> the nodes
    that are this device's alone, in the same form; None where its CDI spec was not found.
    """
    for device in spec.devices:
        nodes = own[device]
        if nodes is None:
            nodes = given
        if not nodes:
            raise _without(spec, device, "its CDI spec gives it no device node")
        for path, host in nodes.items():
            lack = _lack(root, path, host)
            if lack is not None:
                raise _without(spec, device, lack)
    for path, host in given.items():  # those too that a CDI spec adds for all of its devices
        lack = _lack(root, path, host)
        if lack is not None:
            raise _without(spec, spec.devices[0], lack)


def _without(spec: ContainerSpec, device: str, lack: str) -> ContainerError:
    kind, _, name = device.rpartition("=")
    return ContainerError(
        f"container {spec.name} would run without the device {name} of the CDI kind {kind}:"
        f" {lack}. {_TO_DO}"
    )


def _lack(root: Path, path: str, host: str) -> str | None:
    """What is wrong with a node of a container; None: it is the device of this machine."""
    try:
        wanted = Path(host).stat()
    except OSError as error:
        return f"{host} of this machine cannot be looked at ({error.strerror})"
    if not _is_device(wanted):
        return f"{host} of this machine is no device"
    try:
        # A link would be followed on this machine, not in the container.
        found = (root / path.lstrip("/")).lstat()
    except FileNotFoundError:
        return f"{path} is not in it"
    except OSError as error:
        return f"{path} in it cannot be looked at ({error.strerror})"
    if not _is_device(found):
        return f"{path} in it is no device"
    if (stat.S_IFMT(found.st_mode), found.st_rdev) != (stat.S_IFMT(wanted.st_mode), wanted.st_rdev):
        return f"{path} in it is the device {_numbers(found)}, not {_numbers(wanted)} as {host}"
    return None


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)


def _numbers(status: os.stat_result) -> str:
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
