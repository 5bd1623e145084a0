"""The routes of the SDK that work on one device."""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import Iterable, Mapping
from pathlib import Path

from claraedge.web.http.router import Route
from claraedge.web.rapyuta import refusals
from claraedge.web.rapyuta.backend import Backend
from claraedge.web.rapyuta.bags import BagRoutes
from claraedge.web.rapyuta.catalogue import Catalogue
from claraedge.web.rapyuta.deployments import DeploymentRoutes
from claraedge.web.rapyuta.devices import DeviceRoutes
from claraedge.web.rapyuta.networks import NetworkRoutes
from claraedge.web.rapyuta.static_routes import StaticRouteRoutes
from claraedge.web.rapyuta.tickets import Tickets
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream


def routes_of(
    methods: Mapping[str, Method], upstream: Upstream, places: Semaphore, socket: Path
) -> Iterable[Route]:
    """Yields all routes of the SDK, with those that are refused.

    `places`: of requests that keep a large message at the same time; more of them wait. `socket`:
    the Unix socket of the HTTP front.
    """
    backend = Backend(methods, upstream)
    yield from Catalogue(backend, places).routes()
    yield from DeploymentRoutes(backend, places).routes()
    yield from DeviceRoutes(backend, places).routes()
    yield from NetworkRoutes(backend, places).routes()
    yield from StaticRouteRoutes(backend, places).routes()
    yield from BagRoutes(backend, places, Tickets(str(socket))).routes()
    yield from refusals.routes()
