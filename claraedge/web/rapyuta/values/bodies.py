"""What the SDK sends: the bodies of provisioning, updates and selections.

A field that is not known is refused, since a typing error must not be ignored. At the top level of
provisioning it is skipped, and not decoded: the SDK sends its own objects there, with the token of
its user in `_devices`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

Scalar: TypeAlias = str | int | float | bool
#: What a client may send as a value; only a `Scalar` becomes an environment variable.
Value: TypeAlias = Scalar | Mapping[str, object] | Sequence[object] | None


class _SdkPart(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A part of a body, all of whose fields are known."""


class SdkLabel(_SdkPart, frozen=True):
    """A label of a deployment."""

    key: str
    value: Scalar


class ExecutableMount(_SdkPart, frozen=True):
    """A folder of the device in the containers of an executable."""

    mount_path: str
    sub_path: str | None = None


class DiskMountConfig(_SdkPart, frozen=True):
    """Mounts by the name of their executable."""

    mount_paths: Mapping[str, ExecutableMount]


class DiskMount(_SdkPart, frozen=True):
    """Mounts of one component."""

    disk_resource_id: str
    """The id of the device that has the folders."""
    applicable_component_id: str
    config: DiskMountConfig


class Dependency(_SdkPart, frozen=True):
    """A deployment that another one depends on."""

    dependent_deployment_id: str
    applicable_component_id: str = ""
    config: Mapping[str, object] = {}
    """Not empty for disks and networks."""


class ComponentOverride(_SdkPart, frozen=True, rename=None):
    """What a deployment sets in place of what its package says."""

    restart_policy: str | None = None


class ComponentContext(_SdkPart, frozen=True, rename=None):
    """Settings of one component."""

    component_override: ComponentOverride = ComponentOverride()
    static_route_config: Mapping[str, str] = {}
    """Name of an endpoint -> id of a static route."""
    ros_bag_job_defs: Sequence[object] | None = None
    """None: those of the package."""


class BindParameters(_SdkPart, frozen=True):
    """How a deployment joins a network."""

    network_interface: str = msgspec.field(name="NETWORK_INTERFACE", default="")


class JoinedNetwork(_SdkPart, frozen=True):
    """A network that a deployment joins."""

    guid: str
    bind_parameters: BindParameters = BindParameters()


class ProvisionContext(_SdkPart, frozen=True):
    """Settings of a deployment."""

    name: str
    labels: Sequence[SdkLabel] = ()
    dependent_deployments: Sequence[Dependency] = ()
    disk_mount_info: Sequence[DiskMount] = ()
    routed_networks: Sequence[JoinedNetwork] = ()
    native_networks: Sequence[JoinedNetwork] = ()
    component_context: Mapping[str, ComponentContext] = msgspec.field(
        name="component_context", default_factory=dict
    )


class ProvisionBody(msgspec.Struct, frozen=True):
    """The body of PUT /v2/service_instances/instanceId."""

    service_id: str
    plan_id: str
    context: ProvisionContext
    parameters: Mapping[str, Mapping[str, Value]] = {}
    """Values by the id of their component; those of `global` are for all."""


class UpdatedExecutable(_SdkPart, frozen=True):
    """The new image or command of an executable."""

    id: str = ""
    name: str = ""
    docker: str = ""
    cmd: Sequence[str] | None = None


class UpdatedComponent(_SdkPart, frozen=True):
    """The executables that an update changes."""

    executables: Sequence[UpdatedExecutable]


class UpdateComponentContext(_SdkPart, frozen=True, rename=None):
    """The update of one component."""

    component: UpdatedComponent
    update_deployment: bool = True


class UpdateContext(_SdkPart, frozen=True, rename=None):
    """The updates of components, by their ids."""

    component_context: Mapping[str, UpdateComponentContext]


class UpdateBody(msgspec.Struct, frozen=True):
    """The body of PATCH /v2/service_instances/ID."""

    deployment_id: str
    context: UpdateContext


class BindingBody(msgspec.Struct, frozen=True):
    """The body of PUT /v2/service_instances/ID/service_bindings/BIND."""

    service_id: str | None = None
    plan_id: str | None = None


class NetworkParameters(_SdkPart, frozen=True, rename=None):
    """Where a network is."""

    device_id: str = ""
    network_interface: str = msgspec.field(name="NETWORK_INTERFACE", default="")
    restart_policy: str | None = None
    limits: object = None


class NetworkBody(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of POST /nativenetwork and /routednetwork."""

    name: str
    runtime: str
    ros_distro: str = ""
    shared: bool = False
    """Whether other projects may use it: a device has no others."""
    parameters: NetworkParameters | None = None


class NewRouteBody(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of POST /api/staticroute/create."""

    url_prefix: str


class DeletedRouteBody(msgspec.Struct, frozen=True):
    """The body of DELETE /api/staticroute/delete."""

    guid: str


class PropertyComparison(_SdkPart, frozen=True):
    """A comparison of a property of a device with a value."""

    operator: str
    args: tuple[str, str]


class PropertyComparisons(_SdkPart, frozen=True):
    """PropertyComparisons of which one has to be true."""

    operator: str
    args: Sequence[PropertyComparison]


class SelectionBody(_SdkPart, frozen=True):
    """The body of POST /api/device-manager/v0/selection/query/."""

    operator: str
    specs: PropertyComparisons
