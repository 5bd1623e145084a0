"""The pages of the files of a job: what it was given, and what it has made."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any

from claraedge.errors import (
    FileNotFoundInPayloadError,
    PayloadNotFoundError,
    ResultsNotFoundError,
)
from claraedge.web.console.rendering import query_of, urlpath
from claraedge.web.console.results.excerpts import READ, Excerpt, excerpt_of, fitted, indented
from claraedge.web.console.results.kinds import HEAD, FileKind, kind_of
from claraedge.web.console.results.originals import original_of
from claraedge.web.console.results.reports import REPORT_HEADERS, ReportFilter
from claraedge.web.console.results.tables import ValueTable, table_of
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.failures import HttpError, refused
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import files_pb2
from claraedge.wire.nvidia.clara.platform import common_pb2, jobs_pb2

#: Files of a page, and folders of which the first page of a job shows files.
_FILES, _FOLDERS = 300, 40
#: Entries of a folder that are read to find the file before one, and inputs that are offered.
_NEIGHBOURS, _INPUTS = 20_000, 200
#: Bytes of a file that a browser can show without harm.
_LARGEST = {FileKind.IMAGE: 64 << 20, FileKind.REPORT: 32 << 20}
_INPUT, _OPERATORS = "input", "operators"


@dataclass(frozen=True, slots=True, kw_only=True)
class _JobFiles:
    """Where the files of a job are read."""

    job: jobs_pb2.JobsStatusResponse
    place: dict[str, str]
    """The field of the place in requests; empty if the job has no files."""

    @property
    def delivered(self) -> bool:
        """Whether these are the results in the outbox, since the payload is gone."""
        return "job_id" in self.place

    @property
    def root(self) -> str:
        """The path of the files in the API, with its last slash."""
        if self.delivered:
            return f"/v1/jobs/{urlpath(self.place['job_id'])}/results/"
        return f"/v1/payloads/{urlpath(self.place['payload_id'])}/files/"

    @property
    def pages(self) -> str:
        """The path of the pages of the files."""
        return f"/ui/jobs/{urlpath(self.job.job_id.value)}/files"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A folder with its first files."""

    folder: str
    operator: str
    """The operator that wrote it; empty for another folder."""
    files: list[files_pb2.FileInfo]
    more: str
    """The name of the last file, if more follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileView:
    """A file as a page shows it."""

    file: files_pb2.FileInfo
    kind: FileKind
    address: str
    """Its path in the API."""
    report: str
    """The path of a report that was made harmless."""
    excerpt: Excerpt | None = None
    table: ValueTable | None = None
    too_large: bool = False


class FilePages:
    """Lists the files of a job, and shows each of them."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/jobs/{job}/files", self._list)
        yield self._pages.get("/ui/jobs/{job}/files/{name=**}", self._show)
        yield self._pages.get("/ui/jobs/{job}/reports/{name=**}", self._report)

    async def _list(self, visit: Visit) -> None:
        found = await _files_of(visit)
        folder, after = visit.query.get("folder", ""), visit.query.get("after", "")
        sections: list[_Section] = []
        folders: list[str] = []
        if found.place and folder:
            sections = [await _section(visit, found, folder, _FILES, after)]
        elif found.place:
            sections, folders = await _overview(visit, found)
        await visit.show(
            "files.html",
            found=found,
            sections=sections,
            folder=folder,
            after=after,
            folders=folders,
        )

    async def _show(self, visit: Visit) -> None:
        found = await _files_of(visit)
        name = visit.request.parameters["name"]
        file = await _stat(visit, found, name)
        if file.folder:
            await visit.go(f"{found.pages}?{query_of({'folder': file.name})}")
            return
        inputs: list[str] = []
        other = ""
        if not found.delivered and not file.name.startswith(f"{_INPUT}/"):
            inputs = await _inputs(visit, found)
            other = visit.query.get("with", original_of(file.name, inputs))
        views = [await _view(visit, found, file)]
        if other:
            with _missing_is_none():
                views.append(await _view(visit, found, await _stat(visit, found, other)))
        before, after = await _neighbours(visit, found, file.name)
        await visit.show(
            "file.html", found=found, views=views, inputs=inputs, before=before, after=after
        )

    async def _report(self, visit: Visit) -> None:
        found = await _files_of(visit)
        file = await _stat(visit, found, visit.request.parameters["name"])
        filter_ = ReportFilter()
        parts = _read(visit, found, file, _LARGEST[FileKind.REPORT])
        async with contextlib.aclosing(parts):
            await visit.reply.begin("text/html; charset=utf-8", headers=REPORT_HEADERS)
            async for part in parts:
                await visit.reply.part(filter_.part(part))
        await visit.reply.end(filter_.part(b"", last=True))


# --- where the files are ----------------------------------------------------------------------


async def _files_of(visit: Visit) -> _JobFiles:
    id_ = visit.request.parameters["job"]
    job = await visit.ask(
        "nvidia.clara.platform.Jobs/Status",
        jobs_pb2.JobsStatusRequest(job_id=common_pb2.Identifier(value=id_)),
        jobs_pb2.JobsStatusResponse,
    )
    places = [{"payload_id": job.payload_id.value}, {"job_id": job.job_id.value}]
    for place in places:
        with _missing_is_none():
            await visit.ask(
                "claraedge.v1.Files/Stat",
                files_pb2.StatFileRequest(**place),
                files_pb2.FileInfo,
            )
            return _JobFiles(job=job, place=place)
    return _JobFiles(job=job, place={})


