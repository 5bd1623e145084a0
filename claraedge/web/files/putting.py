"""`PUT` of one file, which is visible once all of it has arrived."""

from __future__ import annotations

from urllib.parse import quote

from claraedge.errors import (
    FileChangedError,
    InvalidFileNameError,
    InvalidPayloadIdError,
    InvalidRequestError,
    PayloadNotFoundError,
)
from claraedge.web.files.entities import tags
from claraedge.web.files.writing import written
from claraedge.web.http.failures import HttpError, excerpt, invalid, refused
from claraedge.web.http.headers import Headers
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.rpc.calls import Calls
from claraedge.web.rpc.codecs import json_text
from claraedge.web.v1.readable import printed
from claraedge.wire.claraedge.v1 import files_pb2 as wire

#: Failures that no file of the payload can change.
_OF_PAYLOAD = {
    InvalidPayloadIdError.name,
    PayloadNotFoundError.name,
    InvalidFileNameError.name,
}


class FileUploads:
    """Stores whole files."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def __call__(self, request: Request, reply: Reply) -> None:
        """Answers PUT: 201 with the new file, or 200 if it has replaced one."""
        if request.query:
            raise invalid(f"the PUT of {excerpt(request.path)} has a query; leave it out")
        _refuse_forms(request.headers)
        payload = request.parameters["payload_id"]
        head = wire.WriteFileRequest(payload_id=payload, name=request.parameters["name"])
        _set_condition(head, request.headers)
        if head.if_absent or head.if_etag or request.headers.get("expect") is not None:
            await self._refuse_early(head, request)
        answer = await written(self._calls, head, request, reply)
        file = answer.file
        await reply.whole(
            json_text(printed(file)) + b"\n",
            "application/json",
            status=200 if answer.replaced else 201,
            headers={"ETag": f'"{file.etag}"', "Location": path_of(payload, file.name)},
        )

    async def _refuse_early(self, head: wire.WriteFileRequest, request: Request) -> None:
        """Raises HttpError for a file that cannot be stored, before all of it was sent. Its
        conditions are compared again when it is stored.
        """
        stat = wire.StatFileRequest(payload_id=head.payload_id, name=head.name)
        try:
            found = await self._calls.early("Stat", stat, wire.FileInfo, request)
        except HttpError as failure:
            if failure.name in _OF_PAYLOAD:
                raise
            return  # the write says whether the file itself can be stored
        if found.name != head.name:
            return
        if head.if_absent or (head.if_etag and head.if_etag not in ("*", found.etag)):
            raise refused(
                FileChangedError(
                    f"the file {found.name!r} does not meet the condition of the request; ask for"
                    " it as it is now"
                )
            )


def path_of(payload: str, name: str) -> str:
    """Returns the path of a file."""
    return f"/v1/payloads/{quote(payload.strip())}/files/{quote(name)}"


def _refuse_forms(headers: Headers) -> None:
    """Raises HttpError for a body that is not the bytes of the whole file."""
    encoding = (headers.get("content-encoding") or "identity").lower()
    if encoding != "identity":
        raise refused(
            InvalidRequestError(
                f"the Content-Encoding is {excerpt(encoding)}; send the file as it is, or under a"
                " name that says how it is compressed"
            ),
            415,
            Accept_Encoding="identity",
        )
    part = headers.get("content-range")
    if part is not None:
        raise invalid(
            f"the request has Content-Range: {excerpt(part)}, and PUT stores whole files; continue"
            " an upload with PATCH in place of that (tus)"
        )
    if headers.content_type == "multipart/form-data":
        raise refused(
            InvalidRequestError(
                f"the body is a form ({headers.content_type}); send the bytes of the file alone, as"
                " `curl -T FILE` does"
            ),
            415,
        )


def _set_condition(head: wire.WriteFileRequest, headers: Headers) -> None:
    """Sets the conditions of a request. Raises HttpError for those that are not supported."""
    none, wanted = headers.get("if-none-match"), headers.get("if-match")
    if none is not None:
        if none.strip() != "*":
            raise _condition("If-None-Match", none)
        head.if_absent = True
    if wanted is not None:
        found = tags(wanted) or []
        if len(found) != 1 or "W/" in wanted or not found[0]:
            raise _condition("If-Match", wanted)
        head.if_etag = found[0]


def _condition(name: str, value: str) -> HttpError:
    return invalid(
        f"the condition {name} is {excerpt(value)}; PUT supports If-None-Match: * and If-Match with"
        " one ETag"
    )
