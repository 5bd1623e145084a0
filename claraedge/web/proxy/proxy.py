"""Passes requests on to the programs that static routes lead to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias
from urllib.parse import quote

import h11

from claraedge.errors import (
    NotSupportedError,
    RouteAnswerError,
    RouteTimeoutError,
    TooManyCallsError,
)
from claraedge.web.http.body import ClientGoneError
from claraedge.web.http.failures import excerpt, invalid, refused
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.proxy.exchange import AnswerError, ProgramExchange
from claraedge.web.proxy.rewriting import answer_headers, request_lines
from claraedge.web.proxy.turn import ProgramTurn

#: Opens a connection to what the route with a prefix leads to, until the context is left. Entering
#: raises ClaraedgeError if there is no such route, or nothing answers there.
Dial: TypeAlias = Callable[
    [str], AbstractAsyncContextManager[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
]

_ROOT = "/routes/{prefix}"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: Requests at the same time: each has a process that forwards its bytes.
_MOST = 128


class RouteProxy:
    """Serves the paths below `/routes/`."""

    def __init__(self, dial: Dial, patience: float, trusted: Collection[str]) -> None:
        """`patience`: seconds in which a program has to read a part of a request, and to begin its
        answer. `trusted`: prefixes of the routes whose pages run outside of the sandbox.
        """
        self._dial = dial
        self._patience = patience
        self._trusted = frozenset(trusted)
        self._open = 0

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield Route("GET", _ROOT, _to_folder)
        for method in _METHODS:
            yield Route(method, f"{_ROOT}/", self._pass_on)
            yield Route(method, f"{_ROOT}/{{path=**}}", self._pass_on)

    async def _pass_on(self, request: Request, reply: Reply) -> None:
        if "websocket" in (request.headers.all("upgrade") or "").lower():  # others may be ignored
            raise refused(
                NotSupportedError(
                    f"{excerpt(request.path)}: the request asks for a WebSocket, and routes pass on"
                    " HTTP only; use server-sent events or long polling"
                )
            )
        prefix = request.parameters["prefix"]
        turn = ProgramTurn(self._patience)
        async with self._place(), self._dial(prefix) as (reader, writer):
            program = ProgramExchange(reader, writer)
            sending = asyncio.ensure_future(_send(program, request, prefix, turn))
            answering = asyncio.ensure_future(self._answer(program, request, reply, prefix, turn))
            leaving = asyncio.ensure_future(reply.gone())
            try:
                async with turn.limit:
                    try:
                        await _until_answered(sending, answering, leaving)
                    finally:
                        for task in (sending, answering, leaving):
                            task.cancel()
                        await asyncio.gather(sending, answering, leaving, return_exceptions=True)
            except TimeoutError:
                if not turn.limit.expired():
                    raise
                raise refused(
                    RouteTimeoutError(
                        f"the program behind the route {prefix} did not read the request, or did"
                        f" not begin to answer, within {self._patience:g} s; correct it, or raise"
                        " http.route_seconds"
                    )
                ) from None

    async def _answer(
        self,
        program: ProgramExchange,
        request: Request,
        reply: Reply,
        prefix: str,
        turn: ProgramTurn,
    ) -> None:
        try:
            head = await program.head()
        except AnswerError as error:
            raise refused(
                RouteAnswerError(
                    f"the program behind the route {prefix} gave no valid answer ({error}); correct"
                    " it, or the port in its package"
                )
            ) from None
        turn.answered()
        headers = answer_headers(
            list(head.headers),
            prefix=prefix,
            host=request.headers.get("host") or "",
            trusted=self._trusted,
        )
        with turn.of_client():
            await reply.begin(
                headers.content_type,
                status=head.status_code,
                headers=headers.single,
                more=headers.several,
            )
        try:
            async for part in program.body():
                with turn.of_client():
                    await reply.part(part)
        except AnswerError as error:  # the client sees that the end is missing
            raise refused(
                RouteAnswerError(f"the answer of {prefix} was cut off: {error}")
            ) from None
        with turn.of_client():
            await reply.end()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._open >= _MOST:
            raise refused(
                TooManyCallsError(
                    f"{_MOST} requests to routes are open, which is the most; try again later"
                ),
                503,
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


async def _until_answered(
    sending: asyncio.Future[None], answering: asyncio.Future[None], leaving: asyncio.Future[None]
) -> None:
    """Waits for the end of an answer. Raises what ends the request before, or ClientGoneError."""
    waits_for = {sending, answering, leaving}
    while not answering.done():
        done, waits_for = await asyncio.wait(waits_for, return_when=asyncio.FIRST_COMPLETED)
        if leaving in done:
            raise ClientGoneError
        if sending in done and answering not in done:
            sending.result()
    answering.result()


async def _send(program: ProgramExchange, request: Request, prefix: str, turn: ProgramTurn) -> None:
    """Sends a request. Raises ClientGoneError, HttpError."""
    lines = list(
        request_lines(
            request.headers.lines,
            caller=request.caller.partition(" ")[0],
            scheme=request.scheme,
            prefix=prefix,
        )
    )
    length = request.headers.get("content-length")
    if length is not None:
        lines.append((b"content-length", length.encode()))
    elif request.headers.all("transfer-encoding") is not None:
        lines.append((b"transfer-encoding", b"chunked"))
    query = f"?{request.raw_query}" if request.raw_query else ""
    path = request.path.split("/", 3)[3]
    try:
        with turn.of_reader():
            await program.send(
                h11.Request(method=request.method, target=f"/{path}{query}", headers=lines)
            )
        async for part in request.body.parts():
            if part:
                with turn.of_reader():
                    await program.send(h11.Data(data=part))
        with turn.of_reader():
            await program.send(h11.EndOfMessage())
    except OSError:  # it reads no more of the request, and may answer all the same
        async for _ in request.body.parts():
            pass
    except h11.LocalProtocolError as error:
        raise invalid(f"the request cannot be passed on ({error}); correct it") from None
    turn.sent()


async def _to_folder(request: Request, reply: Reply) -> None:
    """Answers a path without its last slash, to which relative links would not belong."""
    query = f"?{request.raw_query}" if request.raw_query else ""
    prefix = quote(request.parameters["prefix"], safe="")
    place = {"Location": f"/routes/{prefix}/{query}"}
    await reply.empty(308, place)
