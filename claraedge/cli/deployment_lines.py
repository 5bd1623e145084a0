"""The lines of `claraedge describe package` and `claraedge describe deployment`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claraedge.cli.output import local

if TYPE_CHECKING:
    from claraedge.client.packages.values import (
        ComponentInfo,
        DeployedComponentInfo,
        DeploymentInfo,
        ExecutableInfo,
        LivenessProbeInfo,
        PackageInfo,
    )


def package_lines(package: PackageInfo) -> list[tuple[str, str]]:
    """Returns the lines of `describe package`, in their order."""
    found = [
        ("NAME", package.name),
        ("VERSION", package.version),
        ("PACKAGE_ID", package.id),
        ("CREATED", local(package.created)),
        ("DESCRIPTION", package.description),
    ]
    for plan in package.plans:
        found.append(("PLAN", f"{plan.name}  {plan.id}{'  singleton' if plan.singleton else ''}"))
        for component in plan.components:
            found += _component(component)
    return found


def _component(component: ComponentInfo) -> list[tuple[str, str]]:
    facts = [
        component.name,
        component.id,
        component.runtime,
        component.architecture or "any architecture",
        f"restart {component.restart_policy}",
    ]
    if component.ros_distro:
        facts.append(f"ROS {component.ros_distro}")
    return [
        ("  COMPONENT", "  ".join(facts)),
        *(("    EXECUTABLE", _executable(each)) for each in component.executables),
        *(
            ("    PARAMETER", f"{p.name}={p.default}" if p.default is not None else p.name)
            for p in component.parameters
        ),
        *(
            ("    ENDPOINT", f"{e.name}  {e.protocol} {e.port or ''} -> {e.target_port or ''}")
            for e in component.endpoints
        ),
    ]


def _executable(executable: ExecutableInfo) -> str:
    facts = [executable.name, executable.id, executable.image or "(no image)"]
    if executable.command:
        facts.append(" ; ".join(executable.command))
    if executable.memory:
        facts.append(f"{executable.memory} MB")
    if executable.cpu:
        facts.append(f"{executable.cpu:g} cores")
    if executable.gpus:
        facts.append(f"{executable.gpus} GPUs")
    if executable.pull_policy != "IF_NOT_PRESENT":
        facts.append(f"pull {executable.pull_policy}")
    if probe := _probe(executable.liveness_probe):
        facts.append(f"probe {probe}")
    return "  ".join(facts)


def _probe(probe: LivenessProbeInfo) -> str:
    """Returns a liveness probe in one line; empty if there is none."""
    if not probe.failure_threshold:
        return ""
    tried = f"GET {probe.path} at port {probe.port}" if probe.path else f"TCP port {probe.port}"
    if probe.command:
        tried = "command"
    return (
        f"{tried} each {probe.period_seconds} s, after {probe.initial_delay_seconds} s,"
        f" within {probe.timeout_seconds} s, {probe.failure_threshold} failures"
    )


def deployment_lines(deployment: DeploymentInfo) -> list[tuple[str, str]]:
    """Returns the lines of `describe deployment`, in their order."""
    found = [
        ("NAME", deployment.name),
        ("DEPLOYMENT_ID", deployment.id),
        ("PACKAGE", f"{deployment.package_name}:{deployment.package_version}"),
        ("PACKAGE_ID", deployment.package_id),
        ("PLAN", deployment.plan_name),
        ("PHASE", deployment.phase),
        ("STATUS", deployment.status),
        ("RESTARTS", str(deployment.restarts)),
        ("GENERATION", str(deployment.generation)),
        ("CREATED", local(deployment.created)),
        ("UPDATED", local(deployment.updated)),
        ("STOPPED", local(deployment.stopped)),
        *(("ERROR", f"{fault.code}: {fault.message}") for fault in deployment.errors),
        *((f"LABEL {key}", value) for key, value in sorted(deployment.labels.items())),
        *(("DEPENDS ON", needed) for needed in deployment.dependencies),
        *(("USED BY", user) for user in deployment.used_by),
    ]
    if deployment.waits_for:
        found.append(("WAITS", deployment.waits_for))
    for component in deployment.components:
        found += _deployed(component)
    return found


def _deployed(component: DeployedComponentInfo) -> list[tuple[str, str]]:
    facts = [component.name, component.status, f"restart {component.restart_policy}"]
    if component.address:
        facts.append(component.address)
    found = [
        ("COMPONENT", "  ".join(facts)),
        *((f"  PARAMETER {key}", value) for key, value in sorted(component.parameters.items())),
    ]
    names = {each.id: each.name for each in component.executables}
    for mount in component.mounts:
        owner = names.get(mount.executable, mount.executable)
        place = f"{mount.mount_path} of {owner}" if owner else mount.mount_path
        found.append(("  MOUNT", f"{mount.sub_path} -> {place}"))
    for each in component.executables:
        facts = [each.name, each.status, each.image, f"restarts {each.restarts}", *each.gpus]
        found.append(("  EXECUTABLE", "  ".join(facts)))
        if each.command:
            found.append(("    COMMAND", " ; ".join(each.command)))
        if probe := _probe(each.liveness_probe):
            found.append(("    PROBE", probe))
        if each.reason:
            found.append(("    REASON", each.reason))
        found += [("    LOG", line) for line in each.last_lines]
    return found
