"""Parses Podman's answers about containers into our values.

The words in Podman's `Status` and `State` are libpod's own; their meaning was measured with 4.3
where it matters: `stopped` means that conmon has written its exit file, `exited` that the container
is cleaned up as well, and only in these two is the exit code valid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import RunnerUnavailableError
from claraedge.runner.protocol import LABEL_JOINS, LABEL_SLICE, Container, Exit, ExitCause, Phase

#: Go's zero time, as the start time of a container that was never started.
_NEVER = "0001-01-01T00:00:00Z"
_ENDED = ("stopped", "exited")
_BEFORE_START = ("created", "configured", "initialized")
_STORAGE_ALONE = "storage"
_ALIVE = ("running", "paused", "stopping")


class _State(msgspec.Struct, rename="pascal"):
    status: str
    pid: int = 0
    conmon_pid: int = 0
    exit_code: int = 0
    started_at: str = _NEVER
    out_of_memory: bool = msgspec.field(name="OOMKilled", default=False)


class _Given(msgspec.Struct, rename="pascal"):
    path_on_host: str
    path_in_container: str


class _HostConfig(msgspec.Struct, rename="pascal"):
    devices: list[_Given] | None = None


class _Config(msgspec.Struct, rename="pascal"):
    env: list[str] | None = None
    labels: dict[str, str] | None = None


class _Inspected(msgspec.Struct, rename="pascal"):
    state: _State
    config: _Config = msgspec.field(default_factory=_Config)


class _WithDevices(msgspec.Struct, rename="pascal"):
    state: _State
    host_config: _HostConfig
    config: _Config


class _WithNames(msgspec.Struct, rename="pascal"):
    resolv_conf_path: str = ""
    hosts_path: str = ""


class _ListedContainer(msgspec.Struct, rename="pascal"):
    id: str
    state: str
    names: list[str] = []
    labels: dict[str, str] | None = None
    pid: int = 0
    exit_code: int = 0
    started_at: int = 0
    exited_at: int = 0
    networks: list[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The state of one container as inspect shows it."""

    phase: Phase
    pid: int
    """Pid of its first process; 0 where there is none."""
    conmon: int
    """Pid of its supervisor; 0 where Podman has not recorded one."""
    exit: Exit | None
    """Set only where the phase is STOPPED."""
    slice: str = ""
    """The value of its label LABEL_SLICE."""
    joins: str = ""
    """Id of the container whose network namespace it shares; empty: it has one of its own."""

    @property
    def holds(self) -> bool:
        """Whether it is initialised and not started: its first process waits to be started."""
        return self.phase is Phase.CREATED and self.pid > 0


def read_state(body: bytes) -> State:
    """Parses the answer of `GET /containers/{id}/json`. Raises RunnerUnavailableError."""
    try:
        inspected = decode_json(body, _Inspected)
    except msgspec.MsgspecError as error:
        raise RunnerUnavailableError(
            f"Podman's answer about a container cannot be read: {error}"
        ) from error
    found = inspected.state
    phase = _phase(found.status, started=found.started_at != _NEVER)
    labels = inspected.config.labels or {}
    return State(
        phase=phase,
        pid=found.pid,
        conmon=found.conmon_pid,
        exit=_exit(found.exit_code, found.out_of_memory) if phase is Phase.STOPPED else None,
        slice=labels.get(LABEL_SLICE, ""),
        joins=labels.get(LABEL_JOINS, ""),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    """An initialised container with devices, as inspect shows it."""

    pid: int
    nodes: Mapping[str, str]
    """Path in the container -> a path of the same device on this machine."""
    environment: Mapping[str, str]


def read_initialised(body: bytes) -> Initialised:
    """Parses the answer of `GET /containers/{id}/json` between init and start.

    Raises RunnerUnavailableError.
    """
    try:
        found = decode_json(body, _WithDevices)
    except msgspec.MsgspecError as error:
        raise RunnerUnavailableError(
            f"Podman's answer about a container cannot be read: {error}"
        ) from error
    return Initialised(
        pid=found.state.pid,
        nodes={d.path_in_container: d.path_on_host for d in found.host_config.devices or ()},
        # Of two values for one variable, programs see the later one, which comes from a CDI spec.
        environment=dict(entry.partition("=")[::2] for entry in found.config.env or ()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderState:
    """A container whose network namespace others join, as inspect shows it."""

    state: State
    resolv: str
    """Path on this machine of its /etc/resolv.conf; empty where it has none."""
    hosts: str
    """Path on this machine of its /etc/hosts; empty where it has none."""


def read_holder(body: bytes) -> HolderState:
    """Parses the answer of `GET /containers/{id}/json` of such a container.

    Raises RunnerUnavailableError.
    """
    try:
        found = decode_json(body, _WithNames)
    except msgspec.MsgspecError as error:
        raise RunnerUnavailableError(
            f"Podman's answer about a container cannot be read: {error}"
        ) from error
    return HolderState(
        state=read_state(body), resolv=found.resolv_conf_path, hosts=found.hosts_path
    )


def read_list(body: bytes) -> Sequence[tuple[Container, int]]:
    """Parses the answer of `GET /containers/json`: each container with the pid that Podman
    recorded.

    Raises RunnerUnavailableError.
    """
    return [(_container(entry), entry.pid) for entry in _listed(body)]


def read_half_made(body: bytes, prefix: str) -> Sequence[str]:
    """Returns the names in a list, starting with `prefix`, that only the storage knows, and Podman
    not.

    Podman's own filters have no effect on such containers: it lists all of them.
    """
    names = [e.names[0] for e in _listed(body) if e.state == _STORAGE_ALONE and e.names]
    return [name for name in names if name.startswith(prefix)]


def labels_filter(labels: Mapping[str, str]) -> str:
    """Returns the `filters` of a list request: containers that carry all of these labels."""
    return msgspec.json.encode({"label": [f"{k}={v}" for k, v in labels.items()]}).decode()


def _listed(body: bytes) -> Sequence[_ListedContainer]:
    try:
        return decode_json(body, list[_ListedContainer] | None) or []
    except msgspec.MsgspecError as error:
        raise RunnerUnavailableError(
            f"Podman's list of containers cannot be read: {error}"
        ) from error


def _container(entry: _ListedContainer) -> Container:
    # The list gives seconds, and a time before 1970 for Go's zero time.
    phase = _phase(entry.state, started=entry.started_at > 0)
    return Container(
        id=entry.id,
        name=entry.names[0] if entry.names else "",
        # An empty label only hides a label of the image (`reserved.explicit`).
        labels={name: value for name, value in (entry.labels or {}).items() if value},
        phase=phase,
        exit_code=_exit(entry.exit_code, False).code if phase is Phase.STOPPED else None,
        ended=entry.exited_at if phase is Phase.STOPPED and entry.exited_at > 0 else None,
        networks=tuple(entry.networks or ()),
    )


def _phase(status: str, *, started: bool) -> Phase:
    if status in _ENDED:
        return Phase.STOPPED
    if status in _ALIVE:
        return Phase.RUNNING
    if status in _BEFORE_START and not started:
        return Phase.CREATED
    # Back to `created` after a restart of the machine, or half removed: there is no exit to
    # collect.
    return Phase.INTERRUPTED


def _exit(code: int, out_of_memory: bool) -> Exit:
    if code < 0:  # Podman's value for a code that nobody recorded
        return Exit(cause=ExitCause.LOST_SUPERVISOR, out_of_memory=out_of_memory)
    return Exit(cause=ExitCause.EXITED, code=code, out_of_memory=out_of_memory)
