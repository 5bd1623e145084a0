"""Refuses requests that a web page or another site makes through somebody's browser.

A browser sends requests to this machine for any page that it shows. Two rules stop them. The host
of the request has to be a name of this device: a page whose name was changed to our address sends
its own. A request that may change something has to come from our own pages, or from no browser.
"""

from __future__ import annotations

import ipaddress

from claraedge.errors import ForeignRequestError
from claraedge.web.http.body import Scope
from claraedge.web.http.failures import invalid, refused
from claraedge.web.http.headers import Headers

_READS = frozenset({"GET", "HEAD"})


def check(scope: Scope, headers: Headers) -> None:
    """Raises HttpError for a request that is refused."""
    _check_length(headers)
    _check_host(headers)
    _check_origin(scope, headers)


def _check_host(headers: Headers) -> None:
    name = _host(headers.get("host") or "")
    if not _is_loopback(name):
        raise refused(
            ForeignRequestError(
                f"the Host of the request, {name[:100]!r}, is no name of this device; use localhost"
            ),
            421,
        )


def _check_origin(scope: Scope, headers: Headers) -> None:
    if scope["method"] in _READS:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        own = site in ("same-origin", "none")
    else:
        own = origin is None or origin == f"{scope['scheme']}://{headers.get('host')}"
    if not own:
        raise refused(
            ForeignRequestError(
                "the request comes from a page of another site, and may change something; only"
                " pages of this device, and programs, may send it"
            ),
            403,
        )


def _check_length(headers: Headers) -> None:
    """Refuses a request with two lengths: a proxy before us may have read the other one."""
    if headers.get("content-length") is not None and headers.get("transfer-encoding") is not None:
        raise invalid(
            "the request has both Content-Length and Transfer-Encoding; send one of them",
            400,
            Connection="close",
        )


def _host(value: str) -> str:
    """Returns the name in a Host header, in lower case, without its port."""
    if value.startswith("["):
        name, closed, port = value[1:].partition("]")
        return name.lower() if closed and (not port or port.startswith(":")) else value
    return value.partition(":")[0].lower()


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
