"""Serves each gRPC method at `POST /package.Service/Method`.

The protocol is that of Connect (connectrpc.com/docs/protocol), unary and streams, as JSON and as
protobuf. For people and scripts there are also streams as lines of JSON (NDJSON), by the content
type `application/x-ndjson`; a method with one request accepts `application/json` as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from claraedge.errors import (
    NAME_KEY,
    ClaraedgeError,
    InvalidRequestError,
    NotSupportedError,
)
from claraedge.web.body import Body, ClientGoneError, MessagePlace, Receive, Scope, Send, inflated
from claraedge.web.codecs import CODECS, Codec, decoded
from claraedge.web.deadlines import timeout_of
from claraedge.web.failures import HttpError, invalid, of_answer, refused, too_late
from claraedge.web.framing import Envelopes, Framing, Lines, OneMessage
from claraedge.web.headers import Headers
from claraedge.web.methods import Method
from claraedge.web.reply import Reply
from claraedge.web.upstream import Upstream, UpstreamCall

_log = logging.getLogger(__name__)

#: The most bytes of a message: gRPC's 4 MiB, of which JSON makes a third more, and some for names.
LIMIT = 6 * 1024 * 1024
#: Seconds after the deadline of a call at which its request ends in any case.
_LATER = 0.05
_JSON, _NDJSON, _CONNECT = "application/json", "application/x-ndjson", "application/connect+"
_ENVELOPES = "connect-content-encoding"
#: Requests that keep a large message at the same time; more of them wait.
_PLACES = 16
_UNARY_TYPES = {f"application/{name}": codec for name, codec in CODECS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """The form of a stream."""

    codec: Codec
    framing: Framing
    content_type: str

    def check(self, headers: Headers) -> None:
        """Raises HttpError for a compression that is not supported."""
        if self.framing.streams_errors:
            _is_gzip(headers, _ENVELOPES)
        elif headers.get("content-encoding") not in (None, "identity"):
            raise refused(
                NotSupportedError("a stream of lines has no Content-Encoding; send it as it is"),
                415,
            )


class Gateway:
    """An ASGI application that serves `methods`."""

    def __init__(self, methods: Mapping[str, Method], upstream: Upstream, *, idle: float) -> None:
        """`idle`: seconds to wait for a client."""
        self._methods = methods
        self._upstream = upstream
        self._idle = idle
        self._places = asyncio.Semaphore(_PLACES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = Reply(scope, send, self._idle)
        body = Body(receive, self._idle)
        with contextlib.suppress(ClientGoneError):
            try:
                await self._serve(scope, body, reply)
            except ClientGoneError:
                raise
            except Exception as error:  # noqa: BLE001 - a bug fails one request
                failure = _failure_of(error, scope["path"])
                if not reply.begun:
                    reply.hurry()
                    await reply.fail(failure)
                else:
                    reply.cut()

    async def _serve(self, scope: Scope, body: Body, reply: Reply) -> None:
        method = self._methods.get(scope["path"])
        if method is None:
            raise refused(
                NotSupportedError(
                    f"{_shown(scope['path'])} is no path of this device; methods are at"
                    " /package.Service/Method"
                ),
                404,
            )
        if scope["method"] != "POST":
            raise invalid(
                f"{method.path} is called with POST; {_shown(scope['method'])} does nothing here",
                405,
                Allow="POST",
            )
        headers = Headers(scope)
        if not method.streaming:
            await self._unary(method, headers, body, reply)
        elif scope["http_version"] == "1.0":  # the end of its bodies is that of the connection
            raise invalid(
                f"{method.path} streams, and HTTP/1.0 cannot tell a part of a stream from the"
                " whole; use HTTP/1.1",
                505,
            )
        else:
            await self._stream(method, headers, body, reply)

    # --- one request, one answer ------------------------------------------------------------------

    async def _unary(self, method: Method, headers: Headers, body: Body, reply: Reply) -> None:
        codec = _UNARY_TYPES.get(headers.content_type)
        if codec is None:
            raise _unsupported(headers.content_type, _UNARY_TYPES)
        gzip = _is_gzip(headers, "content-encoding")
        until = _until(headers)
        async with _deadline(until):
            with contextlib.closing(MessagePlace(self._places)) as place:
                content = await body.whole(LIMIT, place)
                if gzip:
                    content = inflated(content, LIMIT)
                    await place.keep(len(content))
                request = await codec.request(content, method.request)
            async with self._upstream.call(method, until) as call:
                answer = await _unless_gone(body, _answered(method, call, request))
        failure = of_answer(await decoded(answer, method.response))
        if failure is not None:
            raise failure
        await reply.whole(await codec.answer(answer, method.response), f"application/{codec.name}")

    # --- streams ----------------------------------------------------------------------------------

    async def _stream(self, method: Method, headers: Headers, body: Body, reply: Reply) -> None:
        form = _form(method, headers)
        try:
            form.check(headers)
            until = _until(headers)
            async with _deadline(until), self._upstream.call(method, until) as call:
                await self._exchange(method, form, body, reply, call)
        except ClientGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            await _end_with(form, reply, _failure_of(error, method.path))
            return
        if not reply.begun:
            await reply.begin(form.content_type)
        await reply.end(form.framing.end(None))

    async def _exchange(
        self, method: Method, form: _Form, body: Body, reply: Reply, call: UpstreamCall
    ) -> None:
        """Passes requests and answers on, both at the same time, until the call has ended."""
        receiving = asyncio.create_task(self._pass_requests(method, form, body, call))
        sending = asyncio.create_task(self._pass_answers(method, form, reply, call))
        try:
            await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                receiving.result()  # raises: it ends only by a failure, or with its client
            await sending
        finally:
            receiving.cancel()
            sending.cancel()
            await asyncio.gather(receiving, sending, return_exceptions=True)

    async def _pass_requests(
        self, method: Method, form: _Form, body: Body, call: UpstreamCall
    ) -> None:
        """Passes requests on, then waits until the client has gone.

        Raises HttpError, or ClientGoneError.
        """
        watch = method.client_streaming and method.server_streaming
        count = 0

        async def passed(message: bytes) -> None:
            nonlocal count
            count += 1
            if count > 1 and not method.client_streaming:
                raise invalid(
                    f"{method.path} accepts one message; send each in a request of its own"
                )
            await call.write(await form.codec.request(message, method.request))

        with contextlib.closing(MessagePlace(self._places)) as place:
            async for part in body.parts():
                for message in form.framing.feed(part):
                    await passed(message)
                kept = form.framing.kept
                body.expect(message=kept > 0, silence=watch and count > 0)
                await place.keep(kept)
            for message in form.framing.finish():
                await passed(message)
        await call.done_writing()
        await body.gone()
        raise ClientGoneError

    async def _pass_answers(
        self, method: Method, form: _Form, reply: Reply, call: UpstreamCall
    ) -> None:
        while (answer := await call.read()) is not None:
            if not reply.begun:
                failure = of_answer(await decoded(answer, method.response))
                if failure is not None:
                    raise failure
                await reply.begin(form.content_type)
            await reply.part(form.framing.frame(await form.codec.answer(answer, method.response)))


async def _end_with(form: _Form, reply: Reply, failure: HttpError) -> None:
    """Ends a stream with a failure.

    Lines that were sent already cannot be taken back: the connection is closed then, without the
    end of the body, so that no client mistakes a part for the whole.
    """
    reply.hurry()
    if form.framing.streams_errors:
        if not reply.begun:
            await reply.begin(form.content_type, headers={NAME_KEY: failure.name})
        await reply.end(form.framing.end(failure))
    elif not reply.begun:
        await reply.fail(failure)
    else:
        await reply.part(form.framing.end(failure))
        reply.cut()


@asynccontextmanager
async def _deadline(until: float | None) -> AsyncGenerator[None, None]:
    """Ends what waits for the client at a deadline. Raises HttpError.

    gRPC ends the call itself, somewhat earlier.
    """
    try:
        async with asyncio.timeout_at(None if until is None else until + _LATER) as bound:
            yield
    except TimeoutError:
        if not bound.expired():
            raise
        raise too_late() from None


def _until(headers: Headers) -> float | None:
    """Returns when a request ends, by the clock of the event loop. Raises HttpError."""
    version = headers.get("connect-protocol-version")
    if version not in (None, "1"):
        raise invalid(f"Connect-Protocol-Version is {_shown(str(version))}; this device knows 1")
    timeout = timeout_of(headers)
    return None if timeout is None else asyncio.get_running_loop().time() + timeout


def _failure_of(error: Exception, path: str) -> HttpError:
    if isinstance(error, HttpError):
        return error
    if isinstance(error, ClaraedgeError):
        return refused(error)
    _log.error("request failed: %s", _shown(path), exc_info=error)
    return refused(
        ClaraedgeError(f"internal error: {error!r}; `journalctl -u claraedge` has the details")
    )


async def _answered(method: Method, call: UpstreamCall, request: bytes) -> bytes:
    await call.write(request)
    await call.done_writing()
    answer = await call.read()
    if answer is None or await call.read() is not None:
        raise refused(ClaraedgeError(f"{method.path} was not answered with exactly one message"))
    return answer


async def _unless_gone(body: Body, work: Coroutine[Any, Any, bytes]) -> bytes:
    """Awaits `work`. Raises ClientGoneError, and cancels `work`, when the client has gone."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(body.gone())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return await working
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def _form(method: Method, headers: Headers) -> _Form:
    kind = headers.content_type
    for codec in CODECS.values():
        if kind == _CONNECT + codec.name:
            gzip = (headers.get(_ENVELOPES) or "").lower() == "gzip"
            return _Form(codec=codec, framing=Envelopes(LIMIT, gzip=gzip), content_type=kind)
    lines: dict[str, Callable[[int], Framing]] = {_NDJSON: Lines}
    if not method.client_streaming:
        lines[_JSON] = OneMessage
    if kind not in lines:
        raise _unsupported(kind, [*(_CONNECT + name for name in CODECS), *lines])
    return _Form(codec=CODECS["json"], framing=lines[kind](LIMIT), content_type=_NDJSON)


def _is_gzip(headers: Headers, name: str) -> bool:
    encoding = (headers.get(name) or "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise refused(
            NotSupportedError(
                f"{name} is {_shown(encoding)}; send the body as it is, or compressed by gzip"
            ),
            415,
            Accept_Encoding="gzip",
        )
    return encoding == "gzip"


def _unsupported(kind: str, supported: Iterable[str]) -> HttpError:
    known = ", ".join(supported)
    return refused(
        InvalidRequestError(
            f"the Content-Type is {_shown(kind) or 'missing'}; this method accepts {known}"
        ),
        415,
        Accept_Post=known,
    )


def _shown(text: str) -> str:
    with contextlib.suppress(UnicodeError):
        text = text.encode("ascii", "backslashreplace").decode()
    return text[:200]
