"""Checks between init and start that a container has the devices it was given, and can use them.

A CDI spec that is out of date, or a runtime that leaves a device out, would let an operator run
without its GPU: some programs then compute on the CPU for hours without reporting it. The same
happens where the device is present but the user may not open it. The container itself is inspected:
its root as the kernel shows it, and its device nodes, opened as its user.
"""

from __future__ import annotations

import errno
import grp
import logging
import os
import pwd
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeAlias

from claraedge.blocking import in_thread
from claraedge.errors import ContainerError, DeviceError
from claraedge.pipelines.checks.containers import VISIBLE_DEVICES
from claraedge.runner import groups
from claraedge.runner.container_states import read_initialised
from claraedge.runner.containers import opening
from claraedge.runner.containers.inspector import Inspector
from claraedge.runner.containers.opening import ProcessIdentity
from claraedge.runner.containers.specgen import NO_DEVICES
from claraedge.runner.groups import GroupKeeper, Groups
from claraedge.runner.host import Host
from claraedge.runner.protocol import ContainerSpec

_log = logging.getLogger(__name__)

#: Returns the device nodes of a CDI name: path in the container -> path on this machine; None where
#: unknown. It may block.
Nodes: TypeAlias = Callable[[str], Mapping[str, str] | None]
#: Returns all nodes of this machine that a container with that device is given. It may block.
AllNodes: TypeAlias = Callable[[str], Collection[str]]

_TO_DO = (
    "Write the CDI spec again with the driver's tool (`sudo nvidia-ctk cdi generate"
    " --output=/etc/cdi/nvidia.yaml`), check that the devices in it are on this machine, and create"
    " a new job"
)


class DeviceCheck:
    """Checks the devices of containers.

    `visible` is the value of NVIDIA_VISIBLE_DEVICES in containers with devices.
    """

    def __init__(
        self,
        host: Host,
        inspector: Inspector,
        *,
        visible: str = NO_DEVICES,
        nodes: Nodes = lambda _device: None,
        all_nodes: AllNodes = lambda _device: (),
    ) -> None:
        self.visible = visible
        self._host = host
        self._inspector = inspector
        self._nodes = nodes
        self._all_nodes = all_nodes
        self._overruled: set[str] = set()

    async def groups(self, spec: ContainerSpec) -> Groups:
        """Returns the groups that the devices of the container need. Raises
        RunnerUnavailableError.
        """
        if not spec.devices:
            return groups.NO_GROUPS

        def needed() -> frozenset[int]:
            return groups.needed(node for d in spec.devices for node in self._all_nodes(d))

        keeper = await self._host.keeper()
        return keeper.ask(await in_thread(needed))

    async def check(self, container: str, spec: ContainerSpec) -> None:
        """Raises DeviceError where a device of an initialised container is missing, or its user
        cannot open one. Raises ContainerError where the container has ended, and
        RunnerUnavailableError.
        """
        found = read_initialised(await self._inspector.inspected(container) or b"")
        own = {device: await in_thread(self._nodes, device) for device in spec.devices}
        root = Path(f"/proc/{found.pid}/root")
        await in_thread(check_devices, spec, root, found.nodes, own)
        given = {*found.nodes, *(node for some in own.values() if some for node in some)}
        await self._check_opening(spec, found.pid, to_open(given))
        visible = found.environment.get(VISIBLE_DEVICES, "")
        if visible not in (self.visible, *self._overruled):
            self._overruled.add(visible)
            _log.warning(
                "the CDI spec sets %s=%s itself, which wins over engine.visible_devices (%s)",
                VISIBLE_DEVICES,
                visible,
                self.visible,
            )

    async def _check_opening(self, spec: ContainerSpec, pid: int, nodes: Collection[str]) -> None:
        try:
            identity = await in_thread(opening.read_identity, Path(f"/proc/{pid}"))
            refused = await opening.refused(pid, identity, nodes)
        except OSError as error:
            raise ContainerError(
                f"container {spec.name} ended before its devices could be checked ({error}); create"
                " a new job"
            ) from error
        for node, why in sorted(refused.items()):
            keeper = await self._host.keeper()
            status = await in_thread((Path(f"/proc/{pid}/root") / node.lstrip("/")).lstat)
            kind, _, name = spec.devices[0].rpartition("=")
            raise DeviceError(
                f"container {spec.name} could not use the device {name} of the CDI kind {kind}: its"
                f" user ({_user(identity)}) cannot open {node}, {_belongs(status)}: {why}."
                f" {what_to_do(node, status, why, keeper)}"
            )


