"""The paths of files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from claraedge.errors import (
    FileChangedError,
    FileRangeError,
    UploadChecksumError,
    UploadSizeError,
)
from claraedge.web.files.calls import Calls
from claraedge.web.files.putting import FileUploads
from claraedge.web.files.reading import FileDownloads
from claraedge.web.files.tus import TusUploads
from claraedge.web.http.failures import HttpError
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Endpoint, Request
from claraedge.web.http.router import Route
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream

_PAYLOAD = "/v1/payloads/{payload_id}"
#: HTTP has statuses for some failures of files; the others have those of their gRPC status. 460 is
#: that of tus.
_STATUS = {
    FileChangedError.name: 412,
    FileRangeError.name: 416,
    UploadSizeError.name: 413,
    UploadChecksumError.name: 460,
}


def routes_of(methods: Mapping[str, Method], upstream: Upstream) -> Iterable[Route]:
    """Yields the routes of files and uploads."""
    calls = Calls(methods, upstream)
    reading, tus = _with_statuses(FileDownloads(calls)), TusUploads(calls)
    file, uploads = f"{_PAYLOAD}/files/{{name=**}}", f"{_PAYLOAD}/uploads"
    for root in (f"{_PAYLOAD}/files", "/v1/models/{model_id}/files", "/v1/jobs/{job_id}/results"):
        yield Route("GET", f"{root}/{{name=**}}", reading)
        yield Route("GET", f"{root}/", reading)
    yield Route("PUT", file, _with_statuses(FileUploads(calls)))
    yield Route("OPTIONS", uploads, tus.options)
    yield Route("POST", uploads, _with_statuses(tus.create))
    yield Route("OPTIONS", f"{uploads}/{{upload_id}}", tus.options)
    for method in ("HEAD", "PATCH", "DELETE", "POST"):
        yield Route(method, f"{uploads}/{{upload_id}}", _with_statuses(tus.upload))


def _with_statuses(endpoint: Endpoint) -> Endpoint:
    async def serve(request: Request, reply: Reply) -> None:
        try:
            await endpoint(request, reply)
        except HttpError as failure:
            failure.status = _STATUS.get(failure.name, failure.status)
            raise

    return serve
