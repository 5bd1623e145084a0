"""Serves `GET /v1/events`: changes as they happen, as server-sent events.

An event has the id `EPOCH-NUMBER`, a position of the event log. A browser that lost its connection
sends the last one as `Last-Event-ID`, and gets what followed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from claraedge.web.http.deadlines import until
from claraedge.web.http.failures import excerpt, invalid
from claraedge.web.http.reply import Reply
from claraedge.web.http.request import Request
from claraedge.web.rpc.codecs import json_text
from claraedge.web.rpc.exchange import Exchange, once
from claraedge.web.rpc.upstream import Upstream
from claraedge.web.v1.forms import EventForm, LineForm, accepted
from claraedge.web.v1.readable import printed
from claraedge.web.v1.requests import field_values
from claraedge.web.v1.rules import Rule
from claraedge.wire.claraedge.v1 import events_pb2

_POSITION = re.compile(r"([0-9A-Za-z]{1,64})-([0-9]{1,20})")
_AFTER = "after"


class Events:
    """Serves Events.Watch."""

    def __init__(self, rule: Rule, upstream: Upstream) -> None:
        self._rule = rule
        self._upstream = upstream

    async def __call__(self, request: Request, reply: Reply) -> None:
        """Sends all changes, or those that the fields of `Follow` in the query select."""
        request.refuse_old()
        form = accepted(request.headers.all("accept"), [_WatchEvents, LineForm])(self._rule)
        message = _watch(request.query, request.headers.get("last-event-id"))
        end = until(request.headers)
        exchange = Exchange(self._upstream, self._rule.method, request.body, reply, end)
        await exchange.stream(once(request, message), form)


#: Fields of Follow that select events.
_SELECTORS = ("job_ids", "all_jobs", "pipelines", "inbox", "deployments")


def _watch(query: Sequence[tuple[str, str]], last: str | None) -> events_pb2.WatchRequest:
    """Returns the request of Watch. Raises HttpError.

    `last`: the id of the last event that the client has.
    """
    wanted = [(name, value) for name, value in query if name != _AFTER]
    afters = [value for name, value in query if name == _AFTER]
    if len(afters) > 1 or any(name.startswith(f"{_AFTER}.") for name, _ in wanted):
        raise invalid(f"{_AFTER} is the id of one event, EPOCH-NUMBER; send it once")
    after = last or (afters[0] if afters else None)
    follow = field_values(events_pb2.Follow, wanted)
    if not wanted:
        follow.all_jobs = follow.pipelines = follow.inbox = follow.deployments = True
    elif not any(getattr(follow, name) for name in _SELECTORS):
        raise invalid(
            "the query selects no events; send allJobs=true, pipelines=true, inbox=true,"
            " deployments=true or jobIds, or no field for all events"
        )
    if after is not None:
        found = _POSITION.fullmatch(after)
        if found is None or int(found[2]) >= 2**64:
            raise invalid(
                f"{excerpt(after)} is no id of an event (EPOCH-NUMBER); leave it out to begin with"
                " the present state"
            )
        follow.after.epoch, follow.after.number = found[1], int(found[2])
    return events_pb2.WatchRequest(follow=follow)


class _WatchEvents(EventForm):
    """Events with their kind and position."""

    async def part(self, answer: bytes) -> bytes:
        message = events_pb2.WatchResponse.FromString(answer)
        kind = message.WhichOneof("response")
        if kind is None:
            return b""
        value = printed(getattr(message, kind))
        name: str = kind
        position = events_pb2.Position()
        if kind == "event":
            name = message.event.WhichOneof("subject") or kind
            position = message.event.position
        elif kind == "caught_up":
            name, position = "caughtUp", message.caught_up.position
        # A browser that lost its connection within a snapshot has to get the whole of it again.
        snapshot = kind == "event" and message.event.snapshot
        id_ = f"id: {position.epoch}-{position.number}\n" if position.epoch and not snapshot else ""
        return f"{id_}event: {name}\n".encode() + b"data: " + json_text(value) + b"\n\n"
