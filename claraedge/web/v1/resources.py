"""Serves the readable paths."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from google.protobuf.descriptor import FieldDescriptor

from claraedge.web.http.deadlines import deadline, until
from claraedge.web.http.failures import invalid, of_answer
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.rpc.codecs import decoded, off_loop
from claraedge.web.rpc.exchange import Exchange
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream, UpstreamCall
from claraedge.web.v1.events import Events
from claraedge.web.v1.forms import JSON, ListForm, elements, form_for, written
from claraedge.web.v1.readable import is_text, printed
from claraedge.web.v1.requests import RequestReader
from claraedge.web.v1.rules import Rule, rules_of

_SIZE, _TOKEN = "pageSize", "pageToken"
#: The most elements of a page.
_LARGEST = 1000


def routes_of(
    methods: Mapping[str, Method], upstream: Upstream, places: asyncio.Semaphore
) -> Iterable[Route]:
    """Yields the routes of all rules of `methods`.

    `places`: of requests that keep a large message at the same time; more of them wait.
    """
    for rule in rules_of(methods):
        serve = (
            Events(rule, upstream)
            if rule.method.client_streaming and rule.method.server_streaming
            else Resource(rule, upstream, places)
        )
        yield Route(rule.verb, rule.template, serve)


class Resource:
    """Serves one rule."""

    def __init__(self, rule: Rule, upstream: Upstream, places: asyncio.Semaphore) -> None:
        """`places`: as above."""
        self._rule = rule
        self._upstream = upstream
        self._requests = RequestReader(rule, places)
        self._key = element_key(rule)

    async def __call__(self, request: Request, reply: Reply) -> None:
        query, size, token = self._page(request.query)
        end = until(request.headers)
        exchange = Exchange(self._upstream, self._rule.method, request.body, reply, end)
        if not self._rule.method.server_streaming:
            await self._unary(exchange, request, query, reply, end)
            return
        form = form_for(self._rule, request.headers.get("accept"))
        if size is not None:
            async with deadline(end):
                await self._send_page(exchange, request, query, reply, form, size, token)
            return
        if request.http_version == "1.0":  # the end of its bodies is that of the connection
            raise invalid(
                f"{self._rule.template} streams, and HTTP/1.0 cannot tell a part of a stream from"
                " the whole; use HTTP/1.1",
                505,
            )
        await exchange.stream(self._requests.all(request, query), form)

    async def _unary(
        self,
        exchange: Exchange,
        request: Request,
        query: Sequence[tuple[str, str]],
        reply: Reply,
        end: float | None,
    ) -> None:
        async with deadline(end):
            answer = await exchange.one(self._requests.all(request, query))
        content = await off_loop(len(answer), self._printed, answer)
        await reply.whole(content, JSON)

    def _printed(self, answer: bytes) -> bytes:
        value: Any = printed(self._rule.method.response.FromString(answer))
        if self._rule.response is not None:
            value = value.get(self._rule.response.json_name)
        return written(value) + b"\n"

    # --- pages --------------------------------------------------------------------------------

    def _page(
        self, query: Sequence[tuple[str, str]]
    ) -> tuple[Sequence[tuple[str, str]], int | None, str | None]:
        """Returns the fields of a query without those of the page, its size and its token.

        Raises HttpError.
        """
        if self._key is None:
            return query, None, None
        wanted = {name: value for name, value in query if name in (_SIZE, _TOKEN)}
        rest = [(name, value) for name, value in query if name not in wanted]
        size = wanted.get(_SIZE)
        if size is None and _TOKEN not in wanted:
            return rest, None, None
        with contextlib.suppress(ValueError):
            if 1 <= int(size or _LARGEST) <= _LARGEST:
                return rest, int(size or _LARGEST), wanted.get(_TOKEN)
        raise invalid(f"{_SIZE} has to be a number from 1 to {_LARGEST}")

    async def _send_page(
        self,
        exchange: Exchange,
        request: Request,
        query: Sequence[tuple[str, str]],
        reply: Reply,
        form: ListForm,
        size: int,
        token: str | None,
    ) -> None:
        async def read(call: UpstreamCall) -> Sequence[Any]:
            return await self._read_page(call, size + 1, token)

        found = await exchange.run(self._requests.all(request, query), read)
        headers = {}
        if len(found) > size:
            fields = [*query, (_SIZE, str(size)), (_TOKEN, found[size - 1][self._key])]
            headers["Link"] = f'<{request.path}?{urlencode(fields)}>; rel="next"'
        content = b"".join(map(form.frame, found[:size])) + form.end(None)
        await reply.whole(content, form.content_type, headers=headers)

    async def _read_page(self, call: UpstreamCall, size: int, token: str | None) -> Sequence[Any]:
        """Returns up to `size` elements, from the one after `token` on. Raises HttpError."""
        found: list[Any] = []
        first, skips = True, token is not None
        while len(found) < size and (answer := await call.read()) is not None:
            if first:
                failure = of_answer(await decoded(answer, self._rule.method.response))
                if failure is not None:
                    raise failure
                first = False
            for element in await off_loop(len(answer), elements, self._rule, answer):
                if not skips:
                    found.append(element)
                elif element[self._key] == token:
                    skips = False
        if skips:
            raise invalid(
                f"{_TOKEN} names an entry that the list does not have any more; begin again"
                f" without {_TOKEN}"
            )
        return found


def element_key(rule: Rule) -> str | None:
    """Returns the field that tells the elements of a list apart; None: the list has no pages."""
    field = rule.response
    if not rule.method.server_streaming or field is None or field.message_type is None:
        return None
    for one in field.message_type.fields:
        kind = one.message_type
        is_id = kind is not None and is_text(one)
        if not one.is_repeated and (is_id or one.type == FieldDescriptor.TYPE_STRING):
            return one.json_name
    return None
