"""Makes requests of Deployments from what the SDK sends. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from claraedge.web.http.failures import excerpt, invalid
from claraedge.web.rapyuta.refusals import DISKS, INTERFACES, refusal
from claraedge.web.rapyuta.requests import deployment_id, network_id, route_id
from claraedge.web.rapyuta.values.bags import definitions
from claraedge.web.rapyuta.values.bodies import (
    ComponentContext,
    ProvisionBody,
    Scalar,
    UpdateBody,
    UpdatedExecutable,
    Value,
)
from claraedge.web.rapyuta.values.words import POLICIES, Policy
from claraedge.wire.claraedge.v1 import deployments_pb2 as wire
from claraedge.wire.claraedge.v1 import packages_pb2

_GLOBAL, _DEVICE_IDS, _DEVICE_ID, _BRIDGE = "global", "device_ids", "device_id", "bridge_params"
#: Keys of parameters that have a meaning of their own, and are no environment variables.
_RESERVED = frozenset(
    {
        _BRIDGE,
        _DEVICE_ID,
        "component_id",
        "rosbag_mount_path",
        "runtime",
        "runtime_docker",
        "runtime_preinstalled",
    }
)
_POLICIES: Mapping[str, Policy] = {word: policy for policy, word in POLICIES.items()}


def check_supported(body: ProvisionBody) -> None:
    """Raises HttpError (501) if a deployment needs what this device does not have."""
    context = body.context
    for dependency in context.dependent_deployments:
        if dependency.config:
            raise refusal(INTERFACES if "NETWORK_INTERFACE" in dependency.config else DISKS)


def create_request(
    body: ProvisionBody, package: packages_pb2.Package, device: wire.Device
) -> wire.CreateDeploymentRequest:
    """Returns the request that deploys `package` as `body` says. Raises HttpError (400, 404)."""
    plan = next((plan for plan in package.plans if plan.id == body.plan_id), None)
    if plan is None:
        known = ", ".join(plan.id for plan in package.plans)
        raise invalid(
            f"package {package.id} has no plan {excerpt(body.plan_id)!r}; its plans are {known}"
        )
    _check_devices(body, plan, device)
    declared = {
        component.id: {parameter.name for parameter in component.parameters}
        for component in plan.components
    }
    found = {id_: wire.ComponentSettings(component=id_) for id_ in _component_ids(body, plan)}
    for id_, settings in found.items():
        names = declared.get(id_, set())
        for name, text in _variables(id_, body.parameters.get(id_, {})):
            (settings.parameters if name in names else settings.variables)[name] = text
        context = body.context.component_context.get(id_)
        if context is not None:
            settings.restart_policy = _policy(id_, context)
            for endpoint, route in context.static_route_config.items():
                settings.routes[endpoint] = route_id(route)
            if context.ros_bag_job_defs is not None:
                place = f"context.component_context.{excerpt(id_)}.ros_bag_job_defs"
                settings.bag_jobs.CopyFrom(definitions(context.ros_bag_job_defs, place))
    for disk in body.context.disk_mount_info:
        for executable, mount in disk.config.mount_paths.items():
            found[disk.applicable_component_id].mounts.add(
                executable=executable, mount_path=mount.mount_path, sub_path=mount.sub_path or "/"
            )
    return wire.CreateDeploymentRequest(
        name=body.context.name,
        package=package.id,
        plan=plan.id,
        components=found.values(),
        labels=_labels(body),
        dependencies=_dependencies(body),
        networks=_networks(body, device),
    )


def update_request(body: UpdateBody, id_: str) -> wire.UpdateDeploymentRequest:
    """Returns the request that updates the deployment `id_`. Raises HttpError (400)."""
    if body.deployment_id != id_:
        raise invalid(
            f"the path names the deployment {id_}, and `deployment_id` of the body"
            f" {excerpt(body.deployment_id)!r}; send the same id in both"
        )
    executables = [
        _update(executable)
        for context in body.context.component_context.values()
        if context.update_deployment
        for executable in context.component.executables
    ]
    if not executables:
        raise invalid(
            f"the update of {id_} names no executable; add one to"
            " `context.component_context.COMPONENT.component.executables`"
        )
    return wire.UpdateDeploymentRequest(deployment=id_, executables=executables)


def _update(executable: UpdatedExecutable) -> wire.ExecutableUpdate:
    if not (executable.id or executable.name):
        raise invalid("an executable of the update has neither `id` nor `name`; send its id")
    command = None if executable.cmd is None else wire.CommandLines(lines=executable.cmd)
    return wire.ExecutableUpdate(
        executable=executable.id or executable.name, image=executable.docker, command=command
    )


# --- devices -----------------------------------------------------------------------------------


def _check_devices(body: ProvisionBody, plan: packages_pb2.Plan, device: wire.Device) -> None:
    """Raises HttpError unless each component that needs a device is mapped with this one."""
    ids = body.parameters.get(_GLOBAL, {}).get(_DEVICE_IDS, [])
    if not isinstance(ids, list):
        raise invalid(f"parameters.{_GLOBAL}.{_DEVICE_IDS} is no list; send [{device.id!r}]")
    for id_ in ids:
        _check_device(id_, f"parameters.{_GLOBAL}.{_DEVICE_IDS}", device)
    for component in plan.components:
        id_ = body.parameters.get(component.id, {}).get(_DEVICE_ID)
        place = f"parameters.{component.id}.{_DEVICE_ID}"
        if id_ is None and "device" not in component.runtime:
            continue  # Deployments says that it cannot run here
        if id_ is None:
            raise invalid(
                f"component {component.name!r} is not mapped with the device; call add_device, or"
                f" send {place}: {device.id!r}"
            )
        _check_device(id_, place, device)
    for disk in body.context.disk_mount_info:
        _check_device(disk.disk_resource_id, "context.diskMountInfo", device)


def _check_device(id_: object, place: str, device: wire.Device) -> None:
    if id_ != device.id:
        raise invalid(
            f"{place} names the device {excerpt(str(id_))!r}, which is not this one; send"
            f" {device.id!r}, which get_all_devices returns"
        )


# --- values ------------------------------------------------------------------------------------


def _component_ids(body: ProvisionBody, plan: packages_pb2.Plan) -> Iterable[str]:
    """Returns the ids of the components that a request sets something for."""
    mounts = (disk.applicable_component_id for disk in body.context.disk_mount_info)
    ids = [component.id for component in plan.components]
    others = [*body.parameters, *body.context.component_context, *mounts]
    return dict.fromkeys([*ids, *(id_ for id_ in others if id_ != _GLOBAL)])


def _variables(id_: str, values: Mapping[str, Value]) -> Iterable[tuple[str, str]]:
    """Yields the environment variables of a component. Raises HttpError."""
    for name, value in values.items():
        if name not in _RESERVED:
            yield name, _text(value, f"parameters.{id_}.{excerpt(name)}")
    bridge = values.get(_BRIDGE)
    if isinstance(bridge, dict) and bridge.get("setROSNamespace") is True:
        alias = bridge.get("alias")
        if not isinstance(alias, str) or not alias:
            raise invalid(f"parameters.{id_}.{_BRIDGE} has no alias; send it as a text")
        yield "ROS_NAMESPACE", alias


def _text(value: Value, place: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return scalar_text(value)
    what = "null" if value is None else "a list" if isinstance(value, list) else "an object"
    raise invalid(f"{place} is {what}; send a text, a number, true or false")


def scalar_text(value: Scalar) -> str:
    """Returns a value as the text of an environment variable: what JSON writes for it."""
    return value if isinstance(value, str) else json.dumps(value)


def _policy(id_: str, context: ComponentContext) -> Policy:
    word = context.component_override.restart_policy
    if word is None:
        return packages_pb2.RESTART_POLICY_UNKNOWN
    if word not in _POLICIES:
        raise invalid(
            f"context.component_context.{excerpt(id_)}.component_override.restart_policy is"
            f" {excerpt(word)!r}; send {', '.join(_POLICIES)}"
        )
    return _POLICIES[word]


def _labels(body: ProvisionBody) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for label in body.context.labels:
        if label.key in found:
            raise invalid(f"the label {excerpt(label.key)!r} occurs twice; send each key once")
        found[label.key] = scalar_text(label.value)
    return found


def _networks(body: ProvisionBody, device: wire.Device) -> Iterable[str]:
    """Returns the ids of the networks that a deployment joins. Raises HttpError."""
    interfaces = [interface.name for interface in device.interfaces]
    joined = [*body.context.routed_networks, *body.context.native_networks]
    for network in joined:
        named = network.bind_parameters.network_interface
        if named and named not in interfaces:
            raise invalid(
                f"{excerpt(named)!r} is no network interface of this device; send one of"
                f" {', '.join(interfaces)}, or none"
            )
    return dict.fromkeys(network_id(network.guid) for network in joined)


def _dependencies(body: ProvisionBody) -> Iterable[str]:
    ids = (one.dependent_deployment_id for one in body.context.dependent_deployments)
    return dict.fromkeys(deployment_id(id_) for id_ in ids)
