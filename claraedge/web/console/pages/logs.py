"""The page of the log of an operator, and of the log of the job itself."""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field

from claraedge.errors import OperatorNotFoundError
from claraedge.web.console.rendering import query_of, urlpath
from claraedge.web.console.results.excerpts import SHOWN, width_of
from claraedge.web.console.results.log_text import shown_line
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.http.failures import HttpError, excerpt, invalid
from claraedge.web.http.router import Route
from claraedge.web.rpc.calls import Calls
from claraedge.web.rpc.exchange import once
from claraedge.web.rpc.upstream import UpstreamCall
from claraedge.wire.claraedge.v1 import logs_pb2
from claraedge.wire.nvidia.clara.platform import common_pb2, jobs_pb2

#: Lines of a page.
LINES = 1000
#: Bytes of a page for the element of a line.
_LINE = 40
#: Attempts that are tried where the last one has printed nothing yet.
_ATTEMPTS = 20
#: Operators whose logs the page leads to.
_OPERATORS = 300
#: Characters of a name that a header cannot have.
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]")
#: Digits of the number of a line or attempt.
_DIGITS = 9
_SERVICE = logs_pb2.DESCRIPTOR.services_by_name["Logs"].full_name
#: The operator that stands for the log of the job itself.
JOB_LOG = "claraedge-engine"
_LIVE = (jobs_pb2.JOB_OPERATOR_STATUS_PENDING, jobs_pb2.JOB_OPERATOR_STATUS_RUNNING)


@dataclass(slots=True, kw_only=True)
class _LogLines:
    """Lines of a log with their numbers, as far as a page has room for them."""

    numbered: deque[tuple[int, str]] = field(default_factory=deque)
    room: int = SHOWN
    count: int = 0
    """Lines that were read."""
    found: int = 0
    """Lines with the text that was searched for."""

    def add(self, line: str) -> bool:
        """Adds the line that was read last; returns False if there is no room for it."""
        text = shown_line(line)
        self.room -= width_of(text) + _LINE
        if self.room < 0 or len(self.numbered) >= LINES:
            return False
        self.numbered.append((self.count, text))
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _LogQuery:
    """Which lines a page shows."""

    attempt: int
    """0: the last one."""
    start: int
    """The number of the first line, from 1; 0: the last lines."""
    find: str


