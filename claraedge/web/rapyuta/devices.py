"""Serves this device, as the only one, and its only user."""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import Iterable

from claraedge.web.http.failures import excerpt, invalid
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.rapyuta.backend import Backend, Conversation
from claraedge.web.rapyuta.requests import json_of, one_of, query_fields
from claraedge.web.rapyuta.values import devices as objects
from claraedge.web.rapyuta.values.bodies import SelectionBody
from claraedge.web.rapyuta.values.devices import enveloped
from claraedge.wire.claraedge.v1 import deployments_pb2 as wire

_MANAGER = "/api/device-manager/v0"


class DeviceRoutes:
    """Lists and shows the device and the user."""

    def __init__(self, backend: Backend, places: Semaphore) -> None:
        self._backend = backend
        self._places = places

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield Route("GET", f"{_MANAGER}/devices/", self._list)
        yield Route("GET", f"{_MANAGER}/devices/{{id}}", self._device)
        yield Route("POST", f"{_MANAGER}/selection/query/", self._select)
        yield Route("GET", f"{_MANAGER}/config_variables/device/{{id}}", self._variables)
        yield Route("GET", f"{_MANAGER}/labels/{{id}}", self._labels)
        yield Route("GET", "/api/user/me/get", self._user)

    async def _list(self, request: Request, reply: Reply) -> None:
        fields = query_fields(request, "name")
        call = self._backend.for_request(request, reply)
        device = await call.device()
        named = "name" not in fields or one_of(fields["name"], "name") == device.name
        await call.answer(enveloped([objects.entry(device)] if named else []))

    async def _device(self, request: Request, reply: Reply) -> None:
        call, device = await self._this(request, reply)
        deployments = await call.listed(wire.ListDeploymentsRequest())
        await call.answer(enveloped(objects.whole(device, deployments)))

    async def _select(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        body = await json_of(request, self._places, SelectionBody)
        call = self._backend.for_request(request, reply)
        device = await call.device()
        await call.answer(enveloped(objects.selected(body, device)))

    async def _variables(self, request: Request, reply: Reply) -> None:
        call, device = await self._this(request, reply)
        await call.answer(enveloped(objects.config_variables(device)))

    async def _labels(self, request: Request, reply: Reply) -> None:
        call, device = await self._this(request, reply)
        await call.answer(enveloped(objects.labels(device)))

    async def _user(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        await call.answer(objects.user(await call.device()))

    async def _this(self, request: Request, reply: Reply) -> tuple[Conversation, wire.Device]:
        """Returns the device that a path names. Raises HttpError (404) if it is another one."""
        query_fields(request)
        call = self._backend.for_request(request, reply)
        device = await call.device()
        id_ = request.parameters["id"]
        if id_ != device.id:
            raise invalid(
                f"{excerpt(id_)!r} is not the id of this device, which is {device.id}, and there is"
                " no other one here",
                404,
            )
        return call, device
