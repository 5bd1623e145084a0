"""Writes static routes as the objects that the SDK reads. Pure."""

from __future__ import annotations

from claraedge.web.http.request import Request
from claraedge.web.rapyuta.values.words import USER, time_text
from claraedge.wire.claraedge.v1 import routes_pb2 as wire


def route(route: wire.Route, project: str, request: Request) -> dict[str, object]:
    """Returns a static route; its URL begins as that of `request`."""
    host = request.headers.get("host") or "localhost"
    created = time_text(route.created)
    return {
        "ID": route.id,
        "guid": route.id,
        "urlPrefix": route.prefix,
        "urlString": f"{request.scheme}://{host}{route.path}",
        "metadata": {},
        "projectGUID": project,
        "creator": USER,
        "CreatedAt": created,
        "UpdatedAt": created,
        "DeletedAt": None,
    }
