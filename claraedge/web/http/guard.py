"""Refuses requests that a web page makes through somebody's browser, and callers without the token.

A browser sends requests to this machine for any page that it shows. Two rules stop them. The host
of the request has to be a name of this device: a page whose name was changed to our address sends
its own. A request that may change something has to come from our own pages, or from no browser.

A caller over TCP shows the token of the device, or a cookie that a browser got for the token.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from claraedge.access.sessions import Sessions
from claraedge.access.token import Token, bearer
from claraedge.errors import ForeignRequestError, UnauthenticatedError
from claraedge.web.http.body import Scope
from claraedge.web.http.failures import excerpt, invalid, refused
from claraedge.web.http.headers import Headers
from claraedge.web.http.request import Request

_READS = frozenset({"GET", "HEAD"})


class Guard:
    """Decides which requests are served."""

    def __init__(self, hosts: Iterable[str] = (), token: Token | None = None) -> None:
        """`hosts`: names and addresses of this device, other than those that it knows.

        `token`: None if no listener needs one.
        """
        self._hosts = frozenset(_same(host) for host in hosts)
        self._token = token
        self._sessions = None if token is None else Sessions(token)

    def check_origin(self, scope: Scope, headers: Headers) -> None:
        """Raises HttpError for a request of a page of another site."""
        _check_length(headers)
        self._check_host(scope, headers)
        _check_origin(scope, headers)

    def check_caller(self, scope: Scope, headers: Headers) -> None:
        """Raises HttpError for a request without the token, or a cookie, where one is needed."""
        if not scope["state"]["needs_token"]:
            return
        shown = headers.get("authorization")
        if shown is None and self._is_signed_in(headers.get("cookie"), scope["scheme"]):
            return
        self._check_token(bearer(shown), caller_of(scope))

    async def log_in(self, token: str, request: Request) -> str:
        """Returns the cookie of a browser that shows the token. Raises HttpError if it is wrong."""
        self._check_token(token, request.caller)
        assert self._sessions is not None, "a token was compared"
        return _cookie(await self._sessions.begin(), request.scheme)

    async def log_out(self, request: Request) -> str:
        """Returns the cookie that removes that of a browser, which is not accepted any more."""
        if self._sessions is not None:
            await self._sessions.end(_values(request.headers.get("cookie"), request.scheme))
        return f"{_cookie('', request.scheme)}; Max-Age=0"

    def _check_token(self, shown: str | None, caller: str) -> None:
        try:
            if self._token is None:
                raise UnauthenticatedError(f"there is no token for {caller}; use the Unix socket")
            self._token.check(shown, caller)
        except UnauthenticatedError as error:
            raise refused(
                UnauthenticatedError(f"{error}; browsers sign in at /login"),
                WWW_Authenticate="Bearer",
            ) from None

    def _is_signed_in(self, cookies: str | None, scheme: str) -> bool:
        return self._sessions is not None and self._sessions.has(_values(cookies, scheme))

    def _check_host(self, scope: Scope, headers: Headers) -> None:
        value = headers.get("host")
        if value is None:  # no browser: they all send it
            return
        name = _same(_host(value))
        if name in self._hosts or _is_loopback(name):
            return
        if scope["state"]["is_tcp"] and name == _same(scope["server"][0]):
            return
        raise refused(
            ForeignRequestError(
                f"the Host of the request, '{excerpt(name)}', is no name of this device; use"
                " localhost, or its address, or add the name to `[http] hosts`"
            ),
            421,
        )


def caller_of(scope: Scope) -> str:
    """Returns the address of a client, for logs; empty for one of the Unix socket."""
    client = scope.get("client")
    return f"{client[0]} (port {client[1]})" if client else ""


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
    """Returns the name in a Host header without its port."""
    if value.startswith("["):
        name, closed, port = value[1:].partition("]")
        return name if closed and (not port or port.startswith(":")) else value
    return value.partition(":")[0]


def _same(host: str) -> str:
    """Returns a name or an address in the form in which all are compared."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _cookie_name(scheme: str) -> str:
    """A browser accepts a cookie of the prefix `__Host-` over TLS only, from this host itself."""
    return "__Host-claraedge" if scheme == "https" else "claraedge"


def _cookie(value: str, scheme: str) -> str:
    text = f"{_cookie_name(scheme)}={value}; Path=/; HttpOnly; SameSite=Strict"
    return f"{text}; Secure" if scheme == "https" else text


def _values(cookies: str | None, scheme: str) -> Iterable[str]:
    """Yields the values of our cookie; other programs of the host may have set some as well."""
    for pair in (cookies or "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == _cookie_name(scheme):
            yield value
