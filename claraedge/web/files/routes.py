"""The paths of files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from claraedge.web.files.putting import FileUploads
from claraedge.web.files.reading import FileDownloads
from claraedge.web.files.tus import TusUploads
from claraedge.web.http.router import Route
from claraedge.web.rpc.calls import Calls
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream
from claraedge.wire.claraedge.v1 import files_pb2

_SERVICE = files_pb2.DESCRIPTOR.services_by_name["Files"].full_name
_PAYLOAD = "/v1/payloads/{payload_id}"


def routes_of(methods: Mapping[str, Method], upstream: Upstream) -> Iterable[Route]:
    """Yields the routes of files and uploads."""
    calls = Calls(_SERVICE, methods, upstream)
    reading = FileDownloads(calls)
    for root in (f"{_PAYLOAD}/files", "/v1/models/{model_id}/files", "/v1/jobs/{job_id}/results"):
        yield Route("GET", f"{root}/{{name=**}}", reading)
        yield Route("GET", f"{root}/", reading)
    yield Route("PUT", f"{_PAYLOAD}/files/{{name=**}}", FileUploads(calls))
    yield from _uploads(f"{_PAYLOAD}/uploads", TusUploads(calls, "payload_id"))
    yield from _uploads("/v1/drops/{drop_id}/uploads", TusUploads(calls, "drop_id"))


def _uploads(uploads: str, tus: TusUploads) -> Iterable[Route]:
    yield Route("OPTIONS", uploads, tus.options)
    yield Route("POST", uploads, tus.create)
    yield Route("OPTIONS", f"{uploads}/{{upload_id}}", tus.options)
    for method in ("HEAD", "PATCH", "DELETE", "POST"):
        yield Route(method, f"{uploads}/{{upload_id}}", tus.upload)
