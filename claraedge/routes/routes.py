"""Creates, lists, finds and deletes static routes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from claraedge.clock import Clock
from claraedge.packages.ids import NewKindId
from claraedge.routes import records
from claraedge.routes.model import StaticRoute, check_prefix
from claraedge.store.database import Database

_log = logging.getLogger(__name__)


class StaticRoutes:
    """The static routes of this device.

    A call also raises what `Database.read` and `Database.write` raise.
    """

    def __init__(self, database: Database, clock: Clock, new_id: NewKindId) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id

    async def create(self, prefix: str) -> StaticRoute:
        """Creates a route that leads nowhere yet.

        Raises InvalidRouteError, RouteExistsError, RouteLimitError.
        """
        check_prefix(prefix)
        route = StaticRoute(id=self._new_id("route"), prefix=prefix, created=self._clock.now())
        await self._database.write(lambda tx: records.add(tx, route))
        _log.info("route created", extra={"route": route.id, "prefix": prefix})
        return route

    async def list(self) -> Sequence[StaticRoute]:
        """Returns all routes in the order of their creation."""
        return await self._database.read(records.listed)

    async def get(self, text: str) -> StaticRoute:
        """Returns a route by its id or prefix. Raises RouteNotFoundError."""
        return await self._database.read(lambda tx: records.find(tx, text))

    async def delete(self, text: str) -> StaticRoute:
        """Deletes a route; returns it. Raises RouteNotFoundError, RouteInUseError."""
        route = await self._database.write(lambda tx: records.delete(tx, text))
        _log.info("route deleted", extra={"route": route.id, "prefix": route.prefix})
        return route
