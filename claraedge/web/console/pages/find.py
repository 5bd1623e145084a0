"""Lists of jobs, and one search over jobs and items."""

from __future__ import annotations

import re
from collections.abc import Iterable

from claraedge.web.console.hits import chosen_of, find, page_links_of, rows_of, tabs_of
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import search_pb2

_STAGES = {
    "all": (),
    "waiting": (search_pb2.JOB_STAGE_UNSTARTED, search_pb2.JOB_STAGE_WAITING),
    "running": (search_pb2.JOB_STAGE_RUNNING,),
    "completed": (search_pb2.JOB_STAGE_COMPLETED,),
    "failed": (
        search_pb2.JOB_STAGE_FAILED,
        search_pb2.JOB_STAGE_EVICTED,
        search_pb2.JOB_STAGE_TERMINATED,
    ),
    "cancelled": (search_pb2.JOB_STAGE_CANCELED,),
}
_ROWS = 50
#: A beginning of an id that is no accident.
_ID = re.compile(r"[0-9a-f]{6,32}")


class FindPages:
    """Shows lists of jobs, and what a search found."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/jobs", self._jobs)
        yield self._pages.get("/ui/find", self._find)

    async def _jobs(self, visit: Visit) -> None:
        chosen = chosen_of(visit, _STAGES, "all")
        text = visit.query.get("q", "")
        found = await find(
            visit,
            text=text,
            kinds=[search_pb2.HIT_KIND_JOB],
            stages=_STAGES[chosen],
            limit=_ROWS,
            page_token=visit.query.get("page", ""),
        )
        await visit.show(
            "jobs.html",
            rows=rows_of(found),
            tabs=tabs_of(
                _STAGES,
                ((one.stage, one.count) for one in found.stages),
                chosen,
                "/ui/jobs",
                q=text,
            ),
            turns=page_links_of(found, "/ui/jobs", state=chosen, q=text),
            chosen=chosen,
            text=text,
        )

    async def _find(self, visit: Visit) -> None:
        text = visit.query.get("q", "").strip()
        token = visit.query.get("page", "")
        found = search_pb2.FindResponse()
        if text:
            found = await find(visit, text=text, limit=_ROWS, page_token=token)
        rows = rows_of(found)
        prefix = text.lower().replace("-", "")
        if _ID.fullmatch(prefix) and not token:
            named = [row for row in rows if row.hit.id.startswith(prefix)]
            if len(named) == 1 and (len(rows) == 1 or named[0].hit.id == prefix):
                await visit.go(named[0].link)
                return
        await visit.show(
            "find.html",
            rows=rows,
            turns=page_links_of(found, "/ui/find", q=text),
            text=text,
        )
