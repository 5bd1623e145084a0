"""Uploads that can be continued, by the protocol tus 1.0 (tus.io/protocols/resumable-upload).

The core, and the extensions creation, creation-with-upload, checksum, expiration and termination.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Literal, TypeAlias

from claraedge.errors import (
    InvalidRequestError,
    NotSupportedError,
    UploadNotFoundError,
    UploadOffsetError,
    UploadSizeError,
)
from claraedge.web.files.putting import path_of
from claraedge.web.files.writing import written
from claraedge.web.http.failures import HttpError, excerpt, invalid, refused
from claraedge.web.http.headers import Headers
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.rpc.calls import Calls
from claraedge.wire.claraedge.v1 import files_pb2 as wire

_VERSION = {"Tus-Resumable": "1.0.0"}
_ABILITIES = {
    "Tus-Version": "1.0.0",
    "Tus-Extension": "creation,creation-with-upload,checksum,expiration,termination",
    "Tus-Checksum-Algorithm": "sha1,sha256,sha512,md5",
}
_BYTES = "application/offset+octet-stream"
#: Keys of the metadata that may have the name. Uppy sends `relativePath` for files of a dropped
#: folder, and the text `null` for others.
_NAMES = ("relativePath", "filename", "name")
#: Sizes are numbers of 63 bits.
_LIMIT = 2**63
_NUMBER = re.compile(r"[0-9]{1,100}")

Place: TypeAlias = Literal["payload_id", "drop_id"]
_ROOTS: Mapping[Place, str] = {"payload_id": "/v1/payloads", "drop_id": "/v1/drops"}

_Endpoint = Callable[[Request, Reply], Awaitable[None]]


class TusUploads:
    """Serves uploads into places of one kind: payloads or drops."""

    def __init__(self, calls: Calls, place: Place) -> None:
        """`place`: the field of the messages that has the id of a place."""
        self._calls = calls
        self._place = place
        self._methods: Mapping[str, _Endpoint] = {
            "HEAD": self._offset,
            "PATCH": self._continue,
            "DELETE": self._end,
        }

    async def options(self, request: Request, reply: Reply) -> None:
        """Answers OPTIONS: what this server can do."""
        await reply.empty(204, {**_VERSION, **_ABILITIES})

    async def create(self, request: Request, reply: Reply) -> None:
        """Answers POST to the uploads of a place: starts one, and may write its first bytes."""
        await _answered(self._create, request, reply)

    async def upload(self, request: Request, reply: Reply) -> None:
        """Answers HEAD, PATCH and DELETE of an upload, and POST where a client cannot send them."""
        method = request.method
        if method == "POST":
            method = request.headers.get("x-http-method-override") or method
        endpoint = self._methods.get(method.upper())
        if endpoint is None:
            raise invalid(
                f"an upload does not support {excerpt(method)}; it supports"
                f" {', '.join(self._methods)}",
                405,
                Allow=", ".join(self._methods),
            )
        await _answered(endpoint, request, reply)

    async def _create(self, request: Request, reply: Reply) -> None:
        headers = request.headers
        length = headers.get("upload-length")
        if length is None:
            raise invalid("the request has no Upload-Length; send the bytes of the whole file")
        size = _number("Upload-Length", length)
        if size >= _LIMIT:
            raise refused(
                UploadSizeError(
                    f"the Upload-Length is {size}, which no disk can store; send a smaller file"
                )
            )
        checksum = _checksum(headers)
        note = headers.get("upload-metadata") or ""
        has_bytes = headers.content_type == _BYTES
        started = wire.StartUploadRequest(name=_name(note), size=size, note=note)
        setattr(started, self._place, request.parameters[self._place])
        upload = await self._calls.early("StartUpload", started, wire.Upload, request)
        place = getattr(upload, self._place)
        answer = {"Location": f"{_ROOTS[self._place]}/{place}/uploads/{upload.id}"}
        if has_bytes or not size:
            response = await self._write(upload, 0, checksum, request, reply)
            answer |= _progress(upload, response)
        else:
            answer |= _expires(upload)
        await reply.whole(b"", "text/plain", status=201, headers={**_VERSION, **answer})

    async def _offset(self, request: Request, reply: Reply) -> None:
        upload = await self._find(request)
        headers = {**_VERSION, "Upload-Offset": str(upload.offset)}
        if upload.HasField("size"):
            headers["Upload-Length"] = str(upload.size)
        else:
            headers["Upload-Defer-Length"] = "1"
        if upload.note.isascii() and upload.note.isprintable():  # by gRPC it may be any text
            headers["Upload-Metadata"] = upload.note
        if not upload.finished:
            headers |= _expires(upload)
        await reply.empty(200, headers)

    async def _continue(self, request: Request, reply: Reply) -> None:
        if request.headers.content_type != _BYTES:
            raise refused(
                InvalidRequestError(
                    f"the Content-Type is {excerpt(request.headers.content_type) or 'missing'};"
                    f" bytes of an upload have {_BYTES}"
                ),
                415,
                Accept_Patch=_BYTES,
            )
        value = request.headers.get("upload-offset")
        if value is None:
            raise invalid("the request has no Upload-Offset; send that which HEAD returns")
        offset, checksum = _number("Upload-Offset", value), _checksum(request.headers)
        upload = await self._find(request)
        if not upload.HasField("size"):
            raise invalid(
                f"the upload {upload.id} was started without a size; continue it by gRPC, which"
                " says where it ends"
            )
        if offset > upload.size:
            raise refused(
                UploadOffsetError(
                    f"the upload {upload.id} is at the offset {upload.offset}, and not at {offset};"
                    f" continue at {upload.offset}"
                )
            )
        response = await self._write(upload, offset, checksum, request, reply)
        await reply.empty(204, {**_VERSION, **_progress(upload, response)})

    async def _end(self, request: Request, reply: Reply) -> None:
        upload = await self._find(request)
        message = wire.CancelUploadRequest(upload_id=upload.id)
        await self._calls.early("CancelUpload", message, wire.CancelUploadResponse, request)
        await reply.empty(204, _VERSION)

    async def _find(self, request: Request) -> wire.Upload:
        """Returns the upload of a request. Raises HttpError if it is not one into its place."""
        message = wire.GetUploadRequest(upload_id=request.parameters["upload_id"])
        upload = await self._calls.early("GetUpload", message, wire.Upload, request)
        place = request.parameters[self._place]
        if place.replace("-", "").lower() != getattr(upload, self._place):
            raise refused(
                UploadNotFoundError(
                    f"the upload {upload.id} is not one into {excerpt(place)}; use the Location"
                    " that its start returned"
                )
            )
        return upload

    async def _write(
        self,
        upload: wire.Upload,
        offset: int,
        checksum: wire.Checksum | None,
        request: Request,
        reply: Reply,
    ) -> wire.WriteFileResponse:
        """Appends the body; finishes the upload if it is whole. Raises HttpError."""
        head = wire.WriteFileRequest(upload_id=upload.id, offset=offset, checksum=checksum)
        return await written(self._calls, head, request, reply, left=upload.size - offset)


async def _answered(endpoint: _Endpoint, request: Request, reply: Reply) -> None:
    """Answers a request of the version that is known; each failure says the version as well.

    Raises HttpError.
    """
    try:
        version = request.headers.get("tus-resumable")
        if version != "1.0.0":
            raise refused(
                NotSupportedError(
                    f"the Tus-Resumable of the request is {excerpt(version or 'missing')}; send"
                    " 1.0.0, the version that is supported"
                ),
                412,
                Tus_Version="1.0.0",
            )
        await endpoint(request, reply)
    except HttpError as failure:
        failure.headers |= _VERSION
        raise


def _number(name: str, value: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise invalid(f"the {name} is {excerpt(value)}; it has to be a number of bytes")
    return int(value)


def _name(metadata: str) -> str:
    """Returns the name of the file in Upload-Metadata. Raises HttpError."""
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in metadata.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            if key in _NAMES:
                raise invalid(
                    f"the Upload-Metadata has the key {excerpt(key)}, whose value is not UTF-8 in"
                    " base64; encode it"
                ) from None
    for key in _NAMES:
        if found.get(key, "null") not in ("", "null"):
            return found[key]
    raise invalid(
        f"the Upload-Metadata {excerpt(metadata)!r} has no name of the file; add the key"
        " `filename`, with the name in base64"
    )


def _checksum(headers: Headers) -> wire.Checksum | None:
    """Returns the checksum of the body; None where the client sent none. Raises HttpError."""
    value = headers.get("upload-checksum")
    if value is None:
        return None
    algorithm, _, digest = value.partition(" ")
    try:
        return wire.Checksum(
            algorithm=algorithm.lower(), digest=base64.b64decode(digest, validate=True)
        )
    except (binascii.Error, ValueError):
        raise invalid(
            f"the Upload-Checksum is {excerpt(value)}; send an algorithm, a space, and the digest"
            " in base64"
        ) from None


def _expires(upload: wire.Upload) -> dict[str, str]:
    return {"Upload-Expires": formatdate(upload.expires.seconds, usegmt=True)}


def _progress(upload: wire.Upload, response: wire.WriteFileResponse) -> dict[str, str]:
    """Returns the headers of an upload after a write."""
    found = {"Upload-Offset": str(response.offset)}
    if not response.HasField("file"):
        return {**found, **_expires(upload)}
    file = response.file
    found["ETag"] = f'"{file.etag}"'
    if upload.payload_id:  # files of a drop are not read
        found["Content-Location"] = path_of(upload.payload_id, file.name)
    return found
