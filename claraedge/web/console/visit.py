"""One visit of a page: the request, what the page asks of the daemon, and the answer."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, TypeVar, overload
from urllib.parse import parse_qsl, urlencode

from google.protobuf.message import Message

from claraedge import paging
from claraedge.errors import TooManyCallsError
from claraedge.web.console.forms import (
    FORM_BYTES,
    FORM_FIELDS,
    MULTIPART,
    FormTurns,
    Outcome,
    SentForm,
)
from claraedge.web.console.rendering import HTML, POLICY, query_of, render
from claraedge.web.console.words import chosen, words
from claraedge.web.http.body import MessagePlace, Scope
from claraedge.web.http.compression import send_text
from claraedge.web.http.failures import FailureAnswer, HttpError, excerpt, invalid, of_answer
from claraedge.web.http.headers import Headers
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.http.router import Route
from claraedge.web.rpc.exchange import Exchange
from claraedge.web.rpc.methods import Method
from claraedge.web.rpc.upstream import Upstream
from claraedge.wire.claraedge.v1 import events_pb2

M = TypeVar("M", bound=Message)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")

LANGUAGE = "claraedge-language"
#: Seconds that a page waits for the daemon.
_PATIENCE = 20.0
_NONE: Mapping[str, str] = {}
_WATCH = "claraedge.v1.Events/Watch"


@dataclass(frozen=True, slots=True)
class Daemon:
    """The gRPC services of the daemon, as pages call them."""

    methods: Mapping[str, Method]
    upstream: Upstream

    async def ask(self, name: str, request: Message, kind: type[M]) -> M:
        """Returns the answer of a unary method. Raises HttpError.

        `name`: `package.Service/Method`.
        """
        async with contextlib.aclosing(self.each(name, request, kind)) as answers:
            async for answer in answers:
                return answer
        return kind()

    async def each(
        self, name: str, request: Message, kind: type[M], metadata: Mapping[str, str] = _NONE
    ) -> AsyncGenerator[M, None]:
        """Yields the answers of a method. Raises HttpError."""
        until = asyncio.get_running_loop().time() + _PATIENCE
        method = self.methods[f"/{name}"]
        async with self.upstream.call(method, until, metadata) as call:
            await call.write(request.SerializeToString())
            await call.done_writing()
            while (answer := await call.read()) is not None:
                found = kind.FromString(answer)
                failure = of_answer(found)
                if failure is not None:
                    raise failure
                yield found

    async def some(self, name: str, request: Message, kind: type[M], most: int) -> list[M]:
        """Returns at most the first `most` answers of a method. Raises HttpError."""
        found: list[M] = []
        async with contextlib.aclosing(
            self.each(name, request, kind, {paging.SIZE: str(most)})
        ) as answers:
            async for answer in answers:
                found.append(answer)
                if len(found) == most:
                    break
        return found

    async def position(self) -> str:
        """Returns the position of the event log, from which changes of a page are followed."""
        request = events_pb2.WatchRequest(follow=events_pb2.Follow())
        answers = self.each(_WATCH, request, events_pb2.WatchResponse)
        async with contextlib.aclosing(answers):
            async for answer in answers:
                if answer.WhichOneof("response") == "caught_up":
                    position = answer.caught_up.position
                    return f"{position.epoch}-{position.number}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request to a page of the console."""

    request: Request
    reply: Reply
    daemon: Daemon
    language: str
    position: str
    """The position of the event log before anything was asked for the page; empty: not known."""
    form: Mapping[str, list[str]]
    """The fields of a form that was sent; empty for GET."""
    sent: SentForm | None = None
    """A form with files, of which only the fields were read; None for others."""

    @property
    def query(self) -> Mapping[str, str]:
        """The fields of the query; of one that was sent several times, the last."""
        return dict(self.request.query)

    @property
    def key(self) -> str:
        """A new key, by which a form is known that is sent several times."""
        return secrets.token_hex(8)

    @property
    def here(self) -> str:
        """The address of the page, to which a form may lead back; without a message."""
        query = [pair for pair in self.request.query if pair[0] not in ("said", "count")]
        path = self.request.path
        return f"{path}?{urlencode(query)}" if query else path

    @property
    def said(self) -> str:
        """The message that the page shows once, as `go` asked for it; empty if there is none."""
        fields: dict[str, object] = dict(self.query)
        key = f"said.{fields.get('said')}"
        t = words(self.language)
        if key not in t:
            return ""
        count = str(fields.get("count", ""))
        fields["count"] = int(count) if count.isdecimal() and len(count) < 10 else 0
        try:
            return t(key, **fields)
        except KeyError:  # written by hand
            return ""

    def field(self, name: str) -> str:
        """Returns the value of a field of the form; empty if it was not sent."""
        values = self.form.get(name)
        return values[-1] if values else ""

    async def ask(self, name: str, request: Message, kind: type[M]) -> M:
        """Does the same as `Daemon.ask`."""
        return await self.daemon.ask(name, request, kind)

    @overload
    async def at_once(self, a: Awaitable[A], b: Awaitable[B], /) -> tuple[A, B]: ...
    @overload
    async def at_once(
        self, a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /
    ) -> tuple[A, B, C]: ...
    @overload
    async def at_once(
        self, a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], /
    ) -> tuple[A, B, C, D]: ...
    @overload
    async def at_once(self, *asked: Awaitable[A]) -> tuple[A, ...]: ...
    async def at_once(self, *asked: Awaitable[object]) -> tuple[object, ...]:
        """Returns the answers of calls that run at the same time; where one fails, the others are
        cancelled, and its error is raised.
        """
        tasks = [asyncio.ensure_future(one) for one in asked]
        try:
            return tuple(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def some(self, name: str, request: Message, kind: type[M], most: int) -> list[M]:
        """Does the same as `Daemon.some`."""
        return await self.daemon.some(name, request, kind, most)

    async def send(self, name: str, messages: AsyncGenerator[bytes, None], kind: type[M]) -> M:
        """Returns the answer of a method that reads a stream, of which the form may be a source.

        Raises HttpError, ClientGoneError.
        """
        method = self.daemon.methods[f"/{name}"]
        call = Exchange(self.daemon.upstream, method, self.request.body, self.reply, None)
        return kind.FromString(await call.one(messages))

    async def show(self, template: str, **values: object) -> None:
        """Answers with a page."""
        text = render(template, self.language, visit=self, **values)
        await send_text(self.request, self.reply, text.encode(), HTML, _HEADERS)

    async def go(self, path: str, said: str = "", **fields: object) -> None:
        """Answers a form with the page that comes next.

        `said`: key of a text, below `said`, that the page shows once, with its fields.
        """
        query = query_of({"said": said, **fields})
        target = f"{path}?{query}" if query else path
        await self.reply.empty(303, {**_HEADERS, "Location": target})


_HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
Page: TypeAlias = Callable[[Visit], Awaitable[None]]
#: Reads a form with files; returns None if it has answered.
Receiver: TypeAlias = Callable[[Visit], Awaitable[Outcome | None]]


@dataclass(frozen=True, slots=True)
class Pages:
    """Makes routes of pages."""

    daemon: Daemon
    turns: FormTurns = field(default_factory=FormTurns)

    def get(self, template: str, page: Page) -> Route:
        """Returns the route of a page."""
        return Route("GET", template, partial(self._visit, page))

    def post(self, template: str, page: Page) -> Route:
        """Returns the route of a form."""
        return Route("POST", template, partial(self._visit, page))

    def receive(self, template: str, receiver: Receiver) -> Route:
        """Returns the route of a form that may have files."""
        return Route("POST", template, partial(self._receive, receiver))

    async def _visit(self, page: Page, request: Request, reply: Reply) -> None:
        form = await _form_of(request)
        position = await self._position() if request.method == "GET" else ""
        await page(self._made(request, reply, form, position=position))

    async def _receive(self, receiver: Receiver, request: Request, reply: Reply) -> None:
        if request.headers.content_type != MULTIPART:
            visit = self._made(request, reply, await _form_of(request))
            outcome = await receiver(visit)
        else:
            sent = SentForm(request)
            visit = self._made(request, reply, sent.fields, sent=sent)
            try:
                outcome = await self._received(receiver, visit, sent)
            except HttpError:
                await sent.skip()
                raise
        if outcome is not None:
            await visit.go(outcome.path, outcome.said, **outcome.fields)

    async def _received(self, receiver: Receiver, visit: Visit, sent: SentForm) -> Outcome | None:
        """Reads a form with files, unless it was sent before. Raises HttpError, ClientGoneError."""
        await sent.read_fields()
        turn = self.turns.of(visit.request.path, visit.field("key"))
        async with turn.lock:
            if turn.outcome is not None and sent.has_files:
                return await turn.repeated(sent)
            outcome = await receiver(visit)
            if outcome is not None and sent.has_files:
                turn.outcome, turn.fields, turn.files = outcome, sent.fields, sent.seen
            return outcome

    def _made(
        self,
        request: Request,
        reply: Reply,
        form: Mapping[str, list[str]],
        *,
        position: str = "",
        sent: SentForm | None = None,
    ) -> Visit:
        return Visit(
            request=request,
            reply=reply,
            daemon=self.daemon,
            language=language_of(request.headers),
            position=position,
            form=form,
            sent=sent,
        )

    async def _position(self) -> str:
        """Returns the position of the event log; empty while others keep all watches open: the page
        is shown, and asks for itself again.
        """
        try:
            return await self.daemon.position()
        except HttpError as error:
            if error.name == TooManyCallsError.name:
                return ""
            raise


def language_of(headers: Headers) -> str:
    """Returns the language of the viewer who sent a request."""
    cookie = None
    for pair in (headers.get("cookie") or "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == LANGUAGE:
            cookie = value
    return chosen(cookie, headers.all("accept-language"))


def is_page(path: str) -> bool:
    """Returns whether a path is one of the console."""
    return path == "/" or path.startswith("/ui/")


def failure_page(scope: Scope, failure: HttpError) -> FailureAnswer:
    """Returns the page of a failure; for a viewer who has to sign in, the way there."""
    if failure.status == 401 and is_page(scope["path"]):
        path, query = scope["raw_path"], scope["query_string"]
        asked = (path + b"?" + query if query else path).decode("ascii", "replace")
        target = query_of({"next": asked if scope["method"] in ("GET", "HEAD") else "/"})
        return FailureAnswer(303, b"", HTML, {**_HEADERS, "Location": f"/login?{target}"})
    try:
        language = language_of(Headers(scope))
    except HttpError:
        language = chosen(None, None)
    text = render("failure.html", language, failure=failure)
    return FailureAnswer(failure.status, text.encode(), HTML, _HEADERS)


async def _form_of(request: Request) -> Mapping[str, list[str]]:
    with contextlib.closing(MessagePlace(asyncio.Semaphore(1))) as place:
        body = await request.body.whole(FORM_BYTES, place)
    if not body:
        return {}
    if request.headers.content_type != "application/x-www-form-urlencoded":
        raise invalid(f"{excerpt(request.path)} accepts application/x-www-form-urlencoded", 415)
    found: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=FORM_FIELDS,
        )
    except ValueError:
        raise invalid(
            f"the form is not UTF-8 with percent-encoding, or has more than {FORM_FIELDS} fields"
        ) from None
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
