"""Passes the messages of a call on, in both directions at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from claraedge import paging
from claraedge.errors import NAME_KEY, ClaraedgeError
from claraedge.web.http.body import Body, ClientGoneError
from claraedge.web.http.deadlines import deadline
from claraedge.web.http.failures import HttpError, excerpt, failure_of, invalid, of_answer, refused
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.rpc.codecs import decoded
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream, UpstreamCall

T = TypeVar("T")

#: Seconds until the head of a stream is sent without an answer, and between two signs of life.
#: Clients and proxies end a connection on which nothing comes for a minute or so.
_FIRST, _LIFE = 1.0, 30.0


class Form(Protocol):
    """The form of a stream of answers."""

    @property
    def content_type(self) -> str:
        """The Content-Type of the answer."""

    @property
    def streams_errors(self) -> bool:
        """Whether a failure is always in the body, and the HTTP status is 200, as with Connect."""

    @property
    def sign_of_life(self) -> bytes:
        """A part of the body that means nothing, for streams that last, and in which little
        happens; empty for others.
        """

    async def part(self, answer: bytes) -> bytes:
        """Returns the part of the body for an answer; empty if it has none."""

    def end(self, failure: HttpError | None) -> bytes:
        """Returns the end of the body, of a stream that succeeded or failed."""


class Exchange:
    """One call of `method` for one request over HTTP."""

    def __init__(
        self, upstream: Upstream, method: Method, body: Body, reply: Reply, until: float | None
    ) -> None:
        """`until`: its deadline, by the clock of the event loop."""
        self._upstream = upstream
        self._method = method
        self._body = body
        self._reply = reply
        self._until = until
        self._metadata: Mapping[str, str] = {}
        self._checked = asyncio.get_running_loop().time()
        """When its caller was allowed to read the answers, by the clock of the event loop."""

    def paged(self, size: str, token: str) -> Exchange:
        """Returns the same call for one page of its list.

        `token`: that of the page, or empty for the first one.
        """
        other = Exchange(self._upstream, self._method, self._body, self._reply, self._until)
        other._metadata = {paging.SIZE: size, paging.AFTER: token}
        return other

    async def one(self, requests: AsyncGenerator[bytes, None]) -> bytes:
        """Sends `requests`, and returns the only answer. Raises HttpError, ClientGoneError."""
        answer = await self.run(requests, self._only_answer)
        await self.check(answer)
        return answer

    async def check(self, answer: bytes) -> None:
        """Raises HttpError for an answer that reports a failure in its header."""
        failure = of_answer(await decoded(answer, self._method.response))
        if failure is not None:
            raise failure

    async def stream(self, requests: AsyncGenerator[bytes, None], form: Form) -> None:
        """Sends `requests`, and replies with all answers. Raises ClientGoneError."""
        try:
            async with deadline(self._until):
                await self.run(requests, partial(self._pass_answers, form))
        except ClientGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug fails one request
            await end_with(form, self._reply, failure_of(error, self._method.path))
            return
        if not self._reply.begun:
            await self._reply.begin(form.content_type)
        await self._reply.end(form.end(None))

    async def run(
        self,
        requests: AsyncGenerator[bytes, None],
        read: Callable[[UpstreamCall], Coroutine[Any, Any, T]],
    ) -> T:
        """Calls the method; sends `requests` while `read` reads the answers; returns its result.

        `requests`: messages as protobuf; they end at the end of the body. Raises HttpError,
        ClientGoneError.
        """
        async with aclosing(requests):
            first = [await anext(requests, None)]  # a request that is refused makes no call
            async with self._upstream.call(self._method, self._until, self._metadata) as call:
                reading = asyncio.create_task(read(call))
                writing = asyncio.create_task(self._pass_requests(call, first, requests))
                watching = asyncio.create_task(self._body.gone())
                tasks = {reading, writing, watching}
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    if writing.done() and not reading.done():
                        writing.result()
                        await asyncio.wait({reading, watching}, return_when=asyncio.FIRST_COMPLETED)
                    if not reading.done():
                        raise ClientGoneError
                    return await reading
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

    async def _only_answer(self, call: UpstreamCall) -> bytes:
        answer = await call.read()
        if answer is None or await call.read() is not None:
            raise refused(
                ClaraedgeError(f"{self._method.path} was not answered with exactly one message")
            )
        return answer

    async def _pass_requests(
        self, call: UpstreamCall, first: list[bytes | None], requests: AsyncGenerator[bytes, None]
    ) -> None:
        """Passes requests on. Raises HttpError, ClientGoneError.

        `first`: the first one, or None; it is removed, since it may be large.
        """
        message = first.pop()
        if message is not None:
            await call.write(message)
            del message
            async for message in requests:
                await call.write(message)
        await call.done_writing()

    async def _pass_answers(self, form: Form, call: UpstreamCall) -> None:
        while (answer := await self._next(form, call)) is not None:
            if not self._reply.begun:
                await self.check(answer)
                await self._reply.begin(form.content_type)
            await self._reply.part(await form.part(answer))

    async def _next(self, form: Form, call: UpstreamCall) -> bytes | None:
        """Returns the next answer; until it comes, sends what shows that the stream is open.

        Raises HttpError if the caller has signed out meanwhile.
        """
        if not form.sign_of_life:
            return await call.read()
        self._check_caller()
        reading = asyncio.create_task(call.read())
        try:
            wait = _LIFE if self._reply.begun else _FIRST
            while not (await asyncio.wait({reading}, timeout=wait))[0]:
                if not self._reply.begun:
                    await self._reply.begin(form.content_type)
                await self._reply.part(form.sign_of_life)
                self._check_caller()
                wait = _LIFE
            return await reading
        finally:
            reading.cancel()

    def _check_caller(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._checked >= _LIFE:
            self._checked = now
            self._reply.check_caller()


async def once(request: Request, message: Message) -> AsyncGenerator[bytes, None]:
    """Yields one message, for a request without a body. Raises HttpError if it has one."""
    async for part in request.body.parts():
        if part:
            raise invalid(f"{excerpt(request.path)} has no body with {request.method}; send none")
    yield message.SerializeToString()


async def end_with(form: Form, reply: Reply, failure: HttpError) -> None:
    """Ends a stream with a failure.

    Parts that were sent already cannot be taken back: the connection is closed then, without the
    end of the body, so that no client mistakes a part for the whole.
    """
    reply.hurry()
    if form.streams_errors:
        if not reply.begun:
            await reply.begin(form.content_type, headers={NAME_KEY: failure.name})
        await reply.end(form.end(failure))
    elif not reply.begun:
        await reply.fail(failure)
    else:
        await reply.part(form.end(failure))
        reply.cut()
