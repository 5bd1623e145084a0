"""Connects to the endpoints of deployments, for static routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

from claraedge.deployments.running.live import LiveDeployment
from claraedge.deployments.running.site import Site
from claraedge.errors import RouteNotReadyError, RunnerUnavailableError
from claraedge.routes import records
from claraedge.routes.model import RouteTarget, StaticRoute

Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def reached(
    site: Site, lives: Mapping[str, LiveDeployment], prefix: str
) -> AsyncIterator[Stream]:
    """Opens a connection to the endpoint that a route leads to, until the context is left.

    `lives`: the deployments that have not ended, by id. Raises RouteNotFoundError, and
    RouteNotReadyError if nothing accepts the connection.
    """
    route = await site.database.read(lambda tx: records.find(tx, prefix))
    if route.target is None:
        raise RouteNotReadyError(
            f"no deployment uses the route {route.prefix}; create one with it"
            f" (`claraedge deploy PACKAGE --route ENDPOINT={route.prefix}`)"
        )
    container, address, port = _place(lives.get(route.target.deployment), route, route.target)
    async with AsyncExitStack() as stack:
        try:
            dialing = site.workshop.runner.dial(container, address, port)
            stream = await stack.enter_async_context(dialing)
        except OSError as error:
            text = f"does not accept connections at port {port}"
            raise _not_ready(route, route.target, text) from error
        except RunnerUnavailableError as error:
            raise _not_ready(route, route.target, f"cannot be reached: {error}") from error
        yield stream


def _place(
    live: LiveDeployment | None, route: StaticRoute, target: RouteTarget
) -> tuple[str, str, int]:
    """Returns a container in the network of the endpoint, its address and its port."""
    if live is None:
        raise _not_ready(route, target, "has ended")
    ports = {
        component.id: component.endpoints.get(target.endpoint)
        for component in live.deployment.plan.components
    }
    container, port = live.containers.in_network(target.component), ports.get(target.component)
    address = live.addresses.get(target.component)
    if container is None or address is None or port is None:
        waits = f" (it waits for {live.waits_for})" if live.waits_for else ""
        text = f"is in the phase {live.deployment.phase.value}{waits}"
        raise _not_ready(route, target, text)
    return container, address, port


def _not_ready(route: StaticRoute, target: RouteTarget, text: str) -> RouteNotReadyError:
    """Returns the error that says why the deployment of a route cannot be reached."""
    return RouteNotReadyError(
        f"the route {route.prefix} leads to the endpoint {target.endpoint} of the deployment"
        f" {target.deployment_name} ({target.deployment}), which {text}; try again later, or see"
        f" what it does (`claraedge describe deployment {target.deployment}`)"
    )
