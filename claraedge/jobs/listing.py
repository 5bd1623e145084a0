"""Lists jobs: those that match a filter, found by the index that leaves the fewest to read."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from claraedge.decoding import decode_json
from claraedge.jobs.model import JobState, JobStatus
from claraedge.store.database import Parameter, Row, Transaction
from claraedge.store.pages import Listing

T = TypeVar("T")

#: Most indexed lists that are merged into one; for more, all jobs are read.
_MERGED = 32
_ANY = -1
_NONE: Mapping[str, str] = {}


class ListedJob(NamedTuple):
    """What a list shows of a job. Numbers are those of the wire, times are Unix seconds."""

    id: str
    name: str
    pipeline: str
    payload: str
    state: int
    status: int
    priority: int
    created: float
    started: float | None
    stopped: float | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Selects jobs for a list: fields combine by AND, entries of one field by OR; empty: any.

    Times are Unix seconds.
    """

    states: frozenset[int] = frozenset()
    statuses: frozenset[int] = frozenset()
    pipelines: frozenset[str] = frozenset()
    created_after: float | None = None
    completed_before: float | None = None


#: What a list without a filter shows.
OPEN = JobFilter(states=frozenset({JobState.PENDING, JobState.RUNNING}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The part of all jobs that may match a filter, by their order of creation."""

    after: int = 0
    last: int = 1 << 62


def bounds(tx: Transaction, wanted: JobFilter) -> Bounds | None:
    """Returns between which jobs those are that match the times; None: no job matches them."""
    found = Bounds()
    if wanted.created_after is not None:
        first = _number(tx, "first_created_after", wanted.created_after)
        if first is None:
            return None
        found = replace(found, after=first - 1)
    if wanted.completed_before is not None:
        last = _number(tx, "last_completed_before", wanted.completed_before)
        if last is None:
            return None
        found = replace(found, last=last)
    return found


def _number(tx: Transaction, query: str, time: float) -> int | None:
    row = tx.row(query, time=time)
    return None if row is None else row["number"]


def listing(
    wanted: JobFilter,
    within: Bounds,
    convert: Callable[[ListedJob], T],
    cost: Callable[[T], int],
) -> Listing[T]:
    """Returns the list of the matching jobs in the order of their creation."""
    queries = _queries(wanted)
    parameters: dict[str, Parameter] = {
        "last": within.last,
        "states": _mask(wanted.states),
        "statuses": _mask(wanted.statuses),
        "pipelines": json.dumps(list(wanted.pipelines)) if wanted.pipelines else None,
        "created_after": wanted.created_after,
        "completed_before": wanted.completed_before,
    }

    def rows(tx: Transaction, after: str | int) -> Iterator[Row]:
        found = [tx.each(name, after=after, only=only, **parameters) for name, only in queries]
        return heapq.merge(*found, key=lambda row: row[0])

    return Listing(
        rows=rows,
        key="sequence",
        first=within.after,
        read=lambda _, row: convert(_listed(row)),
        cost=cost,
    )


def _queries(wanted: JobFilter) -> list[tuple[str, Parameter]]:
    """Returns the names of the queries to merge, each with the value that it is for."""
    if wanted.states and JobState.STOPPED not in wanted.states:
        return [("open_jobs", None)]
    if wanted.statuses and JobStatus.HEALTHY not in wanted.statuses:
        known = wanted.statuses & frozenset(JobStatus)
        return [("jobs_of_status", int(status)) for status in known]
    if 0 < len(wanted.pipelines) <= _MERGED:
        return [("jobs_of_pipeline", one) for one in wanted.pipelines]
    return [("all_jobs", None)]


def _mask(numbers: frozenset[int]) -> int:
    """Returns the numbers as bits; those that no column has are left out. All bits: any number."""
    return sum(1 << number for number in numbers if 0 <= number < 63) if numbers else _ANY


def _listed(row: Row) -> ListedJob:
    found = tuple(row)
    entries = found[-1]
    metadata = _NONE if entries == "{}" else decode_json(entries, dict[str, str])
    return ListedJob._make((*found[1:-1], metadata))
