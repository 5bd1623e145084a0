"""The ASGI application: checks a request, finds its endpoint, and answers each failure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qsl

from claraedge.web.http.body import Body, ClientGoneError, Receive, Scope, Send
from claraedge.web.http.failures import FailureForm, HttpError, failure_of, invalid
from claraedge.web.http.guard import Guard, caller_of
from claraedge.web.http.headers import Headers
from claraedge.web.http.protocol import HEADER_BYTES
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Router

#: The most fields of a query.
_FIELDS = 1000


class HttpApplication:
    """Serves the routes of a router."""

    def __init__(
        self, router: Router, guard: Guard, *, idle: float, form_of: Callable[[Scope], FailureForm]
    ) -> None:
        """`idle`: seconds to wait for a client. `form_of`: the form of a request's failure."""
        self._router = router
        self._guard = guard
        self._idle = idle
        self._form_of = form_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = Reply(scope, send, self._idle, self._form_of(scope))
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
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
            raise invalid(f"the headers have more than {HEADER_BYTES} bytes; send fewer", 431)
        self._guard.check_origin(scope, headers)
        path = scope["raw_path"].decode("ascii", "backslashreplace")
        check_caller = partial(self._guard.check_caller, scope, headers)
        try:
            route, parameters = self._router.find(scope["method"], path)
        except HttpError:  # others learn nothing of the paths
            check_caller()
            raise
        if not route.open:
            check_caller()
            reply.check_caller = check_caller
        request = Request(
            method=scope["method"],
            path=path,
            parameters=parameters,
            query=_query(scope["query_string"]),
            raw_query=scope["query_string"].decode("ascii", "replace"),
            headers=headers,
            body=body,
            http_version=scope["http_version"],
            scheme=scope["scheme"],
            caller=caller_of(scope),
        )
        await route.endpoint(request, reply)


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
