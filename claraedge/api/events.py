"""Serves `claraedge.v1.Events`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import cast

from claraedge import memory
from claraedge.api.appliance import time_of
from claraedge.api.packages.deployments import PHASES
from claraedge.deployments.model import DeploymentPhase
from claraedge.errors import CallTimeoutError, InvalidJobIdError, InvalidRequestError
from claraedge.events.log import EventLog
from claraedge.events.model import Event, Follow
from claraedge.ids import parse_id
from claraedge.inbox.model import shown
from claraedge.waiting.until import wait_set
from claraedge.wire.claraedge.v1 import events_pb2 as wire

#: The number of events that are sent ahead of acknowledgements.
WINDOW = 1000
#: Approximate bytes of an event in memory, without its texts.
_EVENT = 1500


class EventsServicer:
    """Implements Watch."""

    def __init__(self, log: EventLog, idle: float) -> None:
        """`idle` is the seconds after which a client must have acknowledged a full window."""
        self._log = log
        self._idle = idle

    async def Watch(
        self, requests: AsyncIterator[wire.WatchRequest]
    ) -> AsyncGenerator[wire.WatchResponse, None]:
        watcher = _Watcher(self._log)
        reading = asyncio.create_task(watcher.read(requests))
        try:
            async for event in watcher.events(self._idle):
                yield event
            await reading  # raises the error of an invalid request
        finally:
            # Not awaited: gRPC returns a pending read only after the call itself has ended.
            reading.cancel()
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())


class _Watcher:
    """One open stream: what it follows, and the events that are sent but not acknowledged."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._wanted: tuple[Follow, wire.Position | None] | None = None
        self._under_way: deque[int] = deque()
        self._kept = 0
        self._following = False
        self._half_closed = False
        self._failed = False
        self._said = asyncio.Event()

    async def read(self, requests: AsyncIterator[wire.WatchRequest]) -> None:
        """Reads the requests of the client until it closes its side.

        Raises InvalidRequestError, InvalidJobIdError or StreamMemoryError.
        """
        try:
            async for request in requests:
                if request.HasField("follow"):
                    after = request.follow.after if request.follow.HasField("after") else None
                    memory.give_back(self._kept)  # of the request that this one replaces
                    self._kept = sum(map(memory.of_text, request.follow.job_ids))
                    memory.take(self._kept)
                    self._wanted = (_follow(request.follow), after)
                    self._following = True
                elif not self._following:
                    raise InvalidRequestError(
                        "the watch does not say what it follows; its first message has to"
                    )
                elif request.HasField("acknowledge"):
                    while self._under_way and self._under_way[0] <= request.acknowledge.number:
                        self._under_way.popleft()
                else:
                    raise InvalidRequestError("the request says nothing; set follow or acknowledge")
                self._said.set()
            if not self._following:
                raise InvalidRequestError("the watch ends without a message; say what to follow")
        except BaseException:
            self._failed = True
            raise
        finally:
            self._half_closed = True
            self._under_way.clear()
            self._said.set()

    async def events(self, idle: float) -> AsyncGenerator[wire.WatchResponse, None]:
        """Yields the messages to send.

        Raises CallTimeoutError if the window is full and nothing is acknowledged for `idle`
        seconds, and StreamMemoryError.
        """
        follow, number = Follow(), self._log.newest
        while True:
            self._said.clear()
            if self._failed:
                return
            if self._wanted is not None:
                (follow, after), self._wanted = self._wanted, None
                self._under_way.clear()
                if after is not None and await self._log.has(after.epoch, after.number):
                    number = after.number
                else:
                    number, snapshot = await self._log.snapshot(follow)
                    yield _reset(after)
                    with memory.kept(sum(map(_cost, snapshot))):
                        for event in snapshot:
                            async for response in self._sent(event, idle):
                                yield response
                    del snapshot
                    yield wire.WatchResponse(
                        caught_up=wire.CaughtUp(position=self._position(number))
                    )
            batch = await self._log.after(number)
            for event in batch:
                if self._wanted is not None:
                    break
                if follow.wants(event):
                    async for response in self._sent(event, idle):
                        yield response
                number = event.number
            if self._wanted is None and (not batch or number >= self._log.newest):
                await self._something(number)

    async def _sent(self, event: Event, idle: float) -> AsyncGenerator[wire.WatchResponse, None]:
        """Yields the event once the window has room; nothing if a new request arrives before."""
        while len(self._under_way) >= WINDOW and not self._half_closed:
            self._said.clear()
            if self._wanted is not None:
                return
            if not await wait_set(self._said, idle):
                raise CallTimeoutError(
                    f"the client acknowledged nothing for {idle:g} s; the watch is ended. Watch"
                    f" again after the last number that was taken in"
                )
        if not self._half_closed:  # nothing would ever be acknowledged
            self._under_way.append(event.number)
        yield wire.WatchResponse(event=_event(event, self._position(event.number)))

    async def _something(self, number: int) -> None:
        """Returns once the client sent a request or there is an event after `number`."""
        waits = [
            asyncio.ensure_future(self._said.wait()),
            asyncio.ensure_future(self._log.changed(number)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _position(self, number: int) -> wire.Position:
        return wire.Position(epoch=self._log.epoch, number=number)


def _follow(follow: wire.Follow) -> Follow:
    return Follow(
        jobs=frozenset(parse_id(job, InvalidJobIdError) for job in follow.job_ids),
        all_jobs=follow.all_jobs,
        pipelines=follow.pipelines,
        inbox=follow.inbox,
        deployments=follow.deployments,
    )


def _cost(event: Event) -> int:
    """Returns the approximate bytes of memory of an event."""
    return _EVENT + sum(len(text) for text in event.body.values() if isinstance(text, str))


def _reset(after: wire.Position | None) -> wire.WatchResponse:
    reason = "a new watch begins with the present state"
    if after is not None:
        place = f"position {after.number} of epoch {after.epoch or '(none)'}"
        reason = f"{place} is not in the log any more"
    return wire.WatchResponse(reset=wire.Reset(reason=reason))


def _event(event: Event, position: wire.Position) -> wire.Event:
    message = wire.Event(position=position, time=time_of(event.time), snapshot=event.snapshot)
    _FILL[event.kind](message, event.body)
    return message


def _text(body: Mapping[str, object], key: str) -> str:
    value = body[key]
    return "" if value is None else str(value)


def _number(body: Mapping[str, object], key: str) -> int:
    return cast("int", body[key])


def _fill_job(message: wire.Event, body: Mapping[str, object]) -> None:
    job = message.job
    job.job_id, job.name = _text(body, "job"), _text(body, "name")
    job.pipeline_id, job.payload_id = _text(body, "pipeline"), _text(body, "payload")
    job.state = _number(body, "state")  # type: ignore[assignment]
    job.status = _number(body, "status")  # type: ignore[assignment]
    job.priority = _number(body, "priority")  # type: ignore[assignment]
    job.queued, job.cancelling = bool(body["queued"]), bool(body["cancelling"])
    job.removed = bool(body.get("removed"))


def _fill_operator(message: wire.Event, body: Mapping[str, object]) -> None:
    operator = message.operator
    operator.job_id, operator.name = _text(body, "job"), _text(body, "name")
    operator.status = _number(body, "status")  # type: ignore[assignment]
    operator.attempt = _number(body, "attempt")
    if body["exit_code"] is not None:
        operator.exit_code = _number(body, "exit_code")


def _fill_message(message: wire.Event, body: Mapping[str, object]) -> None:
    message.message.job_id, message.message.text = _text(body, "job"), _text(body, "text")


def _fill_delivery(message: wire.Event, body: Mapping[str, object]) -> None:
    delivery = message.delivery
    delivery.job_id, delivery.state = _text(body, "job"), _text(body, "state")
    delivery.reason, delivery.path = _text(body, "reason"), _text(body, "path")


def _fill_pipeline(message: wire.Event, body: Mapping[str, object]) -> None:
    pipeline = message.pipeline
    pipeline.pipeline_id, pipeline.name = _text(body, "id"), _text(body, "name")
    pipeline.removed = bool(body["removed"])


def _fill_item(message: wire.Event, body: Mapping[str, object]) -> None:
    item = message.item
    item.item_id, item.name = _text(body, "id"), shown(bytes.fromhex(_text(body, "name")))
    item.folder, item.pipeline = _text(body, "folder"), _text(body, "pipeline")
    item.state, item.reason = _text(body, "state"), _text(body, "reason")
    item.job_id = _text(body, "job")


def _fill_deployment(message: wire.Event, body: Mapping[str, object]) -> None:
    found = message.deployment
    found.deployment_id, found.name = _text(body, "id"), _text(body, "name")
    found.package_id = _text(body, "package")
    found.phase = PHASES[DeploymentPhase(_text(body, "phase"))]
    found.undeployed, found.removed = bool(body["undeployed"]), bool(body["removed"])
    found.generation, found.restarts = _number(body, "generation"), _number(body, "restarts")
    found.failed = _number(body, "failed")


_FILL: Mapping[str, Callable[[wire.Event, Mapping[str, object]], None]] = {
    "job": _fill_job,
    "operator": _fill_operator,
    "message": _fill_message,
    "delivery": _fill_delivery,
    "pipeline": _fill_pipeline,
    "item": _fill_item,
    "deployment": _fill_deployment,
}
