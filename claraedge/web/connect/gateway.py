"""Serves each gRPC method at `POST /package.Service/Method`.

The protocol is that of Connect (connectrpc.com/docs/protocol), unary and streams, as JSON and as
protobuf. For people and scripts there are also streams as lines of JSON (NDJSON), by the content
type `application/x-ndjson`; with `application/json` the body is one message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from claraedge.errors import InvalidRequestError, NotSupportedError
from claraedge.web.http.body import Body, MessagePlace, inflated
from claraedge.web.http.deadlines import deadline, until
from claraedge.web.http.failures import HttpError, excerpt, invalid, refused
from claraedge.web.http.headers import Headers
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.rpc.codecs import CODECS, LIMIT, Codec
from claraedge.web.rpc.exchange import Exchange, end_with
from claraedge.web.rpc.framing import Envelopes, Framing, Lines, OneMessage
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream

_JSON, _NDJSON, _CONNECT = "application/json", "application/x-ndjson", "application/connect+"
_ENVELOPES = "connect-content-encoding"
_UNARY_TYPES = {f"application/{name}": codec for name, codec in CODECS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """The form of a stream: how messages are written, and how they follow one another."""

    method: Method
    codec: Codec
    framing: Framing
    content_type: str
    sign_of_life: bytes = b""

    @property
    def streams_errors(self) -> bool:
        return self.framing.streams_errors

    async def request(self, content: bytes) -> bytes:
        """Returns a request as protobuf. Raises HttpError."""
        return await self.codec.request(content, self.method.request)

    async def part(self, answer: bytes) -> bytes:
        return self.framing.frame(await self.codec.answer(answer, self.method.response))

    def end(self, failure: HttpError | None) -> bytes:
        return self.framing.end(failure)

    def check(self, headers: Headers) -> None:
        """Raises HttpError for a compression that is not supported."""
        if self.streams_errors:
            _is_gzip(headers, _ENVELOPES)
        elif headers.get("content-encoding") not in (None, "identity"):
            raise refused(
                NotSupportedError("a stream of lines has no Content-Encoding; send it as it is"),
                415,
            )


class Gateway:
    """Serves `methods`."""

    def __init__(
        self, methods: Mapping[str, Method], upstream: Upstream, places: asyncio.Semaphore
    ) -> None:
        """`places`: of requests that keep a large message at the same time; more of them wait."""
        self._methods = methods
        self._upstream = upstream
        self._places = places

    def routes(self) -> Iterable[Route]:
        """Yields the route of each method."""
        for path, method in self._methods.items():
            serve = self._stream if method.streaming else self._unary
            yield Route("POST", path, partial(serve, method))

    async def _unary(self, method: Method, request: Request, reply: Reply) -> None:
        headers = request.headers
        codec = _UNARY_TYPES.get(headers.content_type)
        if codec is None:
            raise _unsupported(headers.content_type, _UNARY_TYPES)
        gzip = _is_gzip(headers, "content-encoding")
        end = _until(headers)
        async with deadline(end):
            exchange = Exchange(self._upstream, method, request.body, reply, end)
            answer = await exchange.one(self._request(method, codec, request.body, gzip=gzip))
        await reply.whole(await codec.answer(answer, method.response), f"application/{codec.name}")

    async def _request(
        self, method: Method, codec: Codec, body: Body, *, gzip: bool
    ) -> AsyncGenerator[bytes, None]:
        """Yields the only request, as protobuf. Raises HttpError, ClientGoneError."""
        with contextlib.closing(MessagePlace(self._places)) as place:
            content = await body.whole(LIMIT, place)
            if gzip:
                content = inflated(content, LIMIT)
                await place.keep(len(content))
            message = await codec.request(content, method.request)
        yield message

    async def _stream(self, method: Method, request: Request, reply: Reply) -> None:
        request.refuse_old()
        form = _form(method, request.headers)
        try:
            form.check(request.headers)
            end = _until(request.headers)
        except HttpError as failure:
            await end_with(form, reply, failure)
            return
        exchange = Exchange(self._upstream, method, request.body, reply, end)
        await exchange.stream(self._requests(method, form, request.body), form)

    async def _requests(
        self, method: Method, form: _Stream, body: Body
    ) -> AsyncGenerator[bytes, None]:
        """Yields the requests in a body, as protobuf. Raises HttpError, ClientGoneError."""
        watch = method.client_streaming and method.server_streaming
        framing, count = form.framing, 0

        async def message(content: bytes) -> bytes:
            nonlocal count
            count += 1
            if count > 1 and not method.client_streaming:
                raise invalid(
                    f"{method.path} accepts one message; send each in a request of its own"
                )
            return await form.request(content)

        with contextlib.closing(MessagePlace(self._places)) as place:
            async for part in body.parts():
                for content in framing.feed(part):
                    yield await message(content)
                body.expect(message=framing.kept > 0, silence=watch and count > 0)
                await place.keep(framing.kept)
            for content in framing.finish():
                yield await message(content)


def _until(headers: Headers) -> float | None:
    """Returns when a request ends, by the clock of the event loop. Raises HttpError."""
    version = headers.get("connect-protocol-version")
    if version not in (None, "1"):
        raise invalid(f"Connect-Protocol-Version is {excerpt(str(version))}; this device knows 1")
    return until(headers)


def _form(method: Method, headers: Headers) -> _Stream:
    kind = headers.content_type
    for codec in CODECS.values():
        if kind == _CONNECT + codec.name:
            gzip = (headers.get(_ENVELOPES) or "").lower() == "gzip"
            framing = Envelopes(LIMIT, gzip=gzip)
            return _Stream(method=method, codec=codec, framing=framing, content_type=kind)
    lines: Mapping[str, Callable[[int], Framing]] = {_NDJSON: Lines, _JSON: OneMessage}
    if kind not in lines:
        raise _unsupported(kind, [*(_CONNECT + name for name in CODECS), *lines])
    return _Stream(
        method=method, codec=CODECS["json"], framing=lines[kind](LIMIT), content_type=_NDJSON
    )


def _is_gzip(headers: Headers, name: str) -> bool:
    encoding = (headers.get(name) or "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise refused(
            NotSupportedError(
                f"{name} is {excerpt(encoding)}; send the body as it is, or compressed by gzip"
            ),
            415,
            Accept_Encoding="gzip",
        )
    return encoding == "gzip"


def _unsupported(kind: str, supported: Iterable[str]) -> HttpError:
    known = ", ".join(supported)
    return refused(
        InvalidRequestError(
            f"the Content-Type is {excerpt(kind) or 'missing'}; this method accepts {known}"
        ),
        415,
        Accept_Post=known,
    )
