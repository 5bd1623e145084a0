"""Reads and writes the records of static routes in a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from claraedge.errors import RouteExistsError, RouteInUseError, RouteLimitError, RouteNotFoundError
from claraedge.routes.model import RouteTarget, StaticRoute
from claraedge.store.database import Row, Transaction

#: The most routes of a device.
MOST = 1000


def add(tx: Transaction, route: StaticRoute) -> None:
    """Adds a route. Raises RouteExistsError if its prefix is used, RouteLimitError above `MOST`."""
    other = tx.row("route", text=route.prefix)
    if other is not None:
        raise RouteExistsError(
            f"the prefix {route.prefix} is that of the route {other['id']}; use that one, or give"
            " another prefix"
        )
    count = tx.row("count_routes")
    if count is not None and count["count"] >= MOST:
        raise RouteLimitError(
            f"this device has {MOST} routes, which is the most; delete one that is not used"
            " (`claraedge list routes`, `claraedge delete route ROUTE`)"
        )
    tx.run("add_route", id=route.id, prefix=route.prefix, created=route.created)


def listed(tx: Transaction) -> Sequence[StaticRoute]:
    """Returns all routes in the order of their creation."""
    return [_route(tx, row) for row in tx.rows("routes")]


def find(tx: Transaction, text: str) -> StaticRoute:
    """Returns a route by its id or prefix. Raises RouteNotFoundError."""
    row = tx.row("route", text=text)
    if row is None:
        raise RouteNotFoundError(
            f"no route has the id or prefix {text[:80]!r}; `claraedge list routes` shows all"
        )
    return _route(tx, row)


def ids(tx: Transaction, texts: Iterable[str]) -> Mapping[str, str]:
    """Returns the ids of routes by their ids or prefixes; those that do not exist are left out."""
    rows = {text: tx.row("route", text=text) for text in texts}
    return {text: row["id"] for text, row in rows.items() if row is not None}


def delete(tx: Transaction, text: str) -> StaticRoute:
    """Deletes a route; returns it. Raises RouteNotFoundError, and RouteInUseError if a deployment
    that has not stopped uses it.
    """
    route = find(tx, text)
    if route.target is not None:
        raise _in_use(route, route.target)
    tx.run("drop_route", id=route.id)
    return route


def use(
    tx: Transaction, deployment: str, component: str, name: str, routes: Mapping[str, str]
) -> None:
    """Records that routes lead to endpoints of a deployment's component, until it stops.

    `component`, `name`: its id and its name. `routes`: endpoint -> id of its route. Raises
    RouteNotFoundError, and RouteInUseError if one leads to another endpoint.
    """
    for endpoint, text in routes.items():
        route = find(tx, text)
        if route.target is not None:
            raise _in_use(route, route.target)
        tx.run(
            "add_routed_endpoint",
            deployment=deployment,
            component=component,
            endpoint=endpoint,
            component_name=name,
            route=route.id,
        )


def _in_use(route: StaticRoute, target: RouteTarget) -> RouteInUseError:
    return RouteInUseError(
        f"the route {route.prefix} ({route.id}) leads to the deployment {target.deployment_name}"
        f" ({target.deployment}); end that first (`claraedge undeploy {target.deployment}`), or use"
        " another route"
    )


def _route(tx: Transaction, row: Row) -> StaticRoute:
    target = tx.row("target_of_route", route=row["id"])
    return StaticRoute(
        id=row["id"],
        prefix=row["prefix"],
        created=row["created"],
        target=None
        if target is None
        else RouteTarget(
            deployment=target["deployment"],
            deployment_name=target["deployment_name"],
            component=target["component"],
            component_name=target["component_name"],
            endpoint=target["endpoint"],
        ),
    )