class LogPages:
    """Shows logs."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/jobs/{job}/logs/{operator}", self._show)
        yield self._pages.get("/ui/jobs/{job}/logs/{operator}/text", self._text)
        yield self._pages.get("/ui/jobs/{job}/logs", self._first)

    async def _show(self, visit: Visit) -> None:
        query = _query(visit)
        operator = visit.request.parameters["operator"]
        shown = _number(visit, "older")
        if shown:
            start = max(1, await _count(visit, query) - shown - LINES + 1)
            fields = query_of({"attempt": query.attempt, "from": start})
            await visit.go(f"{visit.request.path}?{fields}")
            return
        job = await visit.ask(
            "nvidia.clara.platform.Jobs/Status",
            jobs_pb2.JobsStatusRequest(
                job_id=common_pb2.Identifier(value=visit.request.parameters["job"])
            ),
            jobs_pb2.JobsStatusResponse,
        )
        last = await _last_attempt(visit)
        attempt = query.attempt or last
        lines, more = await _lines(visit, query)
        own = {one.name.casefold(): one for one in job.operator_details}.get(operator.casefold())
        status = own.status if own is not None else jobs_pb2.JOB_OPERATOR_STATUS_RUNNING
        ended = job.state == jobs_pb2.JOB_STATE_STOPPED or status not in _LIVE
        base = f"/ui/jobs/{urlpath(job.job_id.value)}/logs"
        follows = not ended and not query.start and not query.find and attempt == last
        await visit.show(
            "log.html",
            job=job,
            operator=own.name if own is not None else operator,
            operators=[JOB_LOG, *[one.name for one in job.operator_details[:_OPERATORS]]],
            base=base,
            here=f"{base}/{urlpath(operator)}",
            source=_source(visit, query.attempt) if follows else "",
            query=query,
            attempt=attempt,
            last=last,
            lines=lines,
            more=more,
        )

    async def _first(self, visit: Visit) -> None:
        operator = visit.query.get("operator") or JOB_LOG
        await visit.go(f"{visit.request.path}/{urlpath(operator)}")

    async def _text(self, visit: Visit) -> None:
        """Sends a whole log as a file; a failure leaves it without its end."""
        query = _query(visit)
        operator = visit.request.parameters["operator"]
        name = f"{operator}.{query.attempt}.log" if query.attempt else f"{operator}.log"
        headers = {"Content-Disposition": f'attachment; filename="{_NOT_PLAIN.sub("_", name)}"'}
        reply = visit.reply

        async def send(call: UpstreamCall) -> None:
            answer = await call.read()
            await reply.begin("text/plain; charset=utf-8", headers=headers)
            while answer is not None:
                lines = logs_pb2.ReadLogResponse.FromString(answer).lines
                await reply.part("".join(lines).encode("utf-8", "replace"))
                answer = await call.read()
            await reply.end()

        calls = Calls(_SERVICE, visit.daemon.methods, visit.daemon.upstream)
        exchange = calls.of("ReadLog", visit.request, reply)
        await exchange.run(once(visit.request, _request(visit, query.attempt)), send)


def _query(visit: Visit) -> _LogQuery:
    return _LogQuery(
        attempt=_number(visit, "attempt"),
        start=_number(visit, "from"),
        find=visit.query.get("find", "").strip(),
    )


def _number(visit: Visit, name: str) -> int:
    value = visit.query.get(name) or "0"
    if not (value.isascii() and value.isdigit() and len(value) <= _DIGITS):
        raise invalid(f"the query has {name}={excerpt(value)}; it has to be a number")
    return int(value)


def _source(visit: Visit, attempt: int) -> str:
    """Returns where a browser follows the log."""
    job, operator = (urlpath(visit.request.parameters[name]) for name in ("job", "operator"))
    fields = query_of({"follow": "true", "tail": LINES, "attempt": attempt})
    return f"/v1/jobs/{job}/operators/{operator}/lines?{fields}"


def _request(visit: Visit, attempt: int, tail: int = 0) -> logs_pb2.ReadLogRequest:
    return logs_pb2.ReadLogRequest(
        job_id=visit.request.parameters["job"],
        operator=visit.request.parameters["operator"],
        attempt=attempt,
        tail=tail,
    )


async def _answers(
    visit: Visit, request: logs_pb2.ReadLogRequest
) -> AsyncGenerator[logs_pb2.ReadLogResponse, None]:
    answers = visit.daemon.each(f"{_SERVICE}/ReadLog", request, logs_pb2.ReadLogResponse)
    async with contextlib.aclosing(answers):
        async for answer in answers:
            yield answer


async def _last_attempt(visit: Visit) -> int:
    """Returns the number of the last attempt; 0 for the log of the job, and before the first."""
    found = await _attempt(visit, 0)
    if found is not None:
        return found
    last = 0
    with contextlib.suppress(_NoAttemptError):
        while last < _ATTEMPTS:
            await _attempt(visit, last + 1)
            last += 1
    return last


class _NoAttemptError(Exception):
    """There is no such attempt."""


async def _attempt(visit: Visit, attempt: int) -> int | None:
    """Returns the number of an attempt; None if it has printed nothing. Raises _NoAttemptError."""
    answers = _answers(visit, _request(visit, attempt, 1))
    try:
        async with contextlib.aclosing(answers):
            async for answer in answers:
                return answer.attempt
    except HttpError as error:
        if attempt and error.name == OperatorNotFoundError.name:
            raise _NoAttemptError from None
        raise
    return None


async def _lines(visit: Visit, query: _LogQuery) -> tuple[_LogLines, bool]:
    """Returns the lines of a page, and whether more of them follow, or come before the last."""
    if not query.start and not query.find:
        return await _tail(visit, query)
    found, wanted = _LogLines(), query.find.casefold()
    answers = _answers(visit, _request(visit, query.attempt))
    async with contextlib.aclosing(answers):
        async for answer in answers:
            for line in answer.lines:
                found.count += 1
                if found.count < query.start or (wanted and wanted not in line.casefold()):
                    continue
                found.found += 1
                if not found.add(line):
                    return found, True
    return found, False


async def _count(visit: Visit, query: _LogQuery) -> int:
    """Returns how many lines a log has."""
    answers = _answers(visit, _request(visit, query.attempt))
    async with contextlib.aclosing(answers):
        return sum([len(answer.lines) async for answer in answers])


async def _tail(visit: Visit, query: _LogQuery) -> tuple[_LogLines, bool]:
    lines: deque[str] = deque(maxlen=LINES + 1)
    answers = _answers(visit, _request(visit, query.attempt, LINES + 1))
    async with contextlib.aclosing(answers):
        async for answer in answers:
            lines += answer.lines
    found = _LogLines()
    for line in reversed(lines):
        if not found.add(line):
            break
    found.numbered.reverse()
    return found, len(found.numbered) < len(lines)
