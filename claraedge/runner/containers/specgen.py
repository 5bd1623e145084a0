"""Translates a ContainerSpec into the body of Podman's create call. Pure.

Every option that Podman would take from its environment, its defaults or the image, and that could
weaken the isolation or have unexpected effects, is set here; each choice was measured with Podman
4.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.errors import ContainerError
from claraedge.pipelines.checks.containers import VISIBLE_DEVICES
from claraedge.runner.groups import NO_GROUPS, Groups
from claraedge.runner.networks import namespace
from claraedge.runner.protocol import (
    LABEL_JOINS,
    LABEL_SLICE,
    LABELS,
    BindMount,
    ContainerSpec,
    Limit,
)
from claraedge.runner.reserved import explicit
from claraedge.runner.user_namespaces import SHARED
from claraedge.runner.workarounds.slices import ENDED_AT_ONCE, KILL_ALL, Slice

# CDI 0.5, device names. Vendor and class need at least two characters here, because Podman 4.3
# panics on fewer.
_CDI_NAME = re.compile(
    r"[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]"
    r"/[A-Za-z][A-Za-z0-9_-]*[A-Za-z0-9]"
    r"=[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?"
)
#: NVIDIA's value for "no devices" in NVIDIA_VISIBLE_DEVICES. Its older way of giving GPUs is a hook
#: that every container passes and that reads this variable.
NO_DEVICES = "void"

#: Namespaces that each container gets for itself, in Podman's terms. Those for users and for the
#: network are set separately.
_NAMESPACES = ("pidns", "ipcns", "utsns", "cgroupns")
#: Microseconds in which a container may use its share of the cores; the kernel's default.
_PERIOD = 100_000
_SCRATCH = ("/tmp", "/var/tmp", "/run")  # noqa: S108 in the container
_SCRATCH_OPTIONS = ("rw", "nosuid", "nodev", "rprivate", "tmpcopyup", "mode=1777")
#: Podman's own options, except for the size: its 64 MB are too little for programs that share data.
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 in the container
_SHARED_MEMORY_OPTIONS = ("rw", "nosuid", "nodev", "noexec", "rprivate", "mode=1777")


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """The VOLUMEs of an image, by what the image has at their paths."""

    empty: tuple[str, ...] = ()
    """Paths where the image has nothing, or an empty folder."""
    filled: tuple[str, ...] = ()


NO_VOLUMES = Volumes()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """What the network of a container needs on this machine."""

    outside: str = ""
    """Podman's network mode for rootless access to the outside; needed only with OUTSIDE."""
    resolvers: tuple[str, ...] = ()
    """Resolvers for a container on bridges; empty: Podman's own choice."""
    joined: int = 0
    """Pid of the first process of the container that it joins; 0: none."""
    files: tuple[BindMount, ...] = ()
    """Files of the container that it joins, which say how names are resolved."""


NO_NETWORK = NetworkSettings()


