"""Static routes as values. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from claraedge.errors import InvalidRouteError

#: Source: rapyuta.io, static routes.
_PREFIX = re.compile(r"[a-z][a-z0-9-]{3,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTarget:
    """The endpoint that a route leads to."""

    deployment: str
    """Id of the deployment."""
    deployment_name: str
    component: str
    """Id of the component in the package."""
    component_name: str
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticRoute:
    """A static route."""

    id: str
    prefix: str
    created: float
    """Unix seconds."""
    target: RouteTarget | None = None
    """None: no deployment uses it."""

    @property
    def path(self) -> str:
        """Its path on the HTTP front."""
        return path_of(self.prefix)


def path_of(prefix: str) -> str:
    """Returns the path of a route on the HTTP front."""
    return f"/routes/{prefix}/"


def check_prefix(prefix: str) -> None:
    """Raises InvalidRouteError if a prefix has another form than those of routes."""
    if not _PREFIX.fullmatch(prefix):
        raise InvalidRouteError(
            f"prefix: {prefix[:80]!r} is no prefix of a route; give 4 to 64 lower-case letters,"
            " digits and hyphens, a letter first"
        )
