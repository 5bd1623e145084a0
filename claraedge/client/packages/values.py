"""The values of packages and deployments; their fields are those of the protos."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from claraedge.client.values import Value


class ParameterInfo(Value, frozen=True, kw_only=True):
    """A parameter of a component."""

    name: str
    description: str
    default: str | None


class LivenessProbeInfo(Value, frozen=True, kw_only=True):
    """How a program is probed; where it is not, all fields are 0 or empty."""

    port: int
    path: str
    command: tuple[str, ...]
    initial_delay_seconds: int
    period_seconds: int
    timeout_seconds: int
    success_threshold: int
    failure_threshold: int


class ExecutableInfo(Value, frozen=True, kw_only=True):
    """An executable of a package."""

    id: str
    name: str
    image: str
    command: tuple[str, ...]
    memory: int
    """Megabytes; 0: no limit is given."""
    cpu: float
    """Cores; 0: no limit is given."""
    gpus: int
    pull_policy: str
    liveness_probe: LivenessProbeInfo


class EndpointInfo(Value, frozen=True, kw_only=True):
    """A port at which a component accepts connections."""

    name: str
    port: int
    target_port: int
    protocol: str
    exposed: bool


class ComponentInfo(Value, frozen=True, kw_only=True):
    """A component of a package."""

    id: str
    name: str
    description: str
    runtime: str
    architecture: str
    restart_policy: str
    parameters: tuple[ParameterInfo, ...]
    executables: tuple[ExecutableInfo, ...]
    endpoints: tuple[EndpointInfo, ...]
    ros_distro: str


class PlanInfo(Value, frozen=True, kw_only=True):
    """A plan of a package."""

    id: str
    name: str
    singleton: bool
    components: tuple[ComponentInfo, ...]


class PackageInfo(Value, frozen=True, kw_only=True):
    """A package. Its manifest is empty in lists."""

    id: str
    name: str
    version: str
    description: str
    bindable: bool
    created: datetime | None
    plans: tuple[PlanInfo, ...]
    manifest: str


class DeploymentFault(Value, frozen=True, kw_only=True):
    """Why a deployment failed, or does not run well."""

    code: str
    message: str


class VolumeInfo(Value, frozen=True, kw_only=True):
    """A folder of the device in a container."""

    executable: str
    mount_path: str
    sub_path: str


class DeployedExecutableInfo(Value, frozen=True, kw_only=True):
    """An executable of a deployment."""

    id: str
    name: str
    image: str
    command: tuple[str, ...]
    status: str
    restarts: int
    reason: str
    last_lines: tuple[str, ...]
    gpus: tuple[str, ...]
    pull_policy: str
    liveness_probe: LivenessProbeInfo


class DeployedComponentInfo(Value, frozen=True, kw_only=True):
    """A component of a deployment."""

    id: str
    name: str
    status: str
    restart_policy: str
    parameters: Mapping[str, str]
    mounts: tuple[VolumeInfo, ...]
    executables: tuple[DeployedExecutableInfo, ...]
    address: str
    instance_id: str
    routes: Mapping[str, str]
    """Name of an endpoint -> id of the static route that leads to it."""


class DeploymentInfo(Value, frozen=True, kw_only=True):
    """A deployment. Names of phases and statuses are those of the protos without prefix."""

    id: str
    name: str
    package_id: str
    package_name: str
    package_version: str
    plan_id: str
    plan_name: str
    phase: str
    status: str
    errors: tuple[DeploymentFault, ...]
    waits_for: str
    labels: Mapping[str, str]
    dependencies: tuple[str, ...]
    used_by: tuple[str, ...]
    networks: tuple[str, ...]
    components: tuple[DeployedComponentInfo, ...]
    generation: int
    created: datetime | None
    updated: datetime | None
    stopped: datetime | None

    @property
    def executables(self) -> tuple[DeployedExecutableInfo, ...]:
        return tuple(each for component in self.components for each in component.executables)

    @property
    def restarts(self) -> int:
        return sum(each.restarts for each in self.executables)


class RouteTargetInfo(Value, frozen=True, kw_only=True):
    """The endpoint that a static route leads to; all fields are empty where it leads nowhere."""

    deployment_id: str
    deployment_name: str
    component_id: str
    component_name: str
    endpoint: str


class RouteInfo(Value, frozen=True, kw_only=True):
    """A static route."""

    id: str
    prefix: str
    path: str
    target: RouteTargetInfo
    created: datetime | None


class NetworkInfo(Value, frozen=True, kw_only=True):
    """A private network. Names of enums are those of the protos without prefix."""

    id: str
    name: str
    kind: str
    ros_distro: str
    restart_policy: str
    interface: str
    labels: Mapping[str, str]
    phase: str
    status: str
    details: str
    subnet: str
    ros_master_uri: str
    used_by: tuple[str, ...]
    created: datetime | None


class BagJobInfo(Value, frozen=True, kw_only=True):
    """A job that records ROS topics. Names of enums are those of the protos without prefix."""

    id: str
    name: str
    deployment_id: str
    deployment_name: str
    component_name: str
    status: str
    reason: str
    payload_id: str
    created: datetime | None
    ended: datetime | None


class BagInfo(Value, frozen=True, kw_only=True):
    """A ROS bag; its times are None where it is not whole."""

    id: str
    job_id: str
    name: str
    payload_id: str
    status: str
    reason: str
    size: int
    """Bytes."""
    messages: int
    started: datetime | None
    ended: datetime | None
