"""Serves static routes."""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import Iterable

from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.rapyuta.backend import Backend
from claraedge.web.rapyuta.requests import json_of, one_of, query_fields, route_id
from claraedge.web.rapyuta.values import routes as objects
from claraedge.web.rapyuta.values.bodies import DeletedRouteBody, NewRouteBody
from claraedge.wire.claraedge.v1 import routes_pb2 as wire

_ROOT = "/api/staticroute"
_PREFIX = "urlPrefix"


class StaticRouteRoutes:
    """Creates, lists, shows and deletes static routes."""

    def __init__(self, backend: Backend, places: Semaphore) -> None:
        self._backend = backend
        self._places = places

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield Route("POST", f"{_ROOT}/create", self._create)
        yield Route("GET", f"{_ROOT}/list", self._list)
        yield Route("GET", f"{_ROOT}/filter", self._filter)
        yield Route("GET", f"{_ROOT}/{{id}}/get", self._get)
        yield Route("DELETE", f"{_ROOT}/delete", self._delete)

    async def _create(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        body = await json_of(request, self._places, NewRouteBody)
        message = wire.CreateRouteRequest(prefix=body.url_prefix)
        await self._answer("Create", message, request, reply)

    async def _get(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        message = wire.GetRouteRequest(route=route_id(request.parameters["id"]))
        await self._answer("Get", message, request, reply)

    async def _list(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        found = await call.routes("List", wire.ListRoutesRequest(), wire.ListRoutesResponse)
        project = (await call.device()).project
        await call.answer([objects.route(each, project, request) for each in found.routes])

    async def _filter(self, request: Request, reply: Reply) -> None:
        """Answers a list of one, or 404: of an empty list, the SDK would read the first one."""
        prefix = one_of(query_fields(request, _PREFIX).get(_PREFIX, []), _PREFIX)
        call = self._backend.for_request(request, reply)
        found = await call.routes("Get", wire.GetRouteRequest(route=prefix), wire.Route)
        await call.answer([objects.route(found, (await call.device()).project, request)])

    async def _delete(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        body = await json_of(request, self._places, DeletedRouteBody)
        call = self._backend.for_request(request, reply)
        message = wire.DeleteRouteRequest(route=route_id(body.guid))
        await call.routes("Delete", message, wire.Route)
        await call.answer({"success": True})

    async def _answer(
        self,
        method: str,
        message: wire.CreateRouteRequest | wire.GetRouteRequest,
        request: Request,
        reply: Reply,
    ) -> None:
        call = self._backend.for_request(request, reply)
        found = await call.routes(method, message, wire.Route)
        await call.answer(objects.route(found, (await call.device()).project, request))
