"""Serves `claraedge.v1.Deployments` and `Devices`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from claraedge.api.packages.bags import bag_job_definition
from claraedge.api.packages.catalogue import PULL_POLICIES, probe_message
from claraedge.blocking import in_thread
from claraedge.deployments.deployments import Deployments, DeploymentView
from claraedge.deployments.device import DeviceView
from claraedge.deployments.model import (
    ComponentRequest,
    DeployedComponent,
    DeploymentPhase,
    DeploymentRequest,
    DeploymentStatus,
    ExecutableChange,
    VolumeMount,
)
from claraedge.packages.model import RestartPolicy
from claraedge.wire.claraedge.v1 import deployments_pb2 as wire
from claraedge.wire.claraedge.v1 import packages_pb2

PHASES: Mapping[DeploymentPhase, wire.DeploymentPhase.ValueType] = {
    DeploymentPhase.IN_PROGRESS: wire.DEPLOYMENT_PHASE_IN_PROGRESS,
    DeploymentPhase.PROVISIONING: wire.DEPLOYMENT_PHASE_PROVISIONING,
    DeploymentPhase.SUCCEEDED: wire.DEPLOYMENT_PHASE_SUCCEEDED,
    DeploymentPhase.FAILED_TO_START: wire.DEPLOYMENT_PHASE_FAILED_TO_START,
    DeploymentPhase.PARTIALLY_DEPROVISIONED: wire.DEPLOYMENT_PHASE_PARTIALLY_DEPROVISIONED,
    DeploymentPhase.STOPPED: wire.DEPLOYMENT_PHASE_STOPPED,
    DeploymentPhase.FAILED_TO_UPDATE: wire.DEPLOYMENT_PHASE_FAILED_TO_UPDATE,
}
STATUSES: Mapping[DeploymentStatus, wire.DeploymentStatus.ValueType] = {
    DeploymentStatus.UNKNOWN: wire.DEPLOYMENT_STATUS_UNKNOWN,
    DeploymentStatus.RUNNING: wire.DEPLOYMENT_STATUS_RUNNING,
    DeploymentStatus.PENDING: wire.DEPLOYMENT_STATUS_PENDING,
    DeploymentStatus.ERROR: wire.DEPLOYMENT_STATUS_ERROR,
    DeploymentStatus.STOPPED: wire.DEPLOYMENT_STATUS_STOPPED,
}
POLICIES: Mapping[RestartPolicy, packages_pb2.RestartPolicy.ValueType] = {
    RestartPolicy.ALWAYS: packages_pb2.RESTART_POLICY_ALWAYS,
    RestartPolicy.ON_FAILURE: packages_pb2.RESTART_POLICY_ON_FAILURE,
    RestartPolicy.NEVER: packages_pb2.RESTART_POLICY_NEVER,
}
#: Number of the last lines of each executable's log in the answer of Get.
_LINES = 10


class DeploymentsServicer:
    """Implements `claraedge.v1.Deployments`: Create, List, Get, Update, Delete, ReadLog."""

    def __init__(self, deployments: Deployments) -> None:
        self._deployments = deployments

    async def Create(self, request: wire.CreateDeploymentRequest) -> wire.Deployment:
        asked = DeploymentRequest(
            name=request.name,
            package=request.package,
            plan=request.plan,
            parameters=dict(request.parameters),
            components=tuple(map(_component, request.components)),
            labels=dict(request.labels),
            dependencies=tuple(request.dependencies),
            networks=tuple(request.networks),
        )
        return _deployment(await self._deployments.create(asked))

    async def List(self, request: wire.ListDeploymentsRequest) -> wire.ListDeploymentsResponse:
        phases = {phase for phase, number in PHASES.items() if number in request.phases}
        found = await self._deployments.list(
            package=request.package, phases=phases, labels=dict(request.labels)
        )
        return wire.ListDeploymentsResponse(deployments=map(_deployment, found))

    async def Get(self, request: wire.GetDeploymentRequest) -> wire.Deployment:
        return _deployment(await self._deployments.get(request.deployment, lines=_LINES))

    async def Update(self, request: wire.UpdateDeploymentRequest) -> wire.Deployment:
        changes = [
            ExecutableChange(
                executable=change.executable,
                image=change.image,
                command=tuple(change.command.lines) if change.HasField("command") else None,
            )
            for change in request.executables
        ]
        return _deployment(await self._deployments.update(request.deployment, changes))

    async def Delete(self, request: wire.DeleteDeploymentRequest) -> wire.Deployment:
        return _deployment(await self._deployments.undeploy(request.deployment))

    async def ReadLog(
        self, request: wire.ReadDeploymentLogRequest
    ) -> AsyncIterator[wire.ReadDeploymentLogResponse]:
        found = self._deployments.log(
            request.deployment,
            request.executable,
            tail=request.tail,
            following=request.follow,
            attempt=request.attempt,
        )
        async for number, lines in found:
            yield wire.ReadDeploymentLogResponse(lines=lines, attempt=number)


class DevicesServicer:
    """Implements `claraedge.v1.Devices`: Get."""

    def __init__(self, view: Callable[[], DeviceView]) -> None:
        """`view` returns the device as it is now; it may block."""
        self._view = view

    async def Get(self, request: wire.GetDeviceRequest) -> wire.Device:
        found = await in_thread(self._view)
        return wire.Device(
            id=found.id,
            name=found.name,
            architecture=found.architecture,
            description=found.description,
            interfaces=[
                wire.NetworkInterface(name=name, addresses=addresses)
                for name, addresses in found.interfaces.items()
            ],
            variables=found.variables,
            labels=found.labels,
            project=found.project,
        )


def _component(settings: wire.ComponentSettings) -> ComponentRequest:
    policies = {number: policy for policy, number in POLICIES.items()}
    return ComponentRequest(
        component=settings.component,
        parameters=dict(settings.parameters),
        variables=dict(settings.variables),
        restart=policies.get(settings.restart_policy),
        mounts=tuple(
            VolumeMount(executable=m.executable, mount_path=m.mount_path, sub_path=m.sub_path)
            for m in settings.mounts
        ),
        routes=dict(settings.routes),
        bag_jobs=tuple(map(bag_job_definition, settings.bag_jobs.jobs))
        if settings.HasField("bag_jobs")
        else None,
    )


def _deployment(view: DeploymentView) -> wire.Deployment:
    found = view.deployment
    return wire.Deployment(
        id=found.id,
        name=found.name,
        package_id=found.package,
        package_name=found.package_name,
        package_version=found.package_version,
        plan_id=found.plan_id,
        plan_name=found.plan_name,
        phase=PHASES[found.phase],
        status=STATUSES[view.status],
        errors=[wire.DeploymentError(code=f.code, message=f.message) for f in found.faults],
        waits_for=view.waits_for,
        labels=found.labels,
        dependencies=found.dependencies,
        networks=found.networks,
        used_by=found.used_by,
        components=[_deployed(component, view) for component in found.plan.components],
        generation=found.generation,
        created=_time(found.created),
        updated=_time(found.updated),
        stopped=None if found.stopped is None else _time(found.stopped),
    )


def _deployed(component: DeployedComponent, view: DeploymentView) -> wire.DeployedComponent:
    return wire.DeployedComponent(
        id=component.id,
        name=component.name,
        status=STATUSES[view.statuses[component.id]],
        restart_policy=POLICIES[component.restart],
        parameters=component.parameters,
        mounts=[
            wire.VolumeMount(executable=m.executable, mount_path=m.mount_path, sub_path=m.sub_path)
            for m in component.mounts
        ],
        executables=_executables(component, view),
        address=view.addresses.get(component.id, ""),
        instance_id=component.instance,
        routes=component.routes,
    )


def _executables(
    component: DeployedComponent, view: DeploymentView
) -> Sequence[wire.DeployedExecutable]:
    found = []
    for executable in component.executables:
        record = view.deployment.executables[executable.id]
        found.append(
            wire.DeployedExecutable(
                id=executable.id,
                name=executable.name,
                image=executable.image,
                command=executable.command,
                status=STATUSES[view.statuses[executable.id]],
                restarts=record.restarts,
                reason=record.reason,
                last_lines=view.last_lines.get(executable.id, ()),
                gpus=record.gpus if executable.gpus else (),
                pull_policy=PULL_POLICIES[executable.pull],
                liveness_probe=probe_message(executable.probe),
            )
        )
    return found


def _time(seconds: float) -> Timestamp:
    found = Timestamp()
    found.FromNanoseconds(round(seconds * 1e9))
    return found
