"""Reads a manifest: its mistakes, all at once, or the package that it declares. Pure.

Source: rapyuta.io, Package module 1.4.0 and 1.17.1; the manifests of its tutorials. What those know
and this device does not need is accepted: builds from source, replicas in the cloud, secrets.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from claraedge.packages.checks import Mistakes, TextRule, Written, distinct, is_texts
from claraedge.packages.gpus import assigned
from claraedge.packages.ids import NewKindId
from claraedge.packages.model import (
    Component,
    Endpoint,
    Executable,
    Package,
    Parameter,
    Plan,
    PullPolicy,
    RestartPolicy,
    Ros,
)
from claraedge.packages.probes import read_probe

ARCHITECTURES = ("amd64", "arm64v8", "arm32v7")
RUNTIMES = ("device", "cloud", "device,cloud", "cloud,device")
PROTOCOLS = ("HTTP", "HTTPS", "TCP", "UDP", "TLS-TCP")
MAX_CPU = 256
#: Megabytes: 16 TiB.
MAX_MEMORY = 1 << 24

#: Limit for the executables of a package.
MAX_EXECUTABLES = 1000

#: Fields of answers, for manifests that were downloaded: other ids and times are given here.
_ANSWERED = (
    "guid", "ID", "id", "CreatedAt", "UpdatedAt", "DeletedAt", "creator", "ownerProject", "status",
    "packageId", "packageName", "planId", "planName", "componentId", "componentName", "category",
    "isPublic", "tags", "buildGeneration", "internalComponents", "free", "metadata",
    "required_runtime",
)  # fmt: skip
_VERSION = TextRule(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", "such as `v1.0.0`: no blanks, `:` or `/`")
_VARIABLE = TextRule(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}", "the name of an environment variable")
_ENDPOINT = TextRule(r"[A-Za-z_][A-Za-z0-9_-]{0,62}", "up to 63 letters, digits, `_` and `-`")
_IMAGE = TextRule(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,511}", "the name of an image: `repository:tag`")
_DISTRO = TextRule(r"[a-z]{1,32}", "such as `noetic`")
_RANGE = TextRule(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*", "such as `53,1024-1025`")
_SHELLS = ("/bin/bash", "/bin/sh", "bash", "sh")


def read_package(root: Written, new_id: NewKindId, now: float) -> Package:
    """Returns the package of a manifest, with new ids, without its text. `now` is in Unix seconds.

    Raises InvalidManifestError with all mistakes.
    """
    package = root.fields(
        "name", "packageVersion", "apiVersion", "description", "bindable", "plans",
        ignored=_ANSWERED,
    )  # fmt: skip
    if isinstance(root.value, dict):
        package["name"].need("the name of the package")
        package["packageVersion"].need("its version, such as `v1.0.0`")
        package["plans"].need("a list of plans, usually one with the name `default`")
    package["apiVersion"].text()
    plans = [(place, _plan(place, new_id)) for place in package["plans"].items()]
    distinct([(place["name"], plan.name) for place, plan in plans], "plan")
    found = Package(
        id=new_id("pkg"),
        name=package["name"].text(),
        version=package["packageVersion"].text(rule=_VERSION),
        description=package["description"].prose(),
        bindable=package["bindable"].flag(default=True),
        plans=tuple(plan for _, plan in plans),
        created=now,
    )
    executables = sum(len(each.executables) for plan in found.plans for each in plan.components)
    if executables > MAX_EXECUTABLES:
        root["plans"].wrong(f"they have {executables} executables; {MAX_EXECUTABLES} are allowed")
    if root.value is None:
        root.wrong("it is empty; begin with `name`, `packageVersion` and `plans`")
    root.mistakes.refuse()
    return found


def _plan(place: Written, new_id: NewKindId) -> Plan:
    plan = place.fields(
        "name", "description", "singleton", "metadata", "components", "inboundROSInterfaces",
        "dependentDeployments", "exposedParameters", "includePackages", ignored=_ANSWERED,
    )  # fmt: skip
    place.need("an object with `name` and `components`")
    if isinstance(place.value, dict):
        plan["components"].need("a list with at least one component")
    components = [(each, _component(each, new_id)) for each in plan["components"].items()]
    distinct([(each["name"], component.name) for each, component in components], "component")
    gpus = assigned(plan["metadata"], [component for _, component in components])
    return Plan(
        id=new_id("plan"),
        name=plan["name"].text() or "default",
        singleton=plan["singleton"].flag(),
        components=gpus,
        metadata=plan["metadata"].mapping(),
        inbound_ros=plan["inboundROSInterfaces"].mapping(),
        dependent_deployments=plan["dependentDeployments"].listed(),
        exposed_parameters=plan["exposedParameters"].listed(),
        include_packages=plan["includePackages"].listed(),
    )


def _component(place: Written, new_id: NewKindId) -> Component:
    component = place.fields(
        "name", "description", "requiredRuntime", "architecture", "restart_policy", "parameters",
        "executables", "ros", "cloudInfra", "rosBagJobDefs", "exposedParameters", "includePackages",
        ignored=_ANSWERED,
    )  # fmt: skip
    place.need("an object with `name` and `executables`")
    if isinstance(place.value, dict):
        component["name"].need("the name of the component")
        component["requiredRuntime"].need("`device`, `cloud` or both")
        component["executables"].need("a list with at least one executable")
    executables = [
        (each, _executable(each, number, new_id))
        for number, each in enumerate(component["executables"].items(), 1)
    ]
    distinct([(each["name"], executable.name) for each, executable in executables], "executable")
    parameters = [(each["name"], _parameter(each)) for each in component["parameters"].items()]
    distinct([(each, parameter.name) for each, parameter in parameters], "parameter")
    cloud = component["cloudInfra"].fields("replicas", "endpoints")
    endpoints = [(each["name"], _endpoint(each)) for each in cloud["endpoints"].items()]
    distinct([(each, endpoint.name) for each, endpoint in endpoints], "endpoint")
    cloud["replicas"].whole(1000, "containers")
    runtime = component["requiredRuntime"].choice(*RUNTIMES)
    return Component(
        id=new_id("comp"),
        name=component["name"].text(),
        description=component["description"].prose(),
        runtime="device,cloud" if "," in runtime else runtime or "device",
        architecture=component["architecture"].choice(*ARCHITECTURES),
        restart_policy=RestartPolicy(
            component["restart_policy"].choice(*RestartPolicy) or RestartPolicy.ALWAYS
        ),
        parameters=tuple(parameter for _, parameter in parameters),
        executables=tuple(executable for _, executable in executables),
        endpoints=tuple(endpoint for _, endpoint in endpoints),
        ros=_ros(component["ros"]),
        rosbag_jobs=_rosbag_jobs(component["rosBagJobDefs"]),
    )


def _executable(place: Written, number: int, new_id: NewKindId) -> Executable:
    executable = place.fields(
        "name", "cmd", "docker", "secret", "buildGUID", "gitExecutable", "git", "buildOptions",
        "simulationOptions", "limits", "livenessProbe", "imagePullPolicy", "runAsBash",
        ignored=_ANSWERED,
    )  # fmt: skip
    place.need("an object with `name`, `docker` and `cmd`")
    limits = executable["limits"].fields("cpu", "memory", ignored=("gpu",))
    if limits["gpu"].value is not None:
        limits["gpu"].wrong("write the GPUs as `metadata.claraedge.gpu` of the plan")
    sources = ("buildGUID", "gitExecutable", "git")
    return Executable(
        id=new_id("exec"),
        name=executable["name"].text() or f"executable{number}",
        image=executable["docker"].text(longest=512, rule=_IMAGE),
        command=_command(executable["cmd"], executable["runAsBash"].flag(default=True)),
        memory=math.ceil(limits["memory"].number(MAX_MEMORY, "megabytes")),
        cpu=limits["cpu"].number(MAX_CPU, "cores"),
        pull=PullPolicy(
            executable["imagePullPolicy"].choice(*PullPolicy) or PullPolicy.IF_NOT_PRESENT
        ),
        probe=read_probe(executable["livenessProbe"]),
        built=any(executable[source].value for source in sources),
    )


def _command(place: Written, shell: bool) -> tuple[str, ...]:
    """Returns the lines for the shell.

    A list that begins with a shell and its option is one command with arguments: the command line
    of rapyuta.io writes `[/bin/bash, -c, LINE]`.
    """
    lines = [place.value] if isinstance(place.value, str) else place.value
    if lines is None:
        return ()
    if not is_texts(lines):
        place.wrong("it is not a list of texts; write one line of the command in each text")
        return ()
    for each in place.items() if isinstance(place.value, list) else [place]:
        each.prose()
    lines = [line for line in lines if line.strip()]
    if len(lines) > 1 and (not shell or (lines[0] in _SHELLS and lines[1].startswith("-"))):
        return (shlex.join(lines),)
    return tuple(lines)


def _parameter(place: Written) -> Parameter:
    parameter = place.fields("name", "description", "default", "exposed", "exposedName")
    parameter["name"].need("the name of the environment variable")
    default = parameter["default"]
    match default.value:
        case bool():
            text = "true" if default.value else "false"
        case int():
            text = str(default.value)
        case float():
            default.wrong("put the number in quotes, so that it stays as it is written")
            text = ""
        case _:
            text = default.prose()
    return Parameter(
        name=parameter["name"].text(rule=_VARIABLE),
        description=parameter["description"].prose(),
        default=None if default.value is None else text,
    )


def _endpoint(place: Written) -> Endpoint:
    endpoint = place.fields("name", "exposeExternally", "port", "targetPort", "portRange", "proto")
    endpoint["name"].need("the name of the endpoint")
    ports = endpoint["portRange"].text(longest=1024, rule=_RANGE)
    if not ports and endpoint["portRange"].value is None and isinstance(place.value, dict):
        endpoint["targetPort"].need("the port that the component listens on")
    target = endpoint["targetPort"].whole(65535, "a port", least=1)
    return Endpoint(
        name=endpoint["name"].text(rule=_ENDPOINT),
        port=endpoint["port"].whole(65535, "a port", least=1) or target,
        target_port=target,
        port_range=ports,
        protocol=endpoint["proto"].choice(*PROTOCOLS) or "TCP",
        exposed=endpoint["exposeExternally"].flag(),
    )


def _ros(place: Written) -> Ros:
    ros = place.fields("isROS", "ros_distro", "topics", "services", "actions")
    return Ros(
        enabled=ros["isROS"].flag(),
        distro=ros["ros_distro"].text(rule=_DISTRO),
        topics=_interfaces(ros["topics"]),
        services=_interfaces(ros["services"]),
        actions=_interfaces(ros["actions"]),
    )


def _interfaces(place: Written) -> tuple[str, ...]:
    names = []
    for each in place.items():
        interface = each.fields(
            "name", "type", "qos", "compression", "scoped", "targeted", "timeout"
        )
        names.append(interface["name"].need("the name of the interface").text())
    return tuple(names)


def _rosbag_jobs(place: Written) -> tuple[Mapping[str, Any], ...]:
    found = []
    for each in place.items():
        job = each.fields("name", "recordOptions", "uploadOptions", "overrideOptions")
        found.append((job["name"], job["name"].need("the name of the job").text()))
        record = job["recordOptions"].need("what is recorded").mapping()
        if record and not any(
            record.get(key) for key in ("allTopics", "topics", "topicIncludeRegex", "node")
        ):
            job["recordOptions"].wrong(
                "it selects nothing; write `allTopics`, `topics`, `topicIncludeRegex` or `node`"
            )
        job["uploadOptions"].mapping()
        job["overrideOptions"].mapping()
    distinct(found, "job")
    return tuple(each.mapping() for each in place.items())


def start(value: Any) -> Written:
    """Returns the place of a whole manifest, without mistakes yet."""
    return Written(value, "", Mistakes())
