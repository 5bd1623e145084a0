"""Sends the body of a request to `Files.Write`."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from claraedge.errors import UploadSizeError
from claraedge.web.http.failures import refused
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.rpc.calls import Calls
from claraedge.wire.claraedge.v1 import files_pb2 as wire


async def written(
    calls: Calls,
    head: wire.WriteFileRequest,
    request: Request,
    reply: Reply,
    *,
    left: int | None = None,
) -> wire.WriteFileResponse:
    """Writes the body; returns the answer. A body that is cut off does not finish the file.

    `head`: the first message. `left`: bytes until the end of an upload, of which the body may be a
    part; None: it is the whole file. Raises HttpError, ClientGoneError.
    """

    async def messages() -> AsyncGenerator[bytes, None]:
        yield head.SerializeToString()
        size = 0
        async for part in request.body.parts():
            size += len(part)
            if left is not None and size > left:
                raise refused(
                    UploadSizeError(
                        f"more than the {left} bytes came that the upload {head.upload_id} still"
                        " needs; start one with the size of the file"
                    )
                )
            if part:
                yield wire.WriteFileRequest(data=part).SerializeToString()
                del part
        yield wire.WriteFileRequest(finish=left in (None, size)).SerializeToString()

    answer = await calls.of("Write", request, reply).one(messages())
    return wire.WriteFileResponse.FromString(answer)
