"""The ASGI application: checks a request, finds its endpoint, and answers each failure."""

from __future__ import annotations

import contextlib
from urllib.parse import parse_qsl

from claraedge.web.http import guard
from claraedge.web.http.body import Body, ClientGoneError, Receive, Scope, Send
from claraedge.web.http.failures import failure_of, invalid
from claraedge.web.http.headers import Headers
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Router

#: The most fields of a query.
_FIELDS = 1000


class HttpApplication:
    """Serves the routes of a router."""

    def __init__(self, router: Router, *, idle: float) -> None:
        """`idle`: seconds to wait for a client."""
        self._router = router
        self._idle = idle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = Reply(scope, send, self._idle)
        with contextlib.suppress(ClientGoneError):
            try:
                await self._answer(scope, Body(receive, self._idle), reply)
            except ClientGoneError:
                raise
            except Exception as error:  # noqa: BLE001 - a bug fails one request
                failure = failure_of(error, scope["path"])
                if not reply.begun:
                    reply.hurry()
                    await reply.fail(failure)
                else:
                    reply.cut()

    async def _answer(self, scope: Scope, body: Body, reply: Reply) -> None:
        headers = Headers(scope)
        guard.check(scope, headers)
        path = scope["raw_path"].decode("ascii", "backslashreplace")
        endpoint, parameters = self._router.find(scope["method"], path)
        request = Request(
            method=scope["method"],
            path=path,
            parameters=parameters,
            query=_query(scope["query_string"]),
            headers=headers,
            body=body,
            http_version=scope["http_version"],
        )
        await endpoint(request, reply)


def _query(text: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            text.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_FIELDS,
        )
    except ValueError:
        raise invalid(
            f"the query of the request is not UTF-8 with percent-encoding, or has more than"
            f" {_FIELDS} fields"
        ) from None
