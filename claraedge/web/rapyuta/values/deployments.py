"""Writes deployments as the objects that the SDK reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from claraedge.web.http.failures import invalid
from claraedge.web.rapyuta.values.packages import api_version
from claraedge.web.rapyuta.values.words import (
    PHASES,
    POLICIES,
    STATUSES,
    USER,
    Status,
    time_text,
)
from claraedge.wire.claraedge.v1 import deployments_pb2 as wire
from claraedge.wire.claraedge.v1 import packages_pb2

_Object: TypeAlias = dict[str, object]
_RUNTIME = "device"


def accepted(deployment: wire.Deployment) -> _Object:
    """Returns the answer to a change of a deployment."""
    return {"operation": deployment.id}


def entry(deployment: wire.Deployment, device: wire.Device) -> _Object:
    """Returns a deployment as an element of a list."""
    return {
        "deploymentId": deployment.id,
        "name": deployment.name,
        "packageId": deployment.package_id,
        "packageName": deployment.package_name,
        "planId": deployment.plan_id,
        "labels": [{"key": key, "value": value} for key, value in deployment.labels.items()],
        "parameters": {
            "global": {"device_ids": [device.id]},
            **{
                component.id: {
                    **component.parameters,
                    "component_id": component.id,
                    "device_id": device.id,
                }
                for component in deployment.components
            },
        },
        "componentInstanceIds": [
            {
                "componentInstanceId": component.instance_id,
                "componentId": component.id,
                "packageId": deployment.package_id,
                "planId": deployment.plan_id,
                "source": _RUNTIME,
                "errorCode": "",
            }
            for component in deployment.components
        ],
        "dependentDeployments": [
            {"dependentDeploymentId": id_, "applicableComponentId": "", "config": {}}
            for id_ in deployment.dependencies
        ],
        "phase": PHASES.get(deployment.phase, "In progress"),
        "status": _status(deployment.status),
        "errors": [error.code for error in deployment.errors] or None,
        "inUse": bool(deployment.used_by),
        "usedBy": ",".join(deployment.used_by),
        "currentGeneration": deployment.generation,
        "ownerProject": device.project,
        "creator": USER,
        "CreatedAt": time_text(deployment.created),
        "UpdatedAt": time_text(deployment.updated),
        "DeletedAt": time_text(deployment.stopped),
    }


def whole(
    deployment: wire.Deployment, package: packages_pb2.Package, device: wire.Device
) -> _Object:
    """Returns the answer of get_deployment, get_status and polling.

    `errorDetails` and `waitsFor` are ours: what happened, and what it waits for, in words.
    """
    return {
        **entry(deployment, device),
        "bindable": package.bindable,
        "packageAPIVersion": api_version(package),
        "provisionContext": _context(deployment, device.id),
        "componentInfo": [_component(component, deployment) for component in deployment.components],
        "dependentDeploymentStatus": {},
        "packageDependencyStatus": {},
        "coreNetworks": {"routedNetworks": [], "nativeNetworks": []},
        "lastStatusUpdateTime": time_text(deployment.updated),
        "errorDetails": [
            {"code": error.code, "message": error.message} for error in deployment.errors
        ],
        "waitsFor": deployment.waits_for,
    }


def binding(deployment: wire.Deployment, package: packages_pb2.Package) -> _Object:
    """Returns the addresses of a deployment's endpoints. Raises HttpError (400) if it has none."""
    if not package.bindable:
        raise invalid(
            f"package {package.id} of deployment {deployment.id} is not bindable; create a version"
            " of it with `bindable: true` in the manifest"
        )
    if deployment.phase != wire.DEPLOYMENT_PHASE_SUCCEEDED:
        raise invalid(
            f"deployment {deployment.id} is in the phase {PHASES.get(deployment.phase)!r}, and has"
            " no addresses; call poll_deployment_till_ready first"
        )
    addresses = {component.id: component.address for component in deployment.components}
    endpoints = {
        endpoint.name: {
            "host": addresses.get(component.id, ""),
            "port": endpoint.target_port,
            "protocol": endpoint.protocol,
        }
        for plan in package.plans
        if plan.id == deployment.plan_id
        for component in plan.components
        for endpoint in component.endpoints
    }
    return {"credentials": endpoints}


def _context(deployment: wire.Deployment, device_id: str) -> _Object:
    """Returns what a deployment was provisioned with; nothing of the SDK's own objects is kept."""
    return {
        "name": deployment.name,
        "labels": [{"key": key, "value": value} for key, value in deployment.labels.items()],
        "dependentDeployments": [
            {"dependentDeploymentId": id_, "applicableComponentId": "", "config": {}}
            for id_ in deployment.dependencies
        ],
        "diskMountInfo": [
            {
                "diskResourceId": device_id,
                "applicableComponentId": component.id,
                "config": {"mountPaths": _mount(mount, component)},
            }
            for component in deployment.components
            for mount in component.mounts
        ],
        "routedNetworks": [],
        "nativeNetworks": [],
        "component_context": {
            component.id: {
                "component_override": {"restart_policy": POLICIES[component.restart_policy]},
                "static_route_config": dict(component.routes),
            }
            for component in deployment.components
            if component.restart_policy in POLICIES
        },
    }


def _mount(mount: wire.VolumeMount, component: wire.DeployedComponent) -> Mapping[str, object]:
    """Returns a mount by the name of its executable, as the SDK sends it."""
    names = {executable.id: executable.name for executable in component.executables}
    name = names.get(mount.executable, mount.executable)
    return {name: {"mountPath": mount.mount_path, "subPath": mount.sub_path or "/"}}


def _component(component: wire.DeployedComponent, deployment: wire.Deployment) -> _Object:
    return {
        "componentID": component.id,
        "componentInstanceID": component.instance_id,
        "name": component.name,
        "planID": deployment.plan_id,
        "runtime": _RUNTIME,
        "status": _status(component.status).lower(),
        "phase": PHASES.get(deployment.phase),
        "errorCode": "",
        "isDeprovisioned": deployment.phase == wire.DEPLOYMENT_PHASE_STOPPED,
        "executableMetaData": [
            {"id": executable.id, "name": executable.name, "docker": executable.image}
            for executable in component.executables
        ],
        "executablesStatusInfo": [_executable(one) for one in component.executables],
    }


def _executable(executable: wire.DeployedExecutable) -> _Object:
    status = _status(executable.status).lower()
    running = executable.status == wire.DEPLOYMENT_STATUS_RUNNING
    return {
        "id": executable.id,
        "name": executable.name,
        "status": status,
        "reason": executable.reason,
        "restartCount": executable.restarts,
        "metadata": [
            {
                "name": executable.name,
                "image": executable.image,
                "ready": running,
                "restartCount": executable.restarts,
            }
        ],
    }


def _status(status: Status) -> str:
    return STATUSES.get(status, STATUSES[wire.DEPLOYMENT_STATUS_UNKNOWN])
