"""Passes the messages of a call on, in both directions at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from claraedge.errors import NAME_KEY, ClaraedgeError
from claraedge.web.http.body import Body, ClientGoneError
from claraedge.web.http.deadlines import deadline
from claraedge.web.http.failures import HttpError, failure_of, of_answer, refused
from claraedge.web.http.reply import Reply
from claraedge.web.rpc.codecs import Codec, decoded
from claraedge.web.rpc.framing import Framing
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream, UpstreamCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form of a stream of answers."""

    codec: Codec
    framing: Framing
    content_type: str


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

    async def one(self, message: bytes) -> bytes:
        """Returns the only answer to the only request. Raises HttpError, ClientGoneError.

        Call it after the end of the body.
        """
        async with self._upstream.call(self._method, self._until) as call:
            answer = await self._body.unless_gone(self._only_answer(call, message))
        failure = of_answer(await decoded(answer, self._method.response))
        if failure is not None:
            raise failure
        return answer

    async def stream(self, requests: AsyncGenerator[bytes, None], form: Form) -> None:
        """Sends `requests` until they end, and replies with all answers. Raises ClientGoneError.

        `requests`: messages as protobuf; they end at the end of the body.
        """
        try:
            async with (
                deadline(self._until),
                self._upstream.call(self._method, self._until) as call,
            ):
                await self._both(call, requests, form)
        except ClientGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug fails one request
            await end_with(form, self._reply, failure_of(error, self._method.path))
            return
        if not self._reply.begun:
            await self._reply.begin(form.content_type)
        await self._reply.end(form.framing.end(None))

    async def _only_answer(self, call: UpstreamCall, message: bytes) -> bytes:
        await call.write(message)
        await call.done_writing()
        answer = await call.read()
        if answer is None or await call.read() is not None:
            raise refused(
                ClaraedgeError(f"{self._method.path} was not answered with exactly one message")
            )
        return answer

    async def _both(
        self, call: UpstreamCall, requests: AsyncGenerator[bytes, None], form: Form
    ) -> None:
        receiving = asyncio.create_task(self._pass_requests(call, requests))
        sending = asyncio.create_task(self._pass_answers(call, form))
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
        self, call: UpstreamCall, requests: AsyncGenerator[bytes, None]
    ) -> None:
        """Passes requests on, then waits until the client has gone.

        Raises HttpError, or ClientGoneError.
        """
        async with aclosing(requests):
            async for message in requests:
                await call.write(message)
        await call.done_writing()
        await self._body.gone()
        raise ClientGoneError

    async def _pass_answers(self, call: UpstreamCall, form: Form) -> None:
        while (answer := await call.read()) is not None:
            if not self._reply.begun:
                failure = of_answer(await decoded(answer, self._method.response))
                if failure is not None:
                    raise failure
                await self._reply.begin(form.content_type)
            content = await form.codec.answer(answer, self._method.response)
            await self._reply.part(form.framing.frame(content))


async def end_with(form: Form, reply: Reply, failure: HttpError) -> None:
    """Ends a stream with a failure.

    Parts that were sent already cannot be taken back: the connection is closed then, without the
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
