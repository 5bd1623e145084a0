"""Serves `/login` and `/logout`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from functools import partial
from importlib.resources import files

from claraedge.web.http.body import MessagePlace
from claraedge.web.http.failures import invalid
from claraedge.web.http.guard import Guard
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route

#: Bytes of a request to sign in.
_LIMIT = 1024
_FILES = {
    "/login": ("login.html", "text/html; charset=utf-8"),
    "/login.css": ("login.css", "text/css; charset=utf-8"),
    "/login.js": ("login.js", "text/javascript; charset=utf-8"),
}
#: The page may load what this device serves, and send to it; nothing else, and no inline script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
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
        if request.headers.content_type != "application/json":
            raise invalid('/login accepts application/json, as {"token": "…"}', 415)
        with contextlib.closing(MessagePlace(asyncio.Semaphore(1))) as place:
            body = await request.body.whole(_LIMIT, place)
        try:
            token = json.loads(body)["token"]
        except (ValueError, TypeError, KeyError, RecursionError):
            token = None
        if not isinstance(token, str):
            raise invalid('the body is not of the form {"token": "…"}')
        cookie = self._guard.log_in(token.strip(), request)
        await reply.whole(b"{}", "application/json", headers={"Set-Cookie": cookie})

    async def _log_out(self, request: Request, reply: Reply) -> None:
        cookie = self._guard.log_out(request)
        await reply.whole(b"{}", "application/json", headers={"Set-Cookie": cookie})


async def _file(content: bytes, kind: str, _: Request, reply: Reply) -> None:
    await reply.whole(content, kind, headers={"Content-Security-Policy": _POLICY})
