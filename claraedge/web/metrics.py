"""Serves `/metrics`, for Prometheus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from claraedge.web.http.compression import accepts, send_text
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route

#: Returns the content type and the body; called with whether the client reads OpenMetrics.
Exposed: TypeAlias = Callable[[bool], Awaitable[tuple[str, bytes]]]


class MetricsPage:
    """The metrics of this device."""

    def __init__(self, exposed: Exposed) -> None:
        self._exposed = exposed

    def routes(self) -> Iterable[Route]:
        yield Route("GET", "/metrics", self._serve)

    async def _serve(self, request: Request, reply: Reply) -> None:
        openmetrics = accepts(request.headers.get("accept"), "application/openmetrics-text")
        kind, body = await self._exposed(openmetrics)
        await send_text(request, reply, body, kind, {})
