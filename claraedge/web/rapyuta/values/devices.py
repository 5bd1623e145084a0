"""Writes the device, and its only user, as the objects that the SDK reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from claraedge.web.http.failures import excerpt, invalid
from claraedge.web.rapyuta.values.bodies import PropertyComparison, SelectionBody
from claraedge.web.rapyuta.values.words import PHASES, PROCESSORS, USER, time_text
from claraedge.wire.claraedge.v1 import deployments_pb2 as wire

_Object: TypeAlias = dict[str, object]
_ONLINE = "ONLINE"
#: By these the SDK decides that containers can be deployed: version 1.4.0 by the first.
_RUNTIME = {
    "runtime": "dockercompose",
    "runtime_docker": "True",
    "runtime_preinstalled": "False",
    # Without it the SDK deploys no bag jobs.
    "rosbag_mount_path": "/bags",
}
_ORGANIZATION = {"guid": "org-claraedge", "name": "claraedge", "state": "ACTIVATED"}


def enveloped(data: object) -> _Object:
    """Returns the form of all answers of the device manager."""
    return {"status": "success", "response": {"data": data}}


def entry(device: wire.Device) -> _Object:
    """Returns the device as an element of a list."""
    return {
        "uuid": device.id,
        "name": device.name,
        "status": _ONLINE,
        "description": "",
        "device_version": "3",
        "config_variables": config_variables(device),
        "labels": labels(device),
        "deployments": [],
        "registration_time": None,
        "last_online": None,
        "created_by": USER,
    }


def whole(device: wire.Device, deployments: Sequence[wire.Deployment]) -> _Object:
    """Returns the answer of get_device."""
    return {
        **entry(device),
        "host": device.name,
        "ip_interfaces": {one.name: list(one.addresses) for one in device.interfaces},
        "lsb_distrib_description": device.description,
        "deployments": [
            {
                "io_deployment_id": deployment.id,
                "name": deployment.name,
                "phase": PHASES.get(deployment.phase),
                "error_code": ",".join(error.code for error in deployment.errors) or None,
                "created_at": time_text(deployment.created),
            }
            for deployment in deployments
        ],
    }


def config_variables(device: wire.Device) -> Sequence[_Object]:
    """Returns the variables that add_device copies into a deployment."""
    return _numbered({**device.variables, **_RUNTIME}, {"type": None})


def labels(device: wire.Device) -> Sequence[_Object]:
    """Returns the labels of the device."""
    return _numbered(device.labels, {})


def selected(body: SelectionBody, device: wire.Device) -> Sequence[_Object]:
    """Returns the device if it has one of the properties that are asked for. Raises HttpError."""
    for operator in (body.operator, body.specs.operator):
        if operator != "$or":
            raise invalid(f"the operator {excerpt(operator)!r} is not known here; send $or")
    found = [_is_true(comparison, device) for comparison in body.specs.args]
    if not any(found):
        return []
    return [{"uuid": device.id, "name": device.name, "status": _ONLINE}]


def user(device: wire.Device) -> _Object:
    """Returns the answer of get_authenticated_user."""
    project = {
        "guid": device.project,
        "name": device.name,
        "creator": USER,
        "organization": _ORGANIZATION,
    }
    return {
        "guid": USER,
        "firstName": "claraedge",
        "lastName": "",
        "emailID": "",
        "state": "ACTIVATED",
        "projects": [project],
        "organization": _ORGANIZATION,
        "organizations": [_ORGANIZATION],
    }


def _numbered(values: Mapping[str, str], more: _Object) -> Sequence[_Object]:
    return [
        {"id": number, "key": key, "value": value, **more}
        for number, (key, value) in enumerate(sorted(values.items()), 1)
    ]


def _is_true(comparison: PropertyComparison, device: wire.Device) -> bool:
    name, value = comparison.args
    if name != "cpuarch":
        raise invalid(
            f"devices cannot be selected by {excerpt(name)!r}; send cpuarch, as arch_list does"
        )
    names = {device.architecture, PROCESSORS.get(device.architecture, device.architecture)}
    match comparison.operator:
        case "$eq":
            return value in names
        case "$in":
            return any(value in one for one in names)
    raise invalid(
        f"the operator {excerpt(comparison.operator)!r} of a comparison is not known here; send"
        " $eq or $in"
    )
