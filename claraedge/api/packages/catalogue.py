"""Serves `claraedge.v1.Packages`."""

from __future__ import annotations

from claraedge.api.appliance import time_of
from claraedge.packages.model import (
    Component,
    Endpoint,
    Executable,
    LivenessProbe,
    Package,
    Parameter,
    Plan,
    PullPolicy,
    RestartPolicy,
)
from claraedge.packages.packages import Packages
from claraedge.wire.claraedge.v1 import packages_pb2 as wire

POLICIES = {
    RestartPolicy.ALWAYS: wire.RESTART_POLICY_ALWAYS,
    RestartPolicy.ON_FAILURE: wire.RESTART_POLICY_ON_FAILURE,
    RestartPolicy.NEVER: wire.RESTART_POLICY_NEVER,
}
PULL_POLICIES = {
    PullPolicy.ALWAYS: wire.PULL_POLICY_ALWAYS,
    PullPolicy.IF_NOT_PRESENT: wire.PULL_POLICY_IF_NOT_PRESENT,
    PullPolicy.NEVER: wire.PULL_POLICY_NEVER,
}


class PackagesServicer:
    """Implements `claraedge.v1.Packages`: Create, List, Get, Delete."""

    def __init__(self, packages: Packages) -> None:
        self._packages = packages

    async def Create(self, request: wire.CreatePackageRequest) -> wire.Package:
        return package_message(await self._packages.create(request.manifest))

    async def List(self, request: wire.ListPackagesRequest) -> wire.ListPackagesResponse:
        found = await self._packages.list(request.name, request.version)
        return wire.ListPackagesResponse(packages=map(package_message, found))

    async def Get(self, request: wire.GetPackageRequest) -> wire.Package:
        return package_message(await self._packages.get(request.package))

    async def Delete(self, request: wire.DeletePackageRequest) -> wire.Package:
        return package_message(await self._packages.delete(request.package))


def package_message(package: Package) -> wire.Package:
    """Converts a package to its message."""
    return wire.Package(
        id=package.id,
        name=package.name,
        version=package.version,
        description=package.description,
        created=time_of(package.created),
        plans=map(_plan, package.plans),
        manifest=package.manifest,
        bindable=package.bindable,
    )


def probe_message(probe: LivenessProbe | None) -> wire.LivenessProbe | None:
    """Converts a liveness probe to its message."""
    if probe is None:
        return None
    return wire.LivenessProbe(
        port=probe.port,
        path=probe.path,
        command=probe.command,
        initial_delay_seconds=probe.delay,
        period_seconds=probe.period,
        timeout_seconds=probe.timeout,
        success_threshold=probe.successes,
        failure_threshold=probe.failures,
    )


def _plan(plan: Plan) -> wire.Plan:
    return wire.Plan(
        id=plan.id,
        name=plan.name,
        components=map(_component, plan.components),
        singleton=plan.singleton,
    )


def _component(component: Component) -> wire.Component:
    return wire.Component(
        id=component.id,
        name=component.name,
        description=component.description,
        runtime=component.runtime,
        architecture=component.architecture,
        restart_policy=POLICIES[component.restart_policy],
        parameters=map(_parameter, component.parameters),
        executables=map(_executable, component.executables),
        endpoints=map(_endpoint, component.endpoints),
        ros_distro=component.ros.distro if component.ros.enabled else "",
    )


def _parameter(parameter: Parameter) -> wire.Parameter:
    return wire.Parameter(
        name=parameter.name, description=parameter.description, default=parameter.default
    )


def _executable(executable: Executable) -> wire.Executable:
    return wire.Executable(
        id=executable.id,
        name=executable.name,
        image=executable.image,
        command=executable.command,
        memory=executable.memory,
        cpu=executable.cpu,
        gpus=executable.gpus,
        pull_policy=PULL_POLICIES[executable.pull],
        liveness_probe=probe_message(executable.probe),
    )


def _endpoint(endpoint: Endpoint) -> wire.Endpoint:
    return wire.Endpoint(
        name=endpoint.name,
        port=endpoint.port,
        target_port=endpoint.target_port,
        protocol=endpoint.protocol,
        exposed=endpoint.exposed,
    )
