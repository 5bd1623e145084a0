"""Deployments as values: what was asked for, what was planned of it, and how it is. Pure.

Source of phases, statuses and codes: rapyuta.io, Deployment.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from claraedge.packages.bag_jobs import BagJobDefinition
from claraedge.packages.model import LivenessProbe, PullPolicy, RestartPolicy


class DeploymentPhase(enum.StrEnum):
    """The phase of a deployment; the words are those of rapyuta.io."""

    IN_PROGRESS = "In progress"
    PROVISIONING = "Provisioning"
    SUCCEEDED = "Succeeded"
    FAILED_TO_START = "Failed to start"
    PARTIALLY_DEPROVISIONED = "Partially deprovisioned"
    STOPPED = "Deployment stopped"
    FAILED_TO_UPDATE = "Failed to update"

    @property
    def ended(self) -> bool:
        """Whether nothing of the deployment runs, and nothing will."""
        return self in (DeploymentPhase.STOPPED, DeploymentPhase.FAILED_TO_START)

    @property
    def started(self) -> bool:
        """Whether all of its executables were up, and it was not undeployed since."""
        return self in (DeploymentPhase.SUCCEEDED, DeploymentPhase.FAILED_TO_UPDATE)


class DeploymentStatus(enum.StrEnum):
    """How a deployment, a component or an executable is."""

    UNKNOWN = "Unknown"
    RUNNING = "Running"
    PENDING = "Pending"
    ERROR = "Error"
    STOPPED = "Stopped"


class FaultCode(enum.StrEnum):
    """Why a deployment failed: the codes of rapyuta.io."""

    EXITED_EARLY = "DEP_E152"
    NO_IMAGE = "DEP_E161"
    INVALID = "DEP_E162"
    CRASHES = "DEP_E163"
    DEVICE = "DEP_E300"
    """The device could not do it: its disk, its network or its containers."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why a deployment failed."""

    code: FaultCode
    message: str


class VolumeMount(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of this device in an executable."""

    executable: str
    """Id of the executable."""
    mount_path: str
    sub_path: str
    """Below the folder of volumes; absolute: a folder of the administrator's list."""


class DeployedExecutable(msgspec.Struct, frozen=True, kw_only=True):
    """An executable of a deployment: of the package, or as an update changed it."""

    id: str
    name: str
    image: str
    command: tuple[str, ...]
    memory: int
    """Megabytes; 0: none are stated."""
    cpu: float
    """Cores; 0: all."""
    gpus: int
    pull: PullPolicy = PullPolicy.IF_NOT_PRESENT
    probe: LivenessProbe | None = None


class DeployedComponent(msgspec.Struct, frozen=True, kw_only=True):
    """A component of a deployment, with all its settings."""

    id: str
    """Of the package."""
    name: str
    instance: str
    """Id of this component of this deployment."""
    restart: RestartPolicy
    parameters: Mapping[str, str]
    variables: Mapping[str, str]
    mounts: tuple[VolumeMount, ...]
    executables: tuple[DeployedExecutable, ...]
    endpoints: Mapping[str, int]
    """Name -> port that the component listens on."""
    routes: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Name of an endpoint -> id of the static route that leads to it."""
    bag_jobs: tuple[BagJobDefinition, ...] = ()
    """Jobs that start with the deployment; `executable` is an id."""


class DeploymentPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment consists of: all that is needed to create its containers again."""

    components: tuple[DeployedComponent, ...]

    def executables(self) -> Iterator[tuple[DeployedComponent, DeployedExecutable]]:
        """Yields each executable with its component."""
        for component in self.components:
            for executable in component.executables:
                yield component, executable


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutableRecord:
    """What is recorded of one executable."""

    id: str
    image: str = ""
    """Id of the image that its name meant; empty: not resolved yet."""
    gpus: tuple[str, ...] = ()
    """CDI names of the GPUs that it was given last."""
    was_up: bool = False
    """Whether it was ever up."""
    restarts: int = 0
    reason: str = ""
    """Why it ended the last time; empty: it never did."""
    over: DeploymentStatus | None = None
    """STOPPED or ERROR: it is not started again; None: it runs, or will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployment as it is recorded."""

    id: str
    name: str
    package: str
    """Id of the package."""
    package_name: str
    package_version: str
    plan_id: str
    plan_name: str
    plan: DeploymentPlan
    update: DeploymentPlan | None = None
    """The plan that an update is changing it to."""
    wanted: bool = True
    """False once it was undeployed."""
    phase: DeploymentPhase
    faults: tuple[Fault, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()
    """Ids of deployments that have not ended and depend on it."""
    networks: tuple[str, ...] = ()
    """Ids of the private networks that its components are on."""
    generation: int = 1
    created: float
    """Unix seconds."""
    updated: float
    """Unix seconds."""
    stopped: float | None = None
    """Unix seconds; None: it has not ended."""
    executables: Mapping[str, ExecutableRecord] = field(default_factory=dict)
    """Id of the executable -> its record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentRequest:
    """What a request sets for one component."""

    component: str
    """Id or name."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    restart: RestartPolicy | None = None
    mounts: tuple[VolumeMount, ...] = ()
    """`executable`: id or name; empty: all of the component."""
    routes: Mapping[str, str] = field(default_factory=dict)
    """Name of an endpoint -> id or prefix of a static route."""
    bag_jobs: tuple[BagJobDefinition, ...] | None = None
    """In place of those of the package; None: those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRequest:
    """What is asked for."""

    name: str
    package: str
    """Id, unique left part of it, name or `name:version`."""
    plan: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    components: tuple[ComponentRequest, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    """Ids or names."""
    networks: tuple[str, ...] = ()
    """Ids or names of private networks."""

    @property
    def routes(self) -> frozenset[str]:
        """The ids or prefixes of all static routes that it names."""
        return frozenset(text for each in self.components for text in each.routes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutableChange:
    """What an update changes of one executable."""

    executable: str
    """Id or name."""
    image: str = ""
    """Empty: unchanged."""
    command: tuple[str, ...] | None = None
    """None: unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What plans have to fit."""

    architecture: str
    """`amd64`, `arm64v8` or `arm32v7`; empty: another."""
    memory: int
    """Megabytes of the device."""
    gpus: int
    host_folders: tuple[str, ...] = ()
    """Absolute paths of folders that deployments may mount."""
    unstated_memory: int = 0
    """Megabytes that are reserved for an executable that states none."""
    pulls: bool = True
    """Whether images are pulled."""
