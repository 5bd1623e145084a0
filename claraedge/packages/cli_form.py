"""Converts the form of rapyuta.io's command line (`kind: Package`) to that of its module. Pure.

Source: rapyuta-io-cli 1.0.0 to 10.7.0, package-schema.yaml and riocli/package/model.py.
"""

from __future__ import annotations

from shlex import join
from typing import Any

from claraedge.packages.checks import Json, Written

_VERSIONS = ("apiextensions.rapyuta.io/v1", "api.rapyuta.io/v2")
_RESTART = {"always": "always", "never": "no", "onfailure": "on-failure"}
_TYPES = ("docker", "build", "preInstalled")
_ENDPOINTS = {
    "external-http": ("HTTP", True),
    "external-https": ("HTTPS", True),
    "external-tls-tcp": ("TCP", True),
    "internal-tcp": ("TCP", False),
    "internal-udp": ("UDP", False),
    "internal-tcp-range": ("TCP", False),
    "internal-udp-range": ("UDP", False),
}
#: The component of the manifest that is made.
_COMPONENT = "plans[0].components[0]"


def is_cli_form(value: Json) -> bool:
    """Returns whether a manifest is in the form of the command line."""
    return isinstance(value, dict) and ("kind" in value or "spec" in value)


def convert(document: Written) -> Written:
    """Returns the same package in the form of the module.

    Mistakes that are found in it later are reported at the paths of the document.
    """
    document.fields("apiVersion", "kind", "metadata", "spec")
    document["apiVersion"].need(f"`{_VERSIONS[0]}`").choice(*_VERSIONS)
    if document["kind"].need("`Package`").choice("Package") == "":
        document.mistakes.refuse()  # a document of another kind has other fields
    metadata = document["metadata"].need("an object with `name` and `version`").fields(
        "name", "version", "description", "labels", "claraedge",
        ignored=("guid", "creator", "project", "organization", "projectGUID", "organizationGUID",
                 "createdAt", "updatedAt", "deletedAt", "region", "tags"),
    )  # fmt: skip
    spec = document["spec"].need("an object with `runtime` and `executables`").fields(
        "runtime", "device", "cloud", "executables", "environmentArgs", "environmentVars",
        "endpoints", "ros", "rosBagJobs", "hostPID",
    )  # fmt: skip
    if spec["hostPID"].flag():
        spec["hostPID"].wrong("containers do not see the processes of the device; remove it")
    plan = {
        "name": "default",
        "components": [_component(spec)],
        "exposedParameters": _exposed(spec),
        "metadata": _some({"claraedge": metadata["claraedge"].value}),
    }
    whole = {
        "name": metadata["name"].value,
        "packageVersion": metadata["version"].value,
        "description": metadata["description"].value,
        "bindable": True,
        "plans": [plan],
    }
    _rename(document)
    return Written(_some(whole), "", document.mistakes)


def _component(spec: Written) -> dict[str, Json]:
    device = spec["device"].fields("arch", "restart")
    cloud = spec["cloud"].fields("replicas")
    component: dict[str, Json] = {
        "name": "default",
        "requiredRuntime": spec["runtime"].value,
        "restart_policy": _RESTART.get(device["restart"].choice(*_RESTART)),
        "parameters": [_parameter(each) for each in _environment(spec).items()],
        "executables": [_executable(each) for each in spec["executables"].items()],
        "ros": _ros(spec["ros"]),
        "rosBagJobDefs": spec["rosBagJobs"].value,
    }
    if device.value is not None:
        # Source: package-schema.yaml, the default of `arch`.
        arch = device["arch"].value
        component["architecture"] = "amd64" if arch is None else arch
    if cloud.value is not None or spec["endpoints"].value is not None:
        component["cloudInfra"] = _some(
            {
                "replicas": cloud["replicas"].value,
                "endpoints": [_endpoint(each) for each in spec["endpoints"].items()],
            }
        )
    return _some(component)


def _environment(spec: Written) -> Written:
    """Returns the list of parameters, which has a name for each runtime."""
    of_device, of_cloud = spec["environmentArgs"], spec["environmentVars"]
    if of_device.value and of_cloud.value:
        of_cloud.wrong("`environmentArgs` is written as well; put all variables into one of them")
    return of_cloud if of_device.value is None else of_device


def _parameter(place: Written) -> Json:
    place.fields("name", "description", "default", "exposed", "exposedName")
    return place.value


def _exposed(spec: Written) -> list[Json]:
    return [
        {
            "component": "default",
            "param": each["name"].value,
            "targetParam": each["exposedName"].need("the name that others see").value,
        }
        for each in _environment(spec).items()
        if each["exposed"].flag()
    ]