def create_request(
    spec: ContainerSpec,
    seccomp_profile: Path | None,
    network: NetworkSettings = NO_NETWORK,
    *,
    limits: Collection[Limit] = tuple(Limit),
    visible_devices: str = NO_DEVICES,
    place: Slice | None = None,
    groups: Groups = NO_GROUPS,
    volumes: Volumes = NO_VOLUMES,
    user_namespace: Mapping[str, object] = SHARED,
) -> dict[str, object]:
    """Returns the body of `POST /containers/create`. Raises ContainerError for an invalid device
    name.

    `limits`: the limits to set; a runtime that cannot enforce a limit refuses a
    container that asks for it. `visible_devices`: NVIDIA_VISIBLE_DEVICES of a container with
    devices. Neither an image nor a definition may set it, since with NVIDIA's hook it would give
    devices that were not leased. `place`: the slice that the container is put into. `groups`: the
    groups that its devices need. `volumes`: the VOLUMEs of its image. `user_namespace`: for
    containers of images; the folder of a `root` belongs to this user.
    """
    log: dict[str, object] = {"driver": "k8s-file", "path": str(spec.log_path)}
    if spec.log_size is not None:
        log["size"] = spec.log_size
    labels = {**spec.labels, LABEL_JOINS: spec.joins}
    visible = visible_devices if spec.devices else NO_DEVICES
    request: dict[str, object] = {
        "name": spec.name,
        **({"image": spec.image} if spec.root is None else {"rootfs": str(spec.root)}),
        "labels": explicit(labels, LABELS),
        "env": {**spec.environment, VISIBLE_DEVICES: visible},
        "mounts": _mounts(spec, volumes, network.files),
        "log_configuration": log,
        "resource_limits": _limits(spec, limits),
        **{name: {"nsmode": "private"} for name in _NAMESPACES},
        **namespace(spec, network.outside, network.joined, network.resolvers),
        "cgroups_mode": "enabled",
        "privileged": False,
        "umask": "0022",
        "use_image_hosts": False,
        "init": False,
        "cap_drop": ["ALL"],
        "no_new_privileges": True,
        "read_only_filesystem": not spec.writable_root and not volumes.filled,
        "image_volume_mode": "ignore",
        "devices": [{"path": _checked(name, spec)} for name in spec.devices],
        "httpproxy": False,
        "terminal": False,
        "stdin": False,
        "remove": False,
        "systemd": "false",
        "sdnotifyMode": "ignore",
        "healthconfig": {"Test": ["NONE"]},
        **(user_namespace if spec.root is None else SHARED),
    }
    if groups.annotations:
        request["annotations"] = dict(groups.annotations)
    if groups.added:
        request["groups"] = list(groups.added)
    if place is not None:
        request["cgroup_parent"] = place.name
        request["annotations"] = {**ENDED_AT_ONCE, **groups.annotations}
        request["labels"] = explicit({**labels, LABEL_SLICE: place.label}, LABELS)
    if spec.entrypoint:
        request["entrypoint"] = list(spec.entrypoint)
    if spec.command:
        request["command"] = list(spec.command)
    if spec.working_dir is not None:
        request["work_dir"] = spec.working_dir
    if seccomp_profile is not None:
        request["seccomp_profile_path"] = str(seccomp_profile)
    return request


def _limits(spec: ContainerSpec, enforced: Collection[Limit]) -> dict[str, object]:
    limits: dict[str, object] = {}
    if Limit.PIDS in enforced:
        limits["pids"] = {"limit": spec.pids}
    if Limit.MEMORY in enforced:
        limits["unified"] = KILL_ALL  # Podman 4.3 ignores it inside `resource_limits`
    if Limit.MEMORY in enforced and spec.memory is not None:
        # Limit memory and swap together: otherwise what exceeds the limit goes to the machine's
        # swap.
        limits["memory"] = {"limit": spec.memory, "swap": spec.memory}
    if Limit.CPU in enforced and spec.cpu is not None:
        limits["cpu"] = {"quota": max(1000, round(spec.cpu * _PERIOD)), "period": _PERIOD}
    return limits


def _mounts(
    spec: ContainerSpec, volumes: Volumes, files: Sequence[BindMount]
) -> list[dict[str, object]]:
    own = [_tmpfs(_SHARED_MEMORY, _SHARED_MEMORY_OPTIONS, spec.shared_memory)]
    if not spec.writable_root:
        paths = dict.fromkeys([*_SCRATCH, *(path.rstrip("/") for path in volumes.empty)])
        own += [_tmpfs(path, _SCRATCH_OPTIONS, spec.scratch) for path in paths]
    taken = {mount.target.rstrip("/") for mount in spec.mounts}
    binds = [_bind(m) for m in (*spec.mounts, *(f for f in files if f.target not in taken))]
    return [*binds, *(mount for mount in own if mount["destination"] not in taken)]


def _tmpfs(path: str, options: Sequence[str], size: int | None) -> dict[str, object]:
    limit = [] if size is None else [f"size={size}"]  # default: half of the machine's memory
    return {
        "type": "tmpfs",
        "source": "tmpfs",
        "destination": path,
        "options": [*options, *limit],
    }


def _bind(mount: BindMount) -> dict[str, object]:
    access = "ro" if mount.read_only else "rw"
    return {
        "type": "bind",
        "source": str(mount.source),
        "destination": mount.target,
        "options": ["rbind", access, "nosuid", "nodev", "rprivate"],
    }


def _checked(name: str, spec: ContainerSpec) -> str:
    if not _CDI_NAME.fullmatch(name):
        raise ContainerError(
            f"container {spec.name} asks for the device {name!r}, which is no CDI name; "
            "write it as vendor/class=name, such as nvidia.com/gpu=0"
        )
    return name
