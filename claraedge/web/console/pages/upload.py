"""The page that sends files: into a trigger's folder, or to a new job of a pipeline."""

from __future__ import annotations

from collections.abc import Iterable

from claraedge.web.console.pages.pipelines import MOST, listed
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import appliance_pb2

#: Groupings whose items are single files or folders, so that their number is known before.
_SINGLE = ("entry", "file", "folder")
#: Folders on the page.
_FOLDERS = 100


class UploadPages:
    """Shows where files can be sent; `upload.js` sends them."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the route."""
        yield self._pages.get("/ui/upload", self._show)

    async def _show(self, visit: Visit) -> None:
        answer = await visit.ask(
            "claraedge.v1.Inbox/ListTriggers",
            appliance_pb2.ListTriggersRequest(),
            appliance_pb2.ListTriggersResponse,
        )
        pipelines = await listed(visit)
        usable = [one.folder for one in answer.triggers if not one.refused and not one.problem]
        wanted = visit.query.get("folder", "")
        await visit.show(
            "upload.html",
            triggers=answer.triggers[:_FOLDERS],
            more_folders=len(answer.triggers) > _FOLDERS,
            more=len(pipelines) > MOST,
            chosen=wanted if wanted in usable else next(iter(usable), ""),
            single=_SINGLE,
            pipelines=pipelines[:MOST],
        )
