"""Serves `/login` and `/logout`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from functools import partial
from importlib.resources import files
from urllib.parse import parse_qsl

from claraedge.web.http.body import MessagePlace
from claraedge.web.http.failures import invalid
from claraedge.web.http.guard import Guard
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route

#: Bytes of a request to sign in.
_LIMIT = 4096
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_FILES = {
    "/login": ("login.html", "text/html; charset=utf-8"),
    "/login.css": ("login.css", "text/css; charset=utf-8"),
    "/login.js": ("login.js", "text/javascript; charset=utf-8"),
}
#: The page may load what this device serves, and send to it; nothing else, and no inline script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class LoginPages:
    """Exchanges the token for a cookie."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def routes(self) -> Iterable[Route]:
        """Yields the routes, which everybody may call."""
        for path, (name, kind) in _FILES.items():
            content = files(__package__).joinpath(name).read_bytes()
            yield Route("GET", path, partial(_file, content, kind), open=True)
        yield Route("POST", "/login", self._log_in, open=True)
        yield Route("POST", "/logout", self._log_out, open=True)

    async def _log_in(self, request: Request, reply: Reply) -> None:
        token = await _token_in(request)
        cookie = await self._guard.log_in(token.strip(), request)
        await _done(request, reply, cookie, _next_page(request))

    async def _log_out(self, request: Request, reply: Reply) -> None:
        cookie = await self._guard.log_out(request)
        await _done(request, reply, cookie, "/login")


async def _token_in(request: Request) -> str:
    kind = request.headers.content_type
    if kind not in (_JSON, _FORM):
        raise invalid('/login accepts a form, and application/json as {"token": "…"}', 415)
    with contextlib.closing(MessagePlace(asyncio.Semaphore(1))) as place:
        body = await request.body.whole(_LIMIT, place)
    try:
        read = json.loads(body) if kind == _JSON else dict(parse_qsl(body.decode("ascii")))
        token = read["token"]
    except (ValueError, TypeError, KeyError, RecursionError):
        token = None
    if not isinstance(token, str):
        raise invalid('the body is not of the form {"token": "…"}, and no form with a token')
    return token


def _next_page(request: Request) -> str:
    """Returns the page that a viewer asked for before; no address of another site."""
    target = dict(request.query).get("next", "/")
    is_path = target.startswith("/") and target[1:2] not in ("/", "\\")
    return target if is_path and target.isascii() and target.isprintable() else "/"


async def _done(request: Request, reply: Reply, cookie: str, target: str) -> None:
    """Answers a form with the page that comes next, and a program with an empty object."""
    if request.headers.content_type == _FORM:
        await reply.empty(303, {"Location": target, "Set-Cookie": cookie})
    else:
        await reply.whole(b"{}", _JSON, headers={"Set-Cookie": cookie})


async def _file(content: bytes, kind: str, _: Request, reply: Reply) -> None:
    await reply.whole(content, kind, headers={"Content-Security-Policy": _POLICY})
