"""Calls of the Routes service. A route is named as in GetRouteRequest.route."""

from __future__ import annotations

from claraedge.client.connection import Connection
from claraedge.client.packages.plain import value_of
from claraedge.client.packages.values import RouteInfo
from claraedge.wire.claraedge.v1 import routes_pb2 as pb
from claraedge.wire.claraedge.v1.routes_pb2_grpc import RoutesStub


def create(connection: Connection, prefix: str) -> RouteInfo:
    """Creates a static route."""
    request = pb.CreateRouteRequest(prefix=prefix)
    return value_of(connection.unary(RoutesStub(connection.channel).Create, request), RouteInfo)


def list_all(connection: Connection) -> list[RouteInfo]:
    """Returns the static routes in the order of their creation."""
    reply = connection.unary(RoutesStub(connection.channel).List, pb.ListRoutesRequest())
    return [value_of(route, RouteInfo) for route in reply.routes]


def get(connection: Connection, route: str) -> RouteInfo:
    """Returns a static route. Raises RouteNotFoundError."""
    request = pb.GetRouteRequest(route=route)
    return value_of(connection.unary(RoutesStub(connection.channel).Get, request), RouteInfo)


def delete(connection: Connection, route: str) -> RouteInfo:
    """Deletes a static route; returns it as it was.

    Raises RouteNotFoundError, and RouteInUseError if a deployment uses it.
    """
    request = pb.DeleteRouteRequest(route=route)
    return value_of(connection.unary(RoutesStub(connection.channel).Delete, request), RouteInfo)
