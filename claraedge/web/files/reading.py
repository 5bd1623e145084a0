"""`GET` and `HEAD` of files and folders."""

from __future__ import annotations

from collections.abc import Sequence

from claraedge.web.files.entities import headers_of, is_unchanged, part_of, zip_headers
from claraedge.web.files.zips import ZipWriter
from claraedge.web.http.failures import HttpError, excerpt, invalid
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.rpc.calls import Calls
from claraedge.web.rpc.codecs import json_text, off_loop
from claraedge.web.rpc.exchange import once
from claraedge.web.rpc.upstream import UpstreamCall
from claraedge.web.v1.readable import printed
from claraedge.wire.claraedge.v1 import files_pb2 as wire

#: Attempts to read a file that uploads may replace at the same time.
_TRIES = 5
_CHANGED = "file-changed"
#: Files of an archive that are listed at once: each list reads its folders again, and a call that
#: stays open while large files are sent would be ended.
_AT_ONCE = 4000
_OPTIONS = ("zip", "recursive", "download")


class FileDownloads:
    """Serves files and folders."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def __call__(self, request: Request, reply: Reply) -> None:
        """Answers GET and HEAD of a file or folder."""
        options = _options(request)
        for left in reversed(range(_TRIES)):
            info = await self._calls.one("Stat", _stat(request), wire.FileInfo, request, reply)
            if info.folder:
                await self._folder(info.name, options, request, reply)
                return
            if "zip" in options or "recursive" in options:
                raise invalid(f"{excerpt(request.path)} is a file; leave out ?zip and ?recursive")
            try:
                await self._file(info, "download" in options, request, reply)
            except HttpError as failure:
                again = left and not reply.begun and request.headers.get("if-match") is None
                if failure.name == _CHANGED and again:
                    continue
                raise
            return

    async def _file(self, info: wire.FileInfo, save: bool, request: Request, reply: Reply) -> None:
        headers = headers_of(info, save=save)
        kind = headers.pop("Content-Type")
        if is_unchanged(request.headers, info):
            await reply.empty(304, headers)
            return
        head = request.method == "HEAD"
        part = None if head else part_of(request.headers, info)
        offset, size = (0, info.size) if part is None else (part.offset, part.size)
        headers["Content-Length"] = str(size)
        if part is not None:
            headers["Content-Range"] = f"bytes {offset}-{offset + size - 1}/{info.size}"
        status = 200 if part is None else 206
        if head or not size:
            await reply.begin(kind, status=status, headers=headers)
            await reply.end()
            return

        async def send(call: UpstreamCall) -> None:
            answer = await call.read()
            await reply.begin(kind, status=status, headers=headers)
            while answer is not None:
                await reply.part(wire.ReadFileResponse.FromString(answer).data)
                answer = await call.read()
            await reply.end()

        message = wire.ReadFileRequest(
            **_place(request),
            name=info.name,
            offset=offset,
            limit=size,
            if_etag=info.etag,
        )
        exchange = self._calls.of("Read", request, reply)
        await exchange.run(once(request, message), send)

    # --- folders ------------------------------------------------------------------------------

    async def _folder(
        self, folder: str, options: frozenset[str], request: Request, reply: Reply
    ) -> None:
        request.refuse_old()
        if "zip" in options:
            name = folder.rpartition("/")[2] or next(iter(_place(request).values()))
            headers = zip_headers(name)
            await reply.begin(headers.pop("Content-Type"), headers=headers)
            if request.method != "HEAD":
                await self._zip(folder, request, reply)
        else:
            await reply.begin("application/json")
            if request.method != "HEAD":
                await self._list(folder, "recursive" in options, request, reply)
        await reply.end()

    async def _list(self, folder: str, deep: bool, request: Request, reply: Reply) -> None:
        async def send(call: UpstreamCall) -> None:
            separator = b"[\n"
            while (answer := await call.read()) is not None:
                await reply.part(separator + await off_loop(len(answer), _lines, answer))
                separator = b",\n"
            await reply.part(b"[]\n" if separator == b"[\n" else b"\n]\n")

        message = _list(request, folder, recursive=deep)
        await self._calls.of("List", request, reply).run(once(request, message), send)

    async def _zip(self, folder: str, request: Request, reply: Reply) -> None:
        """Sends all files below a folder. A failure leaves the archive without its end."""
        archive, start = ZipWriter(), len(folder) + 1 if folder else 0

        async def page(call: UpstreamCall) -> Sequence[wire.FileInfo]:
            found: list[wire.FileInfo] = []
            while len(found) < _AT_ONCE and (answer := await call.read()) is not None:
                found += wire.ListFilesResponse.FromString(answer).files
            return found

        async def send(call: UpstreamCall) -> None:
            while (answer := await call.read()) is not None:
                await reply.part(archive.data(wire.ReadFileResponse.FromString(answer).data))

        after = ""
        while True:
            message = _list(request, folder, recursive=True, after=after)
            found = await self._calls.of("List", request, reply).run(once(request, message), page)
            if not found:
                break
            for file in found:
                after = file.name
                await reply.part(archive.begin(file.name[start:], file.size, file.mode))
                read = wire.ReadFileRequest(
                    **_place(request),
                    name=file.name,
                    offset=0,
                    limit=0,
                    if_etag=file.etag,
                )
                exchange = self._calls.of("Read", request, reply)
                await exchange.run(once(request, read), send)
                await reply.part(archive.end())
        for part in archive.finish():
            await reply.part(part)


def _options(request: Request) -> frozenset[str]:
    """Returns the names in the query. Raises HttpError for one that is not known."""
    for name, value in request.query:
        if name not in _OPTIONS or value not in ("", "true"):
            raise invalid(
                f"the query has {excerpt(name)}={excerpt(value)}; a folder has ?zip and"
                " ?recursive, and a file ?download"
            )
    return frozenset(name for name, _ in request.query)


def _place(request: Request) -> dict[str, str]:
    """Returns the field of the place."""
    return {name: value for name, value in request.parameters.items() if name != "name"}


def _stat(request: Request) -> wire.StatFileRequest:
    name = request.parameters.get("name", "")
    return wire.StatFileRequest(**_place(request), name=name)


def _list(
    request: Request, folder: str, *, recursive: bool, after: str = ""
) -> wire.ListFilesRequest:
    return wire.ListFilesRequest(
        **_place(request),
        folder=folder,
        recursive=recursive,
        after=after,
    )


def _lines(answer: bytes) -> bytes:
    """Returns the files of an answer as JSON, a line each."""
    files = wire.ListFilesResponse.FromString(answer).files
    return b",\n".join(json_text(printed(file)) for file in files)
