"""Serves `claraedge.v1.Routes`."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from claraedge.routes.model import StaticRoute
from claraedge.routes.routes import StaticRoutes
from claraedge.wire.claraedge.v1 import routes_pb2 as wire


class RoutesServicer:
    """Implements `claraedge.v1.Routes`: Create, List, Get, Delete."""

    def __init__(self, routes: StaticRoutes) -> None:
        self._routes = routes

    async def Create(self, request: wire.CreateRouteRequest) -> wire.Route:
        return _route(await self._routes.create(request.prefix))

    async def List(self, request: wire.ListRoutesRequest) -> wire.ListRoutesResponse:
        return wire.ListRoutesResponse(routes=map(_route, await self._routes.list()))

    async def Get(self, request: wire.GetRouteRequest) -> wire.Route:
        return _route(await self._routes.get(request.route))

    async def Delete(self, request: wire.DeleteRouteRequest) -> wire.Route:
        return _route(await self._routes.delete(request.route))


def _route(route: StaticRoute) -> wire.Route:
    created = Timestamp()
    created.FromNanoseconds(round(route.created * 1e9))
    found = wire.Route(id=route.id, prefix=route.prefix, path=route.path, created=created)
    if route.target is not None:
        found.target.deployment_id = route.target.deployment
        found.target.deployment_name = route.target.deployment_name
        found.target.component_id = route.target.component
        found.target.component_name = route.target.component_name
        found.target.endpoint = route.target.endpoint
    return found
