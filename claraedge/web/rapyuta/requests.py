"""Reads the query, the ids and the body of a request of the SDK."""

from __future__ import annotations

import contextlib
import re
from asyncio import Semaphore
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from claraedge.decoding import decode_json
from claraedge.errors import (
    ClaraedgeError,
    DeploymentNotFoundError,
    NetworkNotFoundError,
    PackageNotFoundError,
    RouteNotFoundError,
)
from claraedge.web.http.body import MessagePlace
from claraedge.web.http.failures import excerpt, invalid, refused
from claraedge.web.http.request import Request
from claraedge.web.rpc.codecs import off_loop

T = TypeVar("T")

JSON = "application/json"
#: Bytes of the largest body. A manifest has half of them, and decoded JSON is much larger.
_LARGEST = 2 * 1024 * 1024


def query_fields(request: Request, *names: str) -> dict[str, list[str]]:
    """Returns the values of the fields of a query. Raises HttpError for a field with another name.

    A filter that is not known must not be ignored: more would be listed, or deleted, than is meant.
    """
    found: dict[str, list[str]] = {}
    for name, value in request.query:
        if name not in names:
            known = f"it has {', '.join(names)}" if names else "it has none"
            raise invalid(f"{excerpt(request.path)} has no field {excerpt(name)}; {known}")
        found.setdefault(name, []).append(value)
    return found


def one_of(values: Sequence[str], name: str) -> str:
    """Returns the only value of a field of a query. Raises HttpError if there is another number."""
    if len(values) != 1 or not values[0]:
        raise invalid(f"the query has {len(values)} values of {name}; send exactly one: {name}=ID")
    return values[0]


def package_id(text: str) -> str:
    """Returns the id of a package. Raises HttpError if it is none.

    gRPC accepts names and parts of ids as well, for people at a command line.
    """
    return _whole_id(text, "pkg", "a package", "get_all_packages lists", PackageNotFoundError)


def deployment_id(text: str) -> str:
    """Returns the id of a deployment. Raises HttpError if it is none; as `package_id`."""
    lists = "get_all_deployments lists"
    return _whole_id(text, "dep", "a deployment", lists, DeploymentNotFoundError)


def route_id(text: str) -> str:
    """Returns the id of a static route. Raises HttpError if it is none; as `package_id`."""
    lists = "get_all_static_routes lists"
    return _whole_id(text, "route", "a static route", lists, RouteNotFoundError)


def network_id(text: str) -> str:
    """Returns the id of a network. Raises HttpError if it is none; as `package_id`."""
    lists = "get_all_routed_networks and list_native_networks list"
    return _whole_id(text, "net", "a network", lists, NetworkNotFoundError)


def _whole_id(text: str, kind: str, noun: str, lists: str, error: type[ClaraedgeError]) -> str:
    if not re.fullmatch(f"{kind}-[a-z]{{24}}", text):
        message = f"no id of {noun}: {kind}- and 24 lower-case letters; {lists} the ids"
        raise refused(error(f"{excerpt(text)!r} is {message}"))
    return text


async def content(request: Request, place: MessagePlace) -> bytes:
    """Returns the body of a request that has JSON. Raises ClientGoneError, HttpError.

    `place`: of the request among those that keep a large body; close it when the body is not kept
    any more.
    """
    if request.headers.get("content-encoding") not in (None, "identity"):
        raise invalid("the body has a Content-Encoding; send it as it is", 415)
    kind = request.headers.content_type
    if kind != JSON:
        raise invalid(f"the Content-Type is {excerpt(kind) or 'missing'}; send {JSON}", 415)
    return await request.body.whole(_LARGEST, place)


async def json_of(request: Request, places: Semaphore, kind: type[T]) -> T:
    """Returns the JSON body of a request as a value of type `kind`.

    `places`: of requests that keep a large body at the same time; more of them wait. Raises
    ClientGoneError, HttpError.
    """
    with contextlib.closing(MessagePlace(places)) as place:
        body = await content(request, place)
        try:
            return await off_loop(len(body), decode_json, body, kind)
        except msgspec.MsgspecError as error:
            raise invalid(
                f"the body of {request.method} {excerpt(request.path)} is not what the SDK sends:"
                f" {error}; correct that place"
            ) from None