def to_open(nodes: Collection[str]) -> Collection[str]:
    """Returns the nodes that compute programs open.

    Nodes for drawing on a screen are left out where there are others: /dev/dri/card*, and with an
    NVIDIA driver all of /dev/dri and nvidia-modeset. On most machines these belong to groups, and
    CUDA works without them.
    """
    others = [n for n in nodes if not n.startswith("/dev/dri/card") and "nvidia-modeset" not in n]
    if any(Path(node).name.startswith("nv") for node in others):
        others = [node for node in others if not node.startswith("/dev/dri/")]
    return others or nodes


def what_to_do(node: str, status: os.stat_result, why: str, keeper: GroupKeeper) -> str:
    """Returns the advice for a node that a container cannot open."""
    if why != os.strerror(errno.EACCES):
        return (
            "The node is there, and its driver refuses to open it: read what `nvidia-smi` and the"
            " kernel's log (`sudo dmesg`) say, and load the driver again or restart the machine"
        )
    rule = (
        f'let everybody open it: write `KERNEL=="{Path(node).name}", MODE="0666"` into'
        " /etc/udev/rules.d/99-gpu.rules, then `sudo udevadm control --reload && sudo udevadm"
        " trigger`"
    )
    if not status.st_mode & 0o60:
        return f"Only its owner can open it: {rule}"
    group, user = _group(status.st_gid), _name(os.getuid())
    join = f"`sudo usermod --append --groups {group} {user}`"
    if not keeper.keeps:
        return (
            f"Containers of the runtime {keeper.runtime or 'in use'} do not get the groups of their"
            f' user: {rule}. Or use crun, which keeps them: install it, write `runtime = "crun"`'
            f" below [engine] in ~/.config/containers/containers.conf of {user} (it needs a"
            f" machine with cgroup v2 only), add the user to the group ({join}), and restart the"
            " machine"
        )
    if status.st_gid not in os.getgroups():
        return (
            f"The daemon's user {user} is not in the group {group}, or was not when the daemon was"
            f" started: {join}, then restart the machine. Or {rule}"
        )
    return (
        f"Podman's own service was started before its user was in the group {group}: restart the"
        f" machine. Or {rule}"
    )


def _user(identity: ProcessIdentity) -> str:
    of = ", ".join(_group(g) for g in sorted(identity.groups | {identity.group}))
    return (
        f"{identity.user_inside} in it, {_name(identity.user)} on this machine, of the groups {of}"
    )


def _belongs(status: os.stat_result) -> str:
    return (
        f"which belongs to {_name(status.st_uid)} and the group {_group(status.st_gid)} with mode"
        f" {stat.S_IMODE(status.st_mode):04o}"
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _group(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def check_devices(
    spec: ContainerSpec,
    root: Path,
    given: Mapping[str, str],
    own: Mapping[str, Mapping[str, str] | None],
) -> None:
    """Raises DeviceError where a device of the spec is not in the container. Blocks.

    `root`: the container's root folder, `/proc/PID/root`. `given`: the nodes that Podman reports
    for the container, path in it -> a path of the same device on this machine. `own`: CDI name ->
    the nodes of this device alone, in the same form; None where its CDI spec was not found.
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
    for path, host in given.items():  # includes nodes that a CDI spec adds for all of its devices
        lack = _lack(root, path, host)
        if lack is not None:
            raise _without(spec, spec.devices[0], lack)


def _without(spec: ContainerSpec, device: str, lack: str) -> DeviceError:
    kind, _, name = device.rpartition("=")
    return DeviceError(
        f"container {spec.name} would run without the device {name} of the CDI kind {kind}:"
        f" {lack}. {_TO_DO}"
    )


def _lack(root: Path, path: str, host: str) -> str | None:
    """Returns what is wrong with a node in a container; None where it is the device of this
    machine.
    """
    try:
        wanted = Path(host).stat()
    except OSError as error:
        return f"{host} of this machine cannot be inspected ({error.strerror})"
    if not _is_device(wanted):
        return f"{host} of this machine is no device"
    try:
        # A link would be followed on this machine, not in the container.
        found = (root / path.lstrip("/")).lstat()
    except FileNotFoundError:
        return f"{path} is not in it"
    except OSError as error:
        return f"{path} in it cannot be inspected ({error.strerror})"
    if not _is_device(found):
        return f"{path} in it is no device"
    if (stat.S_IFMT(found.st_mode), found.st_rdev) != (stat.S_IFMT(wanted.st_mode), wanted.st_rdev):
        return f"{path} in it is the device {_numbers(found)}, not {_numbers(wanted)} as {host}"
    return None


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)


def _numbers(status: os.stat_result) -> str:
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
