"""The gRPC services that the routes call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.rapyuta.requests import JSON
from claraedge.web.rpc.calls import Calls
from claraedge.web.rpc.codecs import json_text
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream
from claraedge.wire.claraedge.v1 import deployments_pb2, packages_pb2

M = TypeVar("M", bound=Message)


def _service(name: str) -> str:
    return f"{deployments_pb2.DESCRIPTOR.package}.{name}"


class Backend:
    """Makes calls of Packages, Deployments, Routes, Networks, Devices, Bags and Files."""

    def __init__(self, methods: Mapping[str, Method], upstream: Upstream) -> None:
        self.packages = Calls(_service("Packages"), methods, upstream)
        self.deployments = Calls(_service("Deployments"), methods, upstream)
        self.routes = Calls(_service("Routes"), methods, upstream)
        self.networks = Calls(_service("Networks"), methods, upstream)
        self.devices = Calls(_service("Devices"), methods, upstream)
        self.bags = Calls(_service("Bags"), methods, upstream)
        self.files = Calls(_service("Files"), methods, upstream)

    def for_request(self, request: Request, reply: Reply) -> Conversation:
        """Returns the calls for one request, and its answer."""
        return Conversation(self, request, reply)


class Conversation:
    """The calls for one request, and its answer. All raise HttpError, ClientGoneError."""

    def __init__(self, backend: Backend, request: Request, reply: Reply) -> None:
        self._backend = backend
        self._request = request
        self._reply = reply

    async def packages(self, method: str, message: Message, kind: type[M]) -> M:
        """Calls a method of Packages."""
        calls = self._backend.packages
        return await calls.one(method, message, kind, self._request, self._reply)

    async def deployments(self, method: str, message: Message, kind: type[M]) -> M:
        """Calls a method of Deployments."""
        calls = self._backend.deployments
        return await calls.one(method, message, kind, self._request, self._reply)

    async def routes(self, method: str, message: Message, kind: type[M]) -> M:
        """Calls a method of Routes."""
        calls = self._backend.routes
        return await calls.one(method, message, kind, self._request, self._reply)

    async def networks(self, method: str, message: Message, kind: type[M]) -> M:
        """Calls a method of Networks."""
        calls = self._backend.networks
        return await calls.one(method, message, kind, self._request, self._reply)

    async def bags(self, method: str, message: Message, kind: type[M]) -> M:
        """Calls a method of Bags."""
        return await self._backend.bags.one(method, message, kind, self._request, self._reply)

    async def package(self, id_: str) -> packages_pb2.Package:
        """Returns a package."""
        message = packages_pb2.GetPackageRequest(package=id_)
        return await self.packages("Get", message, packages_pb2.Package)

    async def deployment(self, id_: str) -> deployments_pb2.Deployment:
        """Returns a deployment."""
        message = deployments_pb2.GetDeploymentRequest(deployment=id_)
        return await self.deployments("Get", message, deployments_pb2.Deployment)

    async def listed(
        self, message: deployments_pb2.ListDeploymentsRequest
    ) -> Sequence[deployments_pb2.Deployment]:
        """Returns the deployments that `message` selects."""
        kind = deployments_pb2.ListDeploymentsResponse
        return (await self.deployments("List", message, kind)).deployments

    async def device(self) -> deployments_pb2.Device:
        """Returns the device."""
        message, kind = deployments_pb2.GetDeviceRequest(), deployments_pb2.Device
        return await self._backend.devices.one("Get", message, kind, self._request, self._reply)

    async def answer(self, value: object) -> None:
        """Answers the request with JSON."""
        await self._reply.whole(json_text(value) + b"\n", JSON)
