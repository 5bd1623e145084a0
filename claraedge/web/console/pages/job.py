"""The page of one job: how far it is, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from claraedge.web.console.graph import Node, drawn
from claraedge.web.console.hits import find
from claraedge.web.console.rendering import between, moment, urlpath
from claraedge.web.console.visit import Pages, Visit
from claraedge.web.console.words import Words, words
from claraedge.web.http.failures import HttpError
from claraedge.web.http.router import Route
from claraedge.wire.claraedge.v1 import appliance_pb2, search_pb2
from claraedge.wire.nvidia.clara.platform import common_pb2, jobs_pb2

#: The kind of a state, and the key of its text, of each status of an operator.
_STATUSES = {
    jobs_pb2.JOB_OPERATOR_STATUS_PENDING: ("wait", "pending"),
    jobs_pb2.JOB_OPERATOR_STATUS_RUNNING: ("run", "running"),
    jobs_pb2.JOB_OPERATOR_STATUS_COMPLETED: ("well", "completed"),
    jobs_pb2.JOB_OPERATOR_STATUS_FAULTED: ("bad", "faulted"),
}
_NOT_RUN = ("stop", "not_run")
#: Which kinds a page shows before others.
_ORDER = {"bad": 0, "run": 1}
_PRIORITIES = {1: "lower", 2: "normal", 3: "higher", 4: "immediate"}
#: The length of the course of a job, in units of its picture.
_COURSE = 1000
#: Operators that are listed, and drawn.
_LISTED, _DRAWN = 200, 100
#: Reasons to wait on the page.
_WAITS = 20


@dataclass(frozen=True, slots=True)
class _Bar:
    """The time in which an operator ran, as part of that of its job."""

    start: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operator:
    """An operator as its row shows it."""

    name: str
    kind: str
    text: str
    started: common_pb2.Timestamp | None
    took: str
    bar: _Bar | None


class JobPages:
    """Shows a job, and cancels it."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """Yields the routes."""
        yield self._pages.get("/ui/jobs/{job}", self._show)
        yield self._pages.post("/ui/jobs/{job}/cancel", self._cancel)
        yield self._pages.post("/ui/jobs/{job}/start", self._start)

    async def _show(self, visit: Visit, problem: str = "") -> None:
        """`problem`: why the form that was sent failed; it is shown again with what was entered."""
        id_ = visit.request.parameters["job"]
        job = await visit.ask(
            "nvidia.clara.platform.Jobs/Status",
            jobs_pb2.JobsStatusRequest(job_id=common_pb2.Identifier(value=id_)),
            jobs_pb2.JobsStatusResponse,
        )
        waits, found = await visit.at_once(
            visit.ask(
                "claraedge.v1.Queue/Explain",
                appliance_pb2.ExplainRequest(job_id=id_),
                appliance_pb2.ExplainResponse,
            ),
            find(visit, ids=[job.job_id.value], kinds=[search_pb2.HIT_KIND_JOB]),
        )
        operators = _operators(job)
        # What waits for other operators is of less interest.
        reasons = sorted((wait for wait in waits.waits if wait.text), key=_is_next)
        await visit.show(
            "job.html",
            job=job,
            problem=problem,
            hit=next(iter(found.hits), search_pb2.Hit()),
            operators=operators,
            left_out=len(job.operator_details) - len(operators),
            graph=_graph(job, operators, words(visit.language)),
            priority=_PRIORITIES.get(job.priority, "normal"),
            waits=reasons[:_WAITS],
            more_waits=max(0, len(reasons) - _WAITS),
        )

    async def _start(self, visit: Visit) -> None:
        id_ = visit.request.parameters["job"]
        await visit.ask(
            "nvidia.clara.platform.Jobs/Start",
            jobs_pb2.JobsStartRequest(job_id=common_pb2.Identifier(value=id_)),
            jobs_pb2.JobsStartResponse,
        )
        await visit.go(f"/ui/jobs/{urlpath(id_)}", "started")

    async def _cancel(self, visit: Visit) -> None:
        id_ = visit.request.parameters["job"]
        said = "cancelled"
        try:
            job = await visit.ask(
                "nvidia.clara.platform.Jobs/Cancel",
                jobs_pb2.JobsCancelRequest(
                    job_id=common_pb2.Identifier(value=id_), reason=visit.field("reason")
                ),
                jobs_pb2.JobsCancelResponse,
            )
        except HttpError as error:
            if error.status != 504:  # it ends later: an operator has a long time for its end
                await self._show(visit, str(error))
                return
        else:
            ended = job.job_state == jobs_pb2.JOB_STATE_STOPPED
            if ended and job.job_status != jobs_pb2.JOB_STATUS_CANCELED:
                said = "ended_before"
        await visit.go(f"/ui/jobs/{urlpath(id_)}", said)


def _is_next(wait: appliance_pb2.Wait) -> bool:
    """Whether it is the turn of other operators first."""
    return bool(wait.upstream)


def _operators(job: jobs_pb2.JobsStatusResponse) -> list[_Operator]:
    """Returns as many operators as a page has room for, in their order: those that failed or run
    before others.
    """
    ended = job.state == jobs_pb2.JOB_STATE_STOPPED
    first = moment(job.started)
    last = moment(job.stopped) or datetime.now(UTC)
    details = job.operator_details
    states = [_state(one, ended) for one in details]
    wanted = sorted(range(len(details)), key=lambda at: _ORDER.get(states[at][0], len(_ORDER)))
    found = []
    for at in sorted(wanted[:_LISTED]):
        one, (kind, text) = details[at], states[at]
        started = one.started if one.HasField("started") else None
        stopped = one.stopped if one.HasField("stopped") else None
        if stopped is None and ended:
            stopped = job.stopped
        start, stop = moment(started), moment(stopped)
        found.append(
            _Operator(
                name=one.name,
                kind=kind,
                text=text,
                started=started,
                took=between(started, stopped),
                bar=_bar(first, last, start, stop) if first and start else None,
            )
        )
    return found


def _state(one: jobs_pb2.JobsStatusResponse.JobOperatorDetails, ended: bool) -> tuple[str, str]:
    """Returns the kind of an operator's state, and the key of its text."""
    kind, text = _STATUSES.get(one.status, _NOT_RUN)
    return _NOT_RUN if ended and kind in ("wait", "run") else (kind, text)


def _bar(first: datetime, last: datetime, start: datetime, stop: datetime | None) -> _Bar:
    whole = max((last - first).total_seconds(), 1.0)
    at = min(max((start - first).total_seconds() / whole, 0.0), 1.0)
    end = min(max(((stop or last) - first).total_seconds() / whole, at), 1.0)
    begin = min(round(at * _COURSE), _COURSE - 4)
    return _Bar(begin, min(max(round(end * _COURSE) - begin, 4), _COURSE - begin))


def _graph(job: jobs_pb2.JobsStatusResponse, operators: Sequence[_Operator], t: Words) -> Markup:
    if len(job.dag) > _DRAWN:
        return Markup("")
    known = {one.name: one for one in operators}
    nodes = []
    for node in job.dag:
        operator = known.get(node.name)
        kind, text = (operator.kind, operator.text) if operator else _NOT_RUN
        nodes.append(
            Node(
                name=node.name,
                after=[one.name for one in node.input_dependencies],
                follows=[one.name for one in node.order_dependencies],
                kind=kind,
                label=t(f"operator.{text}"),
            )
        )
    return drawn(nodes, t("job.graph"))
