"""Writes packages as the objects that the SDK reads. Pure.

The SDK does not check whether a part is there: it needs `internalComponents`, lists where it
iterates, and `ros` in each component.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import TypeAlias, TypeVar

from claraedge.web.rapyuta.values.words import POLICIES, USER, time_text
from claraedge.wire.claraedge.v1 import packages_pb2 as wire

T = TypeVar("T")

_Object: TypeAlias = dict[str, object]
_API_VERSION = "1.0.0"
#: Parts of the manifest that the SDK and its users read, by the type that they have to have.
_OF_PLAN: Mapping[str, type] = {
    "metadata": dict,
    "dependentDeployments": list,
    "exposedParameters": list,
}
_OF_COMPONENT: Mapping[str, type] = {"cloudInfra": dict, "rosBagJobDefs": list}
_OF_EXECUTABLE: Mapping[str, type] = {
    "buildGUID": str,
    "gitExecutable": dict,
    "limits": dict,
    "livenessProbe": dict,
    "simulationOptions": dict,
}
_ROS_LISTS = ("topics", "services", "actions")


def created(package: wire.Package) -> _Object:
    """Returns the answer of create_package."""
    plans = [
        {"planId": plan.id, "componentIds": [component.id for component in plan.components]}
        for plan in package.plans
    ]
    return {"packageId": package.id, "planIds": plans}


def catalogue(packages: Sequence[wire.Package], project: str) -> _Object:
    """Returns the answer of get_all_packages. `project`: the project of the device."""
    return {"services": [_entry(package, project) for package in packages]}


def whole(package: wire.Package, project: str) -> _Object:
    """Returns the answer of get_package. `project`: as above."""
    manifest = _manifest(package)
    created_at = time_text(package.created)
    info = {
        "guid": package.id,
        "packageName": package.name,
        "packageVersion": package.version,
        "apiVersion": api_version(package),
        "bindable": package.bindable,
        "description": package.description,
        "category": "",
        "isPublic": False,
        "status": "New",
        "tags": None,
        "buildGeneration": 1,
        "ownerProject": project,
        "creator": USER,
        "CreatedAt": created_at,
        "UpdatedAt": created_at,
        "DeletedAt": None,
        "plans": [
            {**_plan(package, plan, source), "CreatedAt": created_at, "UpdatedAt": created_at}
            for plan, source in _pairs(package.plans, _objects(manifest, "plans"))
        ],
    }
    return {"packageInfo": info, "packageUrl": ""}


def api_version(package: wire.Package) -> str:
    """Returns the version of the form of the manifest."""
    found = _manifest(package).get("apiVersion")
    return found if isinstance(found, str) and found else _API_VERSION


def _entry(package: wire.Package, project: str) -> _Object:
    plans = [
        {
            "id": plan.id,
            "name": plan.name,
            "description": "",
            "free": True,
            "metadata": {"exposedParameters": [], "singleton": plan.singleton},
        }
        for plan in package.plans
    ]
    return {
        "id": package.id,
        "name": package.name,
        "description": package.description,
        "bindable": package.bindable,
        "plans": plans,
        "metadata": {
            "packageVersion": package.version,
            "isPublic": False,
            "ownerProject": project,
            "creator": USER,
            "creationDate": time_text(package.created),
        },
    }


def _plan(package: wire.Package, plan: wire.Plan, source: Mapping[str, object]) -> _Object:
    components = [
        _component(component, of_manifest)
        for component, of_manifest in _pairs(plan.components, _objects(source, "components"))
    ]
    interfaces = _part(source, "inboundROSInterfaces", dict)
    return {
        **{name: _part(source, name, kind) for name, kind in _OF_PLAN.items()},
        "planId": plan.id,
        "planName": plan.name,
        "packageId": package.id,
        "description": "",
        "singleton": plan.singleton,
        "internalComponents": [
            {
                "componentId": component.id,
                "componentName": component.name,
                "planId": plan.id,
                "runtime": component.runtime,
            }
            for component in plan.components
        ],
        "components": {"components": components},
        "inboundROSInterfaces": {"inboundROSInterfaces": _ros_lists(interfaces)},
        "DeletedAt": None,
    }


def _component(component: wire.Component, source: Mapping[str, object]) -> _Object:
    ros = _part(source, "ros", dict)
    found: _Object = {
        **{name: _part(source, name, kind) for name, kind in _OF_COMPONENT.items()},
        "name": component.name,
        "description": component.description,
        "requiredRuntime": component.runtime,
        "architecture": component.architecture,
        "parameters": [_parameter(parameter) for parameter in component.parameters],
        "executables": [
            _executable(executable, of_manifest)
            for executable, of_manifest in _pairs(
                component.executables, _objects(source, "executables")
            )
        ],
        "ros": {**_ros_lists(ros), "isROS": ros.get("isROS") is True or bool(component.ros_distro)},
        "labels": None,
    }
    if component.restart_policy in POLICIES:
        found["restart_policy"] = POLICIES[component.restart_policy]
    return found


def _parameter(parameter: wire.Parameter) -> _Object:
    found: _Object = {"name": parameter.name, "description": parameter.description}
    if parameter.HasField("default"):
        found["default"] = parameter.default
    return found


def _executable(executable: wire.Executable, source: Mapping[str, object]) -> _Object:
    """Returns an executable; the SDK calls those without an image "preinstalled"."""
    found: _Object = {
        name: source[name]
        for name, kind in _OF_EXECUTABLE.items()
        if isinstance(source.get(name), kind)
    }
    found |= {"id": executable.id, "name": executable.name, "cmd": list(executable.command)}
    if executable.image:
        found["docker"] = executable.image
    return found


# --- the manifest ------------------------------------------------------------------------------


def _manifest(package: wire.Package) -> Mapping[str, object]:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(package.manifest or "{}")
        if isinstance(found, dict):
            return found
    return {}


def _objects(source: Mapping[str, object], name: str) -> Sequence[Mapping[str, object]]:
    """Returns a list of objects of the manifest; each entry that is none as an empty object."""
    found = source.get(name)
    entries = found if isinstance(found, list) else []
    return [entry if isinstance(entry, dict) else {} for entry in entries]


def _pairs(
    parts: Iterable[T], sources: Sequence[Mapping[str, object]]
) -> Iterable[tuple[T, Mapping[str, object]]]:
    """Returns the parts of a package, each with its object in the manifest, or an empty one."""
    return zip(parts, chain(sources, repeat({})), strict=False)


def _part(source: Mapping[str, object], name: str, kind: type[T]) -> T:
    """Returns a part of the manifest; an empty one if it is not there, or of another type."""
    found = source.get(name)
    return found if isinstance(found, kind) else kind()


def _ros_lists(source: Mapping[str, object]) -> _Object:
    return {**source, **{name: _part(source, name, list) for name in _ROS_LISTS}}
