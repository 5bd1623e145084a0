"""Serves the readable paths."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from claraedge import paging
from claraedge.errors import ClaraedgeError
from claraedge.web.http.deadlines import deadline, until
from claraedge.web.http.failures import invalid, refused
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.rpc.codecs import json_text, off_loop
from claraedge.web.rpc.exchange import Exchange
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream, UpstreamCall
from claraedge.web.v1.events import Events
from claraedge.web.v1.forms import JSON, ListForm, form_for
from claraedge.web.v1.readable import printed
from claraedge.web.v1.requests import RequestReader
from claraedge.web.v1.rules import Rule, rules_of

_SIZE, _TOKEN = "pageSize", "pageToken"


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

    async def __call__(self, request: Request, reply: Reply) -> None:
        end = until(request.headers)
        exchange = Exchange(self._upstream, self._rule.method, request.body, reply, end)
        is_object = self._rule.varying is not None
        if is_object or not self._rule.method.server_streaming:
            requests = self._requests.all(request, request.query)
            async with deadline(end):
                if is_object:
                    answer = await exchange.run(requests, self._first_answer)
                    await exchange.check(answer)
                else:
                    answer = await exchange.one(requests)
            await reply.whole(await off_loop(len(answer), self._printed, answer), JSON)
        else:
            form = form_for(self._rule, request.headers.all("accept"))
            query, size, token = self._page(request.query)
            if size is None:
                request.refuse_old()
                await exchange.stream(self._requests.all(request, query), form)
            else:
                page = exchange.paged(size, token)
                async with deadline(end):
                    await self._send_page(page, request, query, reply, form, size)

    async def _first_answer(self, call: UpstreamCall) -> bytes:
        answer = await call.read()
        if answer is None:
            raise refused(ClaraedgeError(f"{self._rule.method.path} was not answered"))
        return answer

    def _printed(self, answer: bytes) -> bytes:
        value: Any = printed(self._rule.method.response.FromString(answer))
        if self._rule.response is not None:
            value = value.get(self._rule.response.json_name)
        if self._rule.varying is not None:
            value.pop(self._rule.varying.json_name, None)
        return json_text(value) + b"\n"

    # --- pages --------------------------------------------------------------------------------

    def _page(
        self, query: Sequence[tuple[str, str]]
    ) -> tuple[Sequence[tuple[str, str]], str | None, str]:
        """Returns the fields of a query without those of the page, its size and its token.

        The size is None if no page is wanted. Raises HttpError.
        """
        if not self._rule.has_pages:
            return query, None, ""
        wanted = [(name, value) for name, value in query if name in (_SIZE, _TOKEN)]
        rest = [(name, value) for name, value in query if name not in (_SIZE, _TOKEN)]
        fields = dict(wanted)
        if len(fields) < len(wanted):
            raise invalid(f"{_SIZE} or {_TOKEN} occurs twice; send each once")
        token = fields.get(_TOKEN, "")
        if not token.isascii() or not token.isprintable():
            raise invalid(f"{_TOKEN} is none of this list; begin again without it")
        size = fields.get(_SIZE, str(paging.LARGEST) if token else None)
        if size is not None and not (size.isascii() and size.isdigit()):
            raise invalid(f"{_SIZE} has to be a number from 1 to {paging.LARGEST}")
        return rest, size, token

    async def _send_page(
        self,
        exchange: Exchange,
        request: Request,
        query: Sequence[tuple[str, str]],
        reply: Reply,
        form: ListForm,
        size: str,
    ) -> None:
        """Replies with one page; the daemon bounds its size."""
        body, token = bytearray(), ""

        async def read(call: UpstreamCall) -> None:
            nonlocal token
            while (answer := await call.read()) is not None:
                await exchange.check(answer)
                body.extend(await form.part(answer))
            token = call.trailing.get(paging.NEXT, "")

        await exchange.run(self._requests.all(request, query), read)
        headers = {}
        if token:
            fields = [*query, (_SIZE, size), (_TOKEN, token)]
            headers["Link"] = f'<{request.path}?{urlencode(fields)}>; rel="next"'
        await reply.whole(bytes(body) + form.end(None), form.content_type, headers=headers)
