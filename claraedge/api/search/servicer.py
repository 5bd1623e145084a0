"""Serves `claraedge.v1.Search`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Never, TypeVar

from claraedge.api.appliance import time_of
from claraedge.api.search.tokens import place_of, token_of
from claraedge.errors import InvalidRequestError
from claraedge.ids import parse_id
from claraedge.inbox.finding import FoundItem, is_retryable
from claraedge.inbox.inbox import Inbox
from claraedge.inbox.model import ItemState
from claraedge.jobs.finding import FoundJob
from claraedge.jobs.jobs import Jobs
from claraedge.jobs.model import JobStage
from claraedge.searching.page import SearchPage
from claraedge.searching.words import LONGEST, SearchText
from claraedge.wire.claraedge.v1 import appliance_pb2
from claraedge.wire.claraedge.v1 import search_pb2 as wire
from claraedge.wire.nvidia.clara.platform.jobs_pb2 import JobPriority

E = TypeVar("E", JobStage, ItemState)

#: The hits of a page if the request does not say, and the most that it may ask for.
_HITS, _MOST = 50, 500
#: The most ids that a request may name.
_IDS = 500
#: The longest reason of a hit, in characters; Inbox.Get has the whole text.
_TEXT = 1000

_JOB, _ITEM = wire.HIT_KIND_JOB, wire.HIT_KIND_ITEM
_STAGES = {int(wire.JobStage.Value(f"JOB_STAGE_{one.name}")): one for one in JobStage}
_STATES = {int(appliance_pb2.ItemState.Value(f"ITEM_STATE_{one.name}")): one for one in ItemState}
_STATE_NUMBERS = {
    state: appliance_pb2.ItemState.ValueType(number) for number, state in _STATES.items()
}


class SearchServicer:
    """Implements `claraedge.v1.Search`: Find."""

    def __init__(self, jobs: Jobs, inbox: Inbox) -> None:
        self._jobs = jobs
        self._inbox = inbox

    async def Find(self, request: wire.FindRequest) -> wire.FindResponse:
        """Answers Search.Find. Raises InvalidRequestError if no hit can be as it says."""
        page = _page(request)
        stages = _chosen(request.stages, _STAGES, "stage of jobs")
        states = _chosen(request.states, _STATES, "state of items")
        kinds = _kinds(request)
        jobs, items = await asyncio.gather(
            self._find_jobs(page, request, stages) if _JOB in kinds else _nothing(),
            self._find_items(page, request, states) if _ITEM in kinds else _nothing(),
        )
        found: list[FoundJob | FoundItem] = [*jobs[0], *items[0]]
        found.sort(key=lambda one: one.key, reverse=not page.newer)
        response = _response(page, found)
        for counted in (jobs[1], items[1]):
            response.MergeFrom(counted)
        return response

    async def _find_jobs(
        self, page: SearchPage, request: wire.FindRequest, stages: Collection[JobStage]
    ) -> tuple[Sequence[FoundJob], wire.FindResponse]:
        only_items = bool(request.states or request.retryable) and not stages
        found, counts = await self._jobs.find(None if only_items else page, stages)
        counted = [
            wire.StageCount(stage=_stage(stage), count=count) for stage, count in counts.items()
        ]
        return found, wire.FindResponse(stages=counted)

    async def _find_items(
        self, page: SearchPage, request: wire.FindRequest, states: Collection[ItemState]
    ) -> tuple[Sequence[FoundItem], wire.FindResponse]:
        only_jobs = bool(request.stages) and not (states or request.retryable)
        found, counts = await self._inbox.find(
            None if only_jobs else page, states, retryable=request.retryable
        )
        counted = [
            wire.StateCount(state=_STATE_NUMBERS[state], count=count)
            for state, count in counts.states.items()
        ]
        return found, wire.FindResponse(states=counted, retryable=counts.retryable)


async def _nothing() -> tuple[Sequence[Never], wire.FindResponse]:
    return (), wire.FindResponse()


def _page(request: wire.FindRequest) -> SearchPage:
    if len(request.text) > LONGEST:
        raise InvalidRequestError(
            f"the text to search for has {len(request.text)} characters; shorten it to {LONGEST}"
        )
    if request.limit > _MOST:
        raise InvalidRequestError(
            f"a page of a search has at most {_MOST} hits, and not {request.limit}; set limit to"
            " less, and read the next page"
        )
    if len(request.ids) > _IDS:
        raise InvalidRequestError(
            f"a search names {_IDS} ids at most, and not {len(request.ids)}; search for the others"
            " by another call"
        )
    page = SearchPage(
        words=SearchText(request.text),
        pipeline=request.pipeline,
        ids=frozenset(map(parse_id, request.ids)),
        limit=(request.limit or _HITS) + 1,
    )
    if not request.page_token:
        return page
    newer, beyond = place_of(request.page_token)
    return replace(page, newer=newer, beyond=beyond)


def _chosen(numbers: Collection[int], known: dict[int, E], what: str) -> frozenset[E]:
    for number in numbers:
        if number not in known:
            raise InvalidRequestError(
                f"{number} is no {what}; use 1 to {len(known)}, or leave it out for all"
            )
    return frozenset(known[number] for number in numbers)


def _kinds(request: wire.FindRequest) -> Collection[int]:
    for kind in request.kinds:
        if kind not in (_JOB, _ITEM):
            raise InvalidRequestError(
                f"{kind} is no kind of a hit; use 1 (jobs) or 2 (items), or leave it out for both"
            )
    return request.kinds or (_JOB, _ITEM)


def _response(page: SearchPage, found: list[FoundJob | FoundItem]) -> wire.FindResponse:
    more = len(found) >= page.limit
    shown = found[: page.limit - 1]
    if page.newer:
        shown.reverse()
    response = wire.FindResponse(hits=map(_hit, shown))
    first = shown[0].key if shown else page.beyond
    last = shown[-1].key if shown else page.beyond
    if first is not None and (more if page.newer else page.beyond is not None):
        response.previous_page = token_of(True, first)
    if last is not None and (more or page.newer):
        response.next_page = token_of(False, last)
    return response


def _hit(found: FoundJob | FoundItem) -> wire.Hit:
    return _job(found) if isinstance(found, FoundJob) else _item(found)


def _job(job: FoundJob) -> wire.Hit:
    return wire.Hit(
        kind=_JOB,
        id=job.id,
        name=job.name,
        pipeline_id=job.pipeline,
        pipeline_name=job.pipeline_name,
        stage=_stage(job.stage),
        priority=JobPriority.ValueType(job.priority),
        cancelling=job.cancelling,
        created=time_of(job.created),
        started=None if job.started is None else time_of(job.started),
        stopped=None if job.stopped is None else time_of(job.stopped),
        has_results=job.has_results,
    )


def _item(found: FoundItem) -> wire.Hit:
    item = found.item
    return wire.Hit(
        kind=_ITEM,
        id=item.id,
        name=item.name,
        pipeline_id=found.pipeline,
        pipeline_name=found.pipeline_name,
        stage=_stage(found.stage),
        state=_STATE_NUMBERS[item.state],
        priority=JobPriority.ValueType(found.priority or 0),
        cancelling=found.cancelling,
        created=time_of(item.first_seen),
        started=None if found.started is None else time_of(found.started),
        stopped=None if found.stopped is None else time_of(found.stopped),
        reason=_short(item.reason),
        remedy=item.remedy,
        job_id=item.job or "",
        duplicate_of=item.duplicate_of,
        has_results=found.has_results,
        retryable=is_retryable(item),
    )


def _stage(stage: JobStage | None) -> wire.JobStage.ValueType:
    return wire.JobStage.ValueType(stage or 0)


def _short(text: str) -> str:
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "\N{HORIZONTAL ELLIPSIS}"