class _missing_is_none(contextlib.AbstractContextManager[None]):  # noqa: N801 - reads as a verb
    """Ends its block at the failure of something that does not exist, and hides that."""

    _NAMES = frozenset(
        {PayloadNotFoundError.name, ResultsNotFoundError.name, FileNotFoundInPayloadError.name}
    )

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> bool:
        return isinstance(error, HttpError) and error.name in self._NAMES


async def _stat(visit: Visit, found: _JobFiles, name: str) -> files_pb2.FileInfo:
    if not found.place:
        raise refused(
            ResultsNotFoundError(
                f"the job {found.job.job_id.value} has no files any more; run it again"
            )
        )
    request = files_pb2.StatFileRequest(**found.place, name=name)
    return await visit.ask("claraedge.v1.Files/Stat", request, files_pb2.FileInfo)


# --- lists --------------------------------------------------------------------------------------


async def _entries(
    visit: Visit, found: _JobFiles, folder: str, *, deep: bool, after: str = ""
) -> AsyncGenerator[files_pb2.FileInfo, None]:
    request = files_pb2.ListFilesRequest(**found.place, folder=folder, recursive=deep, after=after)
    answers = visit.daemon.each("claraedge.v1.Files/List", request, files_pb2.ListFilesResponse)
    async with contextlib.aclosing(answers):
        async for answer in answers:
            for file in answer.files:
                yield file


async def _first(
    visit: Visit, found: _JobFiles, folder: str, most: int, *, deep: bool, after: str = ""
) -> list[files_pb2.FileInfo]:
    files = []
    entries = _entries(visit, found, folder, deep=deep, after=after)
    async with contextlib.aclosing(entries):
        async for file in entries:
            files.append(file)
            if len(files) == most:
                break
    return files


async def _section(
    visit: Visit, found: _JobFiles, folder: str, most: int, after: str = ""
) -> _Section:
    files = await _first(visit, found, folder, most + 1, deep=True, after=after)
    parent, _, operator = folder.partition("/")
    return _Section(
        folder=folder,
        operator=operator.partition("/")[0] if parent == _OPERATORS else "",
        files=files[:most],
        more=files[most - 1].name if len(files) > most else "",
    )


async def _overview(visit: Visit, found: _JobFiles) -> tuple[list[_Section], list[str]]:
    """Returns the folders of a job with their first files, and those for which there is no room.

    What the last operators have made comes first, and what the job was given last.
    """
    top = await _first(visit, found, "", _FILES, deep=False)
    folders = [file.name for file in top if file.folder]
    if _OPERATORS in folders and not found.delivered:
        folders.remove(_OPERATORS)
        made = await _first(visit, found, _OPERATORS, _FILES, deep=False)
        order = {one.name: place for place, one in enumerate(found.job.operator_details)}
        names = sorted(
            (file.name for file in made),
            key=lambda name: (-order.get(name.rpartition("/")[2], -1), name),
        )
        folders = [*names, *(one for one in folders if one != _INPUT)] + [
            one for one in folders if one == _INPUT
        ]
    shown = folders[:_FOLDERS]
    most = max(5, _FILES // max(1, len(shown)))
    sections = [await _section(visit, found, folder, most) for folder in shown]
    loose = [file for file in top if not file.folder]
    if loose:
        sections.insert(0, _Section(folder="", operator="", files=loose, more=""))
    return [one for one in sections if one.files], folders[_FOLDERS:]


async def _inputs(visit: Visit, found: _JobFiles) -> list[str]:
    files = await _first(visit, found, _INPUT, _INPUTS, deep=True)
    return [file.name for file in files]


async def _neighbours(visit: Visit, found: _JobFiles, name: str) -> tuple[str, str]:
    """Returns the files before and after one in its folder; empty where there is none."""
    before, read = "", 0
    entries = _entries(visit, found, name.rpartition("/")[0], deep=False)
    async with contextlib.aclosing(entries):
        async for file in entries:
            read += 1
            if file.folder:
                continue
            if read > _NEIGHBOURS:
                return "", ""
            if file.name.encode() > name.encode():
                return before, file.name
            if file.name != name:
                before = file.name
    return before, ""


# --- content ------------------------------------------------------------------------------------


async def _read(
    visit: Visit, found: _JobFiles, file: files_pb2.FileInfo, most: int
) -> AsyncGenerator[bytes, None]:
    request = files_pb2.ReadFileRequest(
        **found.place, name=file.name, offset=0, limit=most, if_etag=file.etag
    )
    answers = visit.daemon.each("claraedge.v1.Files/Read", request, files_pb2.ReadFileResponse)
    async with contextlib.aclosing(answers):
        async for answer in answers:
            yield answer.data


async def _view(visit: Visit, found: _JobFiles, file: files_pb2.FileInfo) -> FileView:
    data = b"".join([part async for part in _read(visit, found, file, READ)]) if file.size else b""
    kind = kind_of(file.name, data[:HEAD])
    text, table = None, None
    if kind in (FileKind.TABLE, FileKind.JSON, FileKind.TEXT):
        text = excerpt_of(data, whole=len(data) >= file.size)
    if text is None and kind in (FileKind.TABLE, FileKind.JSON, FileKind.TEXT):
        kind = FileKind.OTHER
    if text is not None and kind is FileKind.TABLE:
        table = table_of(text)
    if text is not None and kind is FileKind.JSON:
        text = Excerpt(indented(text.text), text.encoding, text.whole)
    return FileView(
        file=file,
        kind=kind,
        address=f"{found.root}{urlpath(file.name)}",
        report=f"{found.pages.removesuffix('files')}reports/{urlpath(file.name)}",
        excerpt=None if text is None or table is not None else fitted(text),
        table=table,
        too_large=file.size > _LARGEST.get(kind, file.size),
    )
