"""Packages, Deployments and Devices in memory, on a real gRPC server: what the SDK's routes call.

It keeps the rules of the protos that the routes depend on. Each Get moves a deployment towards its
last phase, so that a client that polls sees each phase.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from claraedge.errors import (
    NAME_KEY,
    ClaraedgeError,
    DeploymentExistsError,
    DeploymentInUseError,
    DeploymentNotFoundError,
    DeploymentNotReadyError,
    InvalidDeploymentError,
    InvalidManifestError,
    PackageExistsError,
    PackageInUseError,
    PackageNotFoundError,
)
from claraedge.wire.claraedge.v1 import deployments_pb2 as wire
from claraedge.wire.claraedge.v1 import deployments_pb2_grpc, packages_pb2, packages_pb2_grpc

DEVICE = "5f3c9a52-6c0f-4b1e-9d59-2b8d4a3f0c11"
#: A part of the name of an image whose deployment fails, with the code of the failure.
FAILURES = {"missing": "DEP_E161", "crash": "DEP_E152"}
SERVICES: Sequence[ServiceDescriptor] = [
    packages_pb2.DESCRIPTOR.services_by_name["Packages"],
    wire.DESCRIPTOR.services_by_name["Deployments"],
    wire.DESCRIPTOR.services_by_name["Devices"],
]
NOW = Timestamp(seconds=1_796_040_000, nanos=120_000_000)
_NEXT = {
    wire.DEPLOYMENT_PHASE_IN_PROGRESS: wire.DEPLOYMENT_PHASE_PROVISIONING,
    wire.DEPLOYMENT_PHASE_PROVISIONING: wire.DEPLOYMENT_PHASE_SUCCEEDED,
}
_ENDED = (wire.DEPLOYMENT_PHASE_STOPPED, wire.DEPLOYMENT_PHASE_FAILED_TO_START)
_POLICIES = {
    "always": packages_pb2.RESTART_POLICY_ALWAYS,
    "on-failure": packages_pb2.RESTART_POLICY_ON_FAILURE,
    "no": packages_pb2.RESTART_POLICY_NEVER,
}


class Shelf:
    """What the three services know, and what they were asked."""

    def __init__(self) -> None:
        self.packages: dict[str, packages_pb2.Package] = {}
        self.deployments: dict[str, wire.Deployment] = {}
        self.created: list[wire.CreateDeploymentRequest] = []
        self.updated: list[wire.UpdateDeploymentRequest] = []
        self.broken: ClaraedgeError | None = None
        """The error with which each call ends."""
        self.device = wire.Device(
            id=DEVICE,
            name="scanner-1",
            architecture="amd64",
            description="Debian GNU/Linux 12",
            interfaces=[wire.NetworkInterface(name="lo", addresses=["127.0.0.1", "::1"])],
            variables={"SITE": "north"},
            labels={"room": "4"},
            project="project-of-tests",
        )
        self._count = 0

    def id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-" + format(self._count, "024b").translate({48: "a", 49: "b"})

    async def check(self, context: Any) -> None:
        if self.broken is not None:
            await refuse(context, self.broken)

    async def package(self, id_: str, context: Any) -> packages_pb2.Package:
        await self.check(context)
        if id_ not in self.packages:
            await refuse(context, PackageNotFoundError(f"there is no package {id_}; create it"))
        return self.packages[id_]

    async def deployment(self, id_: str, context: Any) -> wire.Deployment:
        await self.check(context)
        if id_ not in self.deployments:
            error = DeploymentNotFoundError(f"there is no deployment {id_}; list them")
            await refuse(context, error)
        return self.deployments[id_]

    def live(self) -> list[wire.Deployment]:
        return [one for one in self.deployments.values() if one.phase not in _ENDED]


async def refuse(context: Any, error: ClaraedgeError) -> NoReturn:
    await context.abort(
        grpc.StatusCode[error.status], str(error), trailing_metadata=((NAME_KEY, error.name),)
    )
    raise AssertionError("abort raises")


class FakePackages(packages_pb2_grpc.PackagesServicer):
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.shelf.check(context)
        try:
            package = self._made(json.loads(request.manifest), request.manifest)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            await refuse(context, InvalidManifestError(f"the manifest is wrong: {error!r}"))
        for other in self.shelf.packages.values():
            if (other.name, other.version) == (package.name, package.version):
                text = f"{other.id} has this name and version; give another version"
                await refuse(context, PackageExistsError(text))
        self.shelf.packages[package.id] = package
        return package

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.shelf.check(context)
        found = packages_pb2.ListPackagesResponse(packages=self.shelf.packages.values())
        for package in found.packages:
            package.ClearField("manifest")
        return found

    async def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self.shelf.package(request.package, context)

    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        package = await self.shelf.package(request.package, context)
        for one in self.shelf.live():
            if one.package_id == package.id:
                await refuse(context, PackageInUseError(f"{one.id} uses {package.id}; end it"))
        return self.shelf.packages.pop(package.id)

    def _made(self, manifest: Any, text: str) -> packages_pb2.Package:
        new = self.shelf.id
        return packages_pb2.Package(
            id=new("pkg"),
            name=manifest["name"],
            version=manifest["packageVersion"],
            description=manifest.get("description", ""),
            created=NOW,
            manifest=text,
            bindable=manifest.get("bindable", True),
            plans=[
                packages_pb2.Plan(
                    id=new("plan"),
                    name=plan["name"],
                    singleton=plan.get("singleton", False),
                    components=[self._component(one) for one in plan["components"]],
                )
                for plan in manifest["plans"]
            ],
        )

    def _component(self, source: Any) -> packages_pb2.Component:
        found = packages_pb2.Component(
            id=self.shelf.id("comp"),
            name=source["name"],
            description=source.get("description", ""),
            runtime=source.get("requiredRuntime", "device"),
            architecture=source.get("architecture", ""),
            ros_distro=source.get("ros", {}).get("ros_distro", ""),
        )
        if "restart_policy" in source:
            found.restart_policy = _POLICIES[source["restart_policy"]]
        for parameter in source.get("parameters", []):
            made = found.parameters.add(
                name=parameter["name"], description=parameter.get("description", "")
            )
            if "default" in parameter:
                made.default = str(parameter["default"])
        for executable in source["executables"]:
            found.executables.add(
                id=self.shelf.id("exec"),
                name=executable["name"],
                image=executable.get("docker", ""),
                command=executable.get("cmd", []),
            )
        for endpoint in source.get("cloudInfra", {}).get("endpoints", []):
            found.endpoints.add(
                name=endpoint["name"],
                port=endpoint["port"],
                target_port=endpoint["targetPort"],
                protocol=endpoint["proto"],
                exposed=endpoint.get("exposeExternally", False),
            )
        return found


class FakeDeployments(deployments_pb2_grpc.DeploymentsServicer):
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        shelf = self.shelf
        package = await shelf.package(request.package, context)
        plan = next(one for one in package.plans if one.id == request.plan)
        settings = {one.component: one for one in request.components}
        problems = [f"no component {id_}" for id_ in settings if id_ not in ids_of(plan)]
        for component in plan.components:
            given = settings[component.id].parameters if component.id in settings else {}
            problems += [
                f"{component.name}: parameter {one.name} has no value"
                for one in component.parameters
                if not one.HasField("default") and one.name not in given
            ]
            problems += [
                f"{component.name}: {one.name} has no image"
                for one in component.executables
                if not one.image
            ]
        if not request.name:
            problems.append("name is empty")
        if problems:
            await refuse(context, InvalidDeploymentError("; ".join(problems)))
        for one in shelf.live():
            if one.name == request.name:
                text = f"{one.id} has the name {one.name}; end it, or give another name"
                await refuse(context, DeploymentExistsError(text))
        for id_ in request.dependencies:
            parent = await shelf.deployment(id_, context)
            if parent.phase != wire.DEPLOYMENT_PHASE_SUCCEEDED:
                await refuse(context, DeploymentNotReadyError(f"{id_} does not run; wait"))
        shelf.created.append(request)
        made = self._made(request, package, plan)
        for id_ in request.dependencies:
            shelf.deployments[id_].used_by.append(made.id)
        shelf.deployments[made.id] = made
        return made

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.shelf.check(context)
        if request.package:
            await self.shelf.package(request.package, context)
        return wire.ListDeploymentsResponse(
            deployments=[
                one
                for one in self.shelf.deployments.values()
                if request.package in ("", one.package_id)
                and (not request.phases or one.phase in request.phases)
            ]
        )

    async def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self.shelf.deployment(request.deployment, context)
        answer = wire.Deployment()
        answer.CopyFrom(found)
        if found.phase in _NEXT:
            self._step(found)
        return answer

    async def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self.shelf.deployment(request.deployment, context)
        if found.phase != wire.DEPLOYMENT_PHASE_SUCCEEDED:
            await refuse(context, DeploymentNotReadyError(f"{found.id} does not run; wait"))
        known = {one.id: one for part in found.components for one in part.executables}
        for change in request.executables:
            if change.executable not in known:
                text = f"{found.id} has no executable {change.executable}; describe it"
                await refuse(context, InvalidDeploymentError(text))
            known[change.executable].image = change.image
        self.shelf.updated.append(request)
        found.generation += 1
        found.phase = wire.DEPLOYMENT_PHASE_PROVISIONING
        return found

    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self.shelf.deployment(request.deployment, context)
        if found.used_by:
            text = f"{', '.join(found.used_by)} depend on {found.id}; end them first"
            await refuse(context, DeploymentInUseError(text))
        found.phase = wire.DEPLOYMENT_PHASE_STOPPED
        found.status = wire.DEPLOYMENT_STATUS_STOPPED
        found.stopped.CopyFrom(NOW)
        for id_ in found.dependencies:
            self.shelf.deployments[id_].used_by.remove(found.id)
        return found

    def _step(self, found: wire.Deployment) -> None:
        found.phase = _NEXT[found.phase]
        if found.phase != wire.DEPLOYMENT_PHASE_SUCCEEDED:
            return
        found.status = wire.DEPLOYMENT_STATUS_RUNNING
        for component in found.components:
            component.status = wire.DEPLOYMENT_STATUS_RUNNING
            component.address = "10.89.0.2"
            for executable in component.executables:
                executable.status = wire.DEPLOYMENT_STATUS_RUNNING
                for part, code in FAILURES.items():
                    if part in executable.image:
                        found.phase = wire.DEPLOYMENT_PHASE_FAILED_TO_START
                        found.status = wire.DEPLOYMENT_STATUS_ERROR
                        found.errors.add(code=code, message=f"{executable.name}: {part}")

    def _made(
        self,
        request: wire.CreateDeploymentRequest,
        package: packages_pb2.Package,
        plan: packages_pb2.Plan,
    ) -> wire.Deployment:
        settings = {one.component: one for one in request.components}
        return wire.Deployment(
            id=self.shelf.id("dep"),
            name=request.name,
            package_id=package.id,
            package_name=package.name,
            package_version=package.version,
            plan_id=plan.id,
            plan_name=plan.name,
            phase=wire.DEPLOYMENT_PHASE_IN_PROGRESS,
            status=wire.DEPLOYMENT_STATUS_PENDING,
            labels=request.labels,
            dependencies=request.dependencies,
            generation=1,
            created=NOW,
            updated=NOW,
            components=[
                wire.DeployedComponent(
                    id=component.id,
                    name=component.name,
                    status=wire.DEPLOYMENT_STATUS_PENDING,
                    restart_policy=settings[component.id].restart_policy
                    or component.restart_policy
                    or packages_pb2.RESTART_POLICY_ALWAYS,
                    parameters=settings[component.id].parameters,
                    mounts=settings[component.id].mounts,
                    instance_id=self.shelf.id("inst"),
                    executables=[
                        wire.DeployedExecutable(id=one.id, name=one.name, image=one.image)
                        for one in component.executables
                    ],
                )
                for component in plan.components
            ],
        )


class FakeDevices(deployments_pb2_grpc.DevicesServicer):
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    async def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.shelf.check(context)
        return self.shelf.device


def ids_of(plan: packages_pb2.Plan) -> set[str]:
    return {component.id for component in plan.components}


@asynccontextmanager
async def packages_server(socket: Path) -> AsyncIterator[Shelf]:
    """Serves all three on a Unix socket."""
    shelf, server = Shelf(), grpc.aio.server()
    packages_pb2_grpc.add_PackagesServicer_to_server(FakePackages(shelf), server)
    deployments_pb2_grpc.add_DeploymentsServicer_to_server(FakeDeployments(shelf), server)
    deployments_pb2_grpc.add_DevicesServicer_to_server(FakeDevices(shelf), server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield shelf
    finally:
        await server.stop(None)
