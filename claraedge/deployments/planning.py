"""Makes the plan of a deployment from a package and a request, or finds all mistakes. Pure."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from claraedge.deployments.access import close_name, routed_twice, routes_of
from claraedge.deployments.bag_planning import bag_jobs
from claraedge.deployments.model import (
    ComponentRequest,
    DeployedComponent,
    DeployedExecutable,
    DeploymentPlan,
    DeploymentRequest,
    DeviceFacts,
    ExecutableChange,
    VolumeMount,
)
from claraedge.errors import InvalidDeploymentError
from claraedge.packages.model import Component, Executable, Package, Plan, PullPolicy

MAX_NAME = 63
_MAX_LABELS = 64
_MAX_LABEL = 255
#: Bytes of one environment variable: Linux accepts 128 KiB with its name.
_MAX_VALUE = 100_000
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("/proc", "/sys", "/dev")


def make_plan(
    package: Package,
    request: DeploymentRequest,
    device: DeviceFacts,
    new_instance: Callable[[], str],
    routes: Mapping[str, str] | None = None,
    mistakes: Sequence[str] = (),
) -> tuple[Plan, DeploymentPlan]:
    """Returns the plan of the package, and what the deployment consists of.

    `routes`: id or prefix of each static route that the request names and that exists -> its id.
    `mistakes`: other ones of the request.
    Raises InvalidDeploymentError with one message for each mistake.
    """
    mistakes = [*mistakes, *_of_name(request.name), *_of_labels(request.labels)]
    plan = package.plan(request.plan)
    if plan is None:
        raise InvalidDeploymentError(*mistakes, _no_plan(package, request.plan))
    settings, unknown = _settings(plan, request.components)
    mistakes += unknown
    known = {parameter.name for c in plan.components for parameter in c.parameters}
    mistakes += [
        f"parameters.{name}: no component of {package.name} has this parameter"
        f"{close_name(name, known)}"
        for name in request.parameters
        if name not in known
    ]
    components = []
    for component in plan.components:
        place = f"components.{component.name}"
        given = settings.get(component.id, ComponentRequest(component=component.id))
        mistakes += _misplaced(component, device, place)
        parameters = _parameters(component, request.parameters, given, place, mistakes)
        mistakes += _of_variables(given.variables, place)
        mounts = _mounts(component, given.mounts, device, place, mistakes)
        leading = routes_of(component, given.routes, routes or {}, place, mistakes)
        jobs = bag_jobs(component, given, place, mistakes)
        components.append(
            DeployedComponent(
                id=component.id,
                name=component.name,
                instance=new_instance(),
                restart=given.restart or component.restart_policy,
                parameters=parameters,
                variables=dict(given.variables),
                mounts=mounts,
                executables=tuple(map(_executable, component.executables)),
                endpoints={e.name: e.target_port for e in component.endpoints if e.target_port},
                routes=leading,
                bag_jobs=jobs,
            )
        )
    made = DeploymentPlan(components=tuple(components))
    mistakes += _too_large(made, device)
    mistakes += routed_twice(made)
    if mistakes:
        raise InvalidDeploymentError(*mistakes)
    return plan, made


def changed(plan: DeploymentPlan, changes: Sequence[ExecutableChange]) -> DeploymentPlan:
    """Returns the plan after an update. Raises InvalidDeploymentError with all mistakes."""
    executables = [executable for _, executable in plan.executables()]
    names = Counter(executable.name for executable in executables)
    wanted: dict[str, ExecutableChange] = {}
    mistakes = [] if changes else ["executables: none is given; name at least one to change"]
    for number, change in enumerate(changes):
        place = f"executables[{number}]"
        found = [e for e in executables if change.executable in (e.id, e.name)]
        if not found:
            shown = ", ".join(sorted(names))
            mistakes.append(f"{place}.executable: no such executable: {change.executable}; {shown}")
        elif len(found) > 1:
            mistakes.append(f"{place}.executable: {change.executable} is ambiguous; give its id")
        elif found[0].id in wanted:
            mistakes.append(f"{place}.executable: {change.executable} is given twice")
        elif not change.image and change.command is None:
            mistakes.append(f"{place}: neither image nor command is given")
        else:
            wanted[found[0].id] = change
        if any("\0" in line for line in change.command or ()):
            mistakes.append(f"{place}.command: a line has a zero byte")
    if mistakes:
        raise InvalidDeploymentError(*mistakes)
    return DeploymentPlan(
        components=tuple(
            msgspec.structs.replace(
                component,
                executables=tuple(_with(e, wanted.get(e.id)) for e in component.executables),
            )
            for component in plan.components
        )
    )


def memory_of(executable: DeployedExecutable, unstated: int) -> int:
    """Returns the megabytes that are reserved for an executable."""
    return executable.memory or unstated


def claim_of(plan: DeploymentPlan, unstated: int) -> tuple[int, int]:
    """Returns the megabytes and the number of GPUs of a whole deployment."""
    executables = [executable for _, executable in plan.executables()]
    return sum(memory_of(e, unstated) for e in executables), sum(e.gpus for e in executables)


def _with(executable: DeployedExecutable, change: ExecutableChange | None) -> DeployedExecutable:
    if change is None:
        return executable
    return msgspec.structs.replace(
        executable,
        image=change.image or executable.image,
        command=executable.command if change.command is None else change.command,
    )


def _executable(executable: Executable) -> DeployedExecutable:
    return DeployedExecutable(
        id=executable.id,
        name=executable.name,
        image=executable.image,
        command=executable.command,
        memory=executable.memory,
        cpu=executable.cpu,
        gpus=executable.gpus,
        pull=executable.pull,
        probe=executable.probe,
    )


def _of_name(name: str) -> list[str]:
    if not name or len(name) > MAX_NAME:
        return [f"name: it has {len(name)} characters; give 1 to {MAX_NAME}"]
    if not name.isprintable() or name != name.strip() or "/" in name:
        return [
            f"name: {name!r} has a slash, a blank at an end, or what is not printable; leave it out"
        ]
    return []


def _of_labels(labels: Mapping[str, str]) -> list[str]:
    if len(labels) > _MAX_LABELS:
        return [f"labels: there are {len(labels)}; give at most {_MAX_LABELS}"]
    return [
        f"labels.{key[:40]}: key and value have at most {_MAX_LABEL} printable characters each"
        for key, value in labels.items()
        if not key or max(len(key), len(value)) > _MAX_LABEL or not (key + value).isprintable()
    ]


def _no_plan(package: Package, text: str) -> str:
    names = ", ".join(plan.name for plan in package.plans)
    if text:
        return f"plan: {package.name} has no plan {text}; its plans: {names}"
    return f"plan: {package.name} has several plans ({names}); name one"


def _settings(
    plan: Plan, given: Iterable[ComponentRequest]
) -> tuple[Mapping[str, ComponentRequest], list[str]]:
    """Returns, per id of a component, what is set for it; and the mistakes."""
    found: dict[str, ComponentRequest] = {}
    mistakes = []
    names = [component.name for component in plan.components]
    for number, settings in enumerate(given):
        component = plan.component(settings.component)
        if component is None:
            mistakes.append(
                f"components[{number}].component: the plan {plan.name} has no component"
                f" {settings.component!r}; its components: {', '.join(names)}"
            )
        elif component.id in found:
            mistakes.append(f"components[{number}].component: {component.name} is given twice")
        else:
            found[component.id] = settings
    return found, mistakes


def _misplaced(component: Component, device: DeviceFacts, place: str) -> list[str]:
    """Returns why this device cannot run a component."""
    mistakes = []
    if "device" not in component.runtime:
        mistakes.append(
            f"{place}.requiredRuntime: it is `{component.runtime}`; this device runs components of"
            " the runtime `device`"
        )
    if component.architecture and component.architecture != device.architecture:
        mistakes.append(
            f"{place}.architecture: it is `{component.architecture}`; this device is"
            f" `{device.architecture}`: create a package for it"
        )
    for executable in component.executables:
        where = f"{place}.executables.{executable.name}"
        if executable.built:
            mistakes.append(
                f"{where}: its image is to be built; build it elsewhere, and name it in `docker`"
            )
        elif not executable.image:
            mistakes.append(
                f"{where}: it names no image (`docker`); programs outside of images do not run"
                " on this device"
            )
        elif executable.pull is PullPolicy.ALWAYS and not device.pulls:
            mistakes.append(
                f"{where}.imagePullPolicy: it is `Always`, and this device pulls no images; set"
                ' [images] pull = "missing", or write `IfNotPresent`'
            )
        if executable.probe is not None and executable.probe.command:
            mistakes.append(
                f"{where}.livenessProbe.exec: this device does not run commands in a container;"
                " write `httpGet` or `tcpSocket`, or let the program end itself when it fails"
            )
    return mistakes


def _parameters(
    component: Component,
    common: Mapping[str, str],
    given: ComponentRequest,
    place: str,
    mistakes: list[str],
) -> Mapping[str, str]:
    names = {parameter.name for parameter in component.parameters}
    mistakes += [
        f"{place}.parameters.{name}: there is no such parameter{close_name(name, names)}"
        for name in given.parameters
        if name not in names
    ]
    values: dict[str, str] = {}
    for parameter in component.parameters:
        value = given.parameters.get(parameter.name, common.get(parameter.name, parameter.default))
        if value is None:
            mistakes.append(f"{place}.parameters.{parameter.name}: it has no default; give a value")
            continue
        values[parameter.name] = value
    mistakes += _of_values(values, f"{place}.parameters")
    return values


def _of_variables(variables: Mapping[str, str], place: str) -> list[str]:
    mistakes = [
        f"{place}.variables.{name[:40]}: it is no name of an environment variable; use letters,"
        " digits and `_`"
        for name in variables
        if not _VARIABLE.fullmatch(name)
    ]
    return mistakes + _of_values(variables, f"{place}.variables")


def _of_values(values: Mapping[str, str], place: str) -> list[str]:
    mistakes = []
    for name, value in values.items():
        if "\0" in value:
            mistakes.append(f"{place}.{name}: the value has a zero byte; remove it")
        elif len(value.encode("utf-8", "surrogatepass")) > _MAX_VALUE:
            mistakes.append(
                f"{place}.{name}: the value has more than {_MAX_VALUE} bytes; shorten it"
            )
    return mistakes


def _mounts(
    component: Component,
    given: Iterable[VolumeMount],
    device: DeviceFacts,
    place: str,
    mistakes: list[str],
) -> tuple[VolumeMount, ...]:
    found: dict[tuple[str, str], VolumeMount] = {}
    for number, mount in enumerate(given):
        where = f"{place}.mounts[{number}]"
        named = component.executable(mount.executable)
        users = [named] if named is not None else []
        if not mount.executable:
            users = list(component.executables)
        elif named is None:
            names = ", ".join(e.name for e in component.executables)
            mistakes.append(
                f"{where}.executable: {component.name} has no executable {mount.executable!r};"
                f" its executables: {names}"
            )
        mistakes += [f"{where}.mountPath: {text}" for text in _of_target(mount.mount_path)]
        source, wrong = _source(mount.sub_path, device.host_folders)
        mistakes += [f"{where}.subPath: {text}" for text in wrong]
        target = _normal(mount.mount_path)
        for executable in users:
            if (executable.id, target) in found:
                mistakes.append(
                    f"{where}.mountPath: {target} is mounted twice in {executable.name}"
                )
            found[executable.id, target] = VolumeMount(
                executable=executable.id, mount_path=target, sub_path=source
            )
    return tuple(found.values())


def _of_target(path: str) -> list[str]:
    clean = _normal(path)
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        return [f"{path!r} is no absolute path in the container"]
    if clean == "/" or any(clean == r or clean.startswith(r + "/") for r in _RESERVED):
        return [f"{path} belongs to the container itself; use a folder such as /data"]
    return []


def _normal(path: str) -> str:
    """Returns an absolute path in its shortest form; POSIX lets two slashes at its begin stand."""
    return "/" + posixpath.normpath(path).lstrip("/")


def _source(path: str, host_folders: Iterable[str]) -> tuple[str, list[str]]:
    """Returns where a mount comes from, in the form of `VolumeMount.sub_path`, and the mistakes."""
    if "\0" in path or ".." in path.split("/"):
        return "", [f"{path!r} has `..` or a zero byte; give a path below the folder of volumes"]
    clean = posixpath.normpath("/" + path)
    if not path.startswith("/"):
        return clean.lstrip("/"), []
    clean = "/" + clean.lstrip("/")
    if clean == "/":
        return "", []
    if any(clean == folder or clean.startswith(folder + "/") for folder in host_folders):
        return clean, []
    return "", [
        f"{path} is a folder of this machine that `[deployments] host_folders` does not list;"
        f" write {clean.lstrip('/')} for a folder below that of the volumes"
    ]


def _too_large(plan: DeploymentPlan, device: DeviceFacts) -> list[str]:
    memory, gpus = claim_of(plan, device.unstated_memory)
    mistakes = []
    if memory > device.memory:
        mistakes.append(
            f"limits.memory: its executables reserve {memory} MB together, and the device has"
            f" {device.memory}; lower the limits (an executable without one reserves"
            f" {device.unstated_memory} MB)"
        )
    if gpus > device.gpus:
        mistakes.append(
            f"metadata.claraedge.gpu: its executables use {gpus} GPUs, and the device has"
            f" {device.gpus}; lower the number"
        )
    return mistakes
