"""The page of events, which come as they happen."""

from __future__ import annotations

from collections.abc import Iterable

from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.router import Route

#: Rows on the page; older ones leave it.
ROWS = 200


class EventPages:
    """Shows events."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the route."""
        yield self._pages.get("/ui/events", self._show)

    async def _show(self, visit: Visit) -> None:
        await visit.show("events.html", most=ROWS)
