"""The page that sends files: into a trigger's folder, or to a new job of a pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable

from claraedge.errors import FileNotTakenError
from claraedge.web.console.forms import Outcome, SentFile
from claraedge.web.console.pages.pipelines import MOST, listed
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.failures import HttpError
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import appliance_pb2, drops_pb2, files_pb2

#: Groupings whose items are single files or folders, so that their number is known before.
_SINGLE = ("entry", "file", "folder")
#: Folders on the page.
_FOLDERS = 100
#: Characters of the name of a file in a message.
_NAME = 80


class UploadPages:
    """Shows where files can be sent. `upload.js` sends them; without scripts the form does."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/upload", self._show)
        yield self._pages.receive("/ui/upload", self._send)

    async def _show(self, visit: Visit, problem: str = "") -> None:
        answer = await visit.ask(
            "claraedge.v1.Inbox/ListTriggers",
            appliance_pb2.ListTriggersRequest(),
            appliance_pb2.ListTriggersResponse,
        )
        pipelines = await listed(visit)
        usable = [one.folder for one in answer.triggers if not one.refused and not one.problem]
        wanted = visit.field("folder") or visit.query.get("folder", "")
        await visit.show(
            "upload.html",
            problem=problem,
            triggers=answer.triggers[:_FOLDERS],
            more_folders=len(answer.triggers) > _FOLDERS,
            more=len(pipelines) > MOST,
            chosen=wanted if wanted in usable else next(iter(usable), ""),
            single=_SINGLE,
            pipelines=pipelines[:MOST],
        )

    async def _send(self, visit: Visit) -> Outcome | None:
        """Makes all files of a form appear in a folder, or none of them."""
        if visit.sent is None or not visit.sent.has_files:
            return Outcome("/ui/upload", "none_chosen")
        try:
            return await _dropped(visit)
        except HttpError as error:
            if error.status >= 500:
                raise
            await visit.sent.skip()
            await self._show(visit, str(error))
            return None


async def _dropped(visit: Visit) -> Outcome:
    """Drops all files of a form, or none of them. Raises HttpError, ClientGoneError."""
    drop = await visit.ask(
        "claraedge.v1.Drops/Start",
        drops_pb2.StartDropRequest(folder=visit.field("folder")),
        drops_pb2.Drop,
    )
    try:
        left, first = await _fill(visit, drop.id)
        drop = await visit.ask(
            "claraedge.v1.Drops/Finish",
            drops_pb2.FinishDropRequest(drop_id=drop.id),
            drops_pb2.Drop,
        )
    except Exception:
        with contextlib.suppress(HttpError):  # it ends after a day by itself
            await visit.ask(
                "claraedge.v1.Drops/Cancel",
                drops_pb2.CancelDropRequest(drop_id=drop.id),
                drops_pb2.CancelDropResponse,
            )
        raise
    if left:
        fields = {"count": drop.files, "left": left, "name": first[:_NAME]}
        return Outcome("/ui/inbox", "dropped_some", fields)
    return Outcome("/ui/inbox", "dropped", {"count": drop.files})


async def _fill(visit: Visit, drop: str) -> tuple[int, str]:
    """Sends the files of a form into a drop. Raises HttpError, ClientGoneError.

    Returns the number of files that the trigger never accepts, and the name of the first of them.
    """
    assert visit.sent is not None, "the form has files"
    together = visit.field("together").strip().replace("/", "_")
    left, first, refusal, taken = 0, "", None, False
    async for file in visit.sent.files():
        name = f"{together}/{file.name}" if together and "/" not in file.name else file.name
        try:
            upload = await visit.ask(
                "claraedge.v1.Files/StartUpload",
                files_pb2.StartUploadRequest(drop_id=drop, name=name),
                files_pb2.Upload,
            )
        except HttpError as error:
            if error.name != FileNotTakenError.name:
                raise
            left, first, refusal = left + 1, first or name, refusal or error
            continue
        taken = True
        head = files_pb2.WriteFileRequest(upload_id=upload.id)
        answer = files_pb2.WriteFileResponse
        await visit.send("claraedge.v1.Files/Write", written(head, file), answer)
    if refusal is not None and not taken:
        raise refusal
    return left, first


async def written(head: files_pb2.WriteFileRequest, file: SentFile) -> AsyncGenerator[bytes, None]:
    """Yields the messages of `Files.Write` that write a whole file. Raises HttpError,
    ClientGoneError.

    `head`: the first message.
    """
    yield head.SerializeToString()
    async for part in file.parts():
        yield files_pb2.WriteFileRequest(data=part).SerializeToString()
    yield files_pb2.WriteFileRequest(finish=True).SerializeToString()
