"""Serves the catalogue of packages."""

from __future__ import annotations

import contextlib
from asyncio import Semaphore
from collections.abc import Iterable

from claraedge.web.http.body import MessagePlace
from claraedge.web.http.failures import invalid
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.rapyuta.backend import Backend
from claraedge.web.rapyuta.refusals import DISKS, refusal
from claraedge.web.rapyuta.requests import content, one_of, package_id, query_fields
from claraedge.web.rapyuta.values import packages as objects
from claraedge.wire.claraedge.v1 import packages_pb2 as wire

_ID = "package_uid"
#: The package of rapyuta.io by which the SDK makes disks.
_DISK_PACKAGE = "io-public-persistent-volume"


class Catalogue:
    """Creates, lists, shows and deletes packages."""

    def __init__(self, backend: Backend, places: Semaphore) -> None:
        self._backend = backend
        self._places = places

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield Route("POST", "/serviceclass/add", self._add)
        yield Route("GET", "/serviceclass/status", self._status)
        yield Route("DELETE", "/serviceclass/delete", self._delete)
        yield Route("GET", "/v2/catalog", self._list)

    async def _add(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        with contextlib.closing(MessagePlace(self._places)) as place:
            body = await content(request, place)
            try:
                message = wire.CreatePackageRequest(manifest=body.decode())
            except UnicodeDecodeError:
                raise invalid("the manifest is not UTF-8; save it as UTF-8") from None
            package = await call.packages("Create", message, wire.Package)
        await call.answer(objects.created(package))

    async def _list(self, request: Request, reply: Reply) -> None:
        query_fields(request)
        call = self._backend.for_request(request, reply)
        found = await call.packages("List", wire.ListPackagesRequest(), wire.ListPackagesResponse)
        project = (await call.device()).project
        await call.answer(objects.catalogue(found.packages, project))

    async def _status(self, request: Request, reply: Reply) -> None:
        id_ = _package_in(request)
        call = self._backend.for_request(request, reply)
        package = await call.package(id_)
        await call.answer(objects.whole(package, (await call.device()).project))

    async def _delete(self, request: Request, reply: Reply) -> None:
        id_ = _package_in(request)
        call = self._backend.for_request(request, reply)
        package = await call.packages(
            "Delete", wire.DeletePackageRequest(package=id_), wire.Package
        )
        await call.answer({"packageId": package.id})


def _package_in(request: Request) -> str:
    id_ = one_of(query_fields(request, _ID).get(_ID, []), _ID)
    if id_ == _DISK_PACKAGE:
        raise refusal(DISKS)
    return package_id(id_)