def _executable(place: Written) -> Json:
    executable = place.fields(
        "name", "type", "command", "runAsBash", "limits", "livenessProbe", "docker", "build",
        "simulation", "uid", "gid",
    )  # fmt: skip
    if not isinstance(place.value, dict):
        return place.value
    for number in ("uid", "gid"):
        if executable[number].value is not None:
            executable[number].wrong(
                "a program runs as the user that its image names; remove it, or set USER in the"
                " image"
            )
    kind = executable["type"].choice(*_TYPES) or "docker"
    docker = executable["docker"].fields("image", "imagePullPolicy", "pullSecret")
    build = executable["build"].fields("depends")
    if kind == "docker":
        executable["docker"].need("an object with `image`")
        if docker.value is not None:
            docker["image"].need("the name of the image")
    return _some(
        {
            "name": executable["name"].value,
            "cmd": _command(executable["command"]),
            "runAsBash": executable["runAsBash"].value,
            "docker": docker["image"].value if kind == "docker" else None,
            "buildGUID": (build["depends"].value or "build") if kind == "build" else None,
            "limits": executable["limits"].value,
            "livenessProbe": executable["livenessProbe"].value,
            "imagePullPolicy": docker["imagePullPolicy"].value,
            "simulationOptions": _some({"simulation": executable["simulation"].value}) or None,
        }
    )


def _command(place: Written) -> Json:
    """Returns the lines of a command.

    A list whose first text is a single word is one command with its arguments.
    """
    words = place.value
    if isinstance(words, str):
        return [words] if words.strip() else []
    several = isinstance(words, list) and len(words) > 1 and isinstance(words[0], str)
    if several and len(words[0].split()) == 1 and all(isinstance(word, str) for word in words):
        return [join(words)]
    return words


def _endpoint(place: Written) -> Json:
    endpoint = place.fields("name", "type", "port", "targetPort", "portRange")
    if not isinstance(place.value, dict):
        return place.value
    kind = endpoint["type"].need("such as `external-http`").choice(*_ENDPOINTS)
    protocol, exposed = _ENDPOINTS.get(kind, ("TCP", False))
    if kind.endswith("-range"):
        endpoint["portRange"].need("such as `53,1024-1025`")
    return _some(
        {
            "name": endpoint["name"].value,
            "exposeExternally": exposed,
            "port": endpoint["port"].value,
            "targetPort": endpoint["targetPort"].value,
            "portRange": endpoint["portRange"].value,
            "proto": protocol,
        }
    )


def _ros(place: Written) -> Json:
    ros = place.fields("enabled", "version", "inboundScopedTargeted", "rosEndpoints")
    if not ros["enabled"].flag():
        return {"isROS": False}
    ros["inboundScopedTargeted"].flag()
    lists: dict[str, list[Json]] = {"topic": [], "service": [], "action": []}
    for each in ros["rosEndpoints"].items():
        each.fields("type", "name", "qos", "compression", "scoped", "targeted", "timeout")
        kind = each["type"].choice(*lists) or "topic"
        each["name"].need("the name of the interface").text()
        if isinstance(each.value, dict):
            lists[kind].append(dict(each.value))
    return _some(
        {
            "isROS": True,
            "ros_distro": ros["version"].value,
            "topics": lists["topic"],
            "services": lists["service"],
            "actions": lists["action"],
        }
    )


def _rename(document: Written) -> None:
    """Makes mistakes of the made manifest be reported where the document has the values."""
    rename = document.mistakes.rename
    spec = document["spec"]
    variables = _environment(spec).path
    for made, written in (
        ("name", "metadata.name"),
        ("packageVersion", "metadata.version"),
        ("description", "metadata.description"),
        ("plans[0].metadata", "metadata"),
        (_COMPONENT, "spec"),
        (f"{_COMPONENT}.requiredRuntime", "spec.runtime"),
        (f"{_COMPONENT}.architecture", "spec.device.arch"),
        (f"{_COMPONENT}.restart_policy", "spec.device.restart"),
        (f"{_COMPONENT}.parameters", variables),
        (f"{_COMPONENT}.cloudInfra", "spec.cloud"),
        (f"{_COMPONENT}.cloudInfra.endpoints", "spec.endpoints"),
        (f"{_COMPONENT}.ros.ros_distro", "spec.ros.version"),
        (f"{_COMPONENT}.rosBagJobDefs", "spec.rosBagJobs"),
    ):
        rename(made, written)
    for number in range(len(spec["executables"].items())):
        place = f"executables[{number}]"
        rename(f"{_COMPONENT}.{place}.docker", f"spec.{place}.docker.image")
        rename(f"{_COMPONENT}.{place}.cmd", f"spec.{place}.command")
        policy = f"spec.{place}.docker.imagePullPolicy"
        rename(f"{_COMPONENT}.{place}.imagePullPolicy", policy)


def _some(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the entries that have a value."""
    return {key: value for key, value in values.items() if value is not None}
