"""Rows of lists: what a search found, with the words and links that a page shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from claraedge.web.console.rendering import query_of, urlpath
from claraedge.web.console.visit import Visit
from claraedge.web.http.failures import excerpt, invalid
from claraedge.wire.claraedge.v1 import appliance_pb2, search_pb2

#: The kind of the state of each stage of jobs, by its number.
_STAGES = ("stop", "stop", "wait", "run", "well", "bad", "stop", "bad", "bad")
#: The kind of a state, as a shape, and the key of its text.
_STATES: Mapping[int, tuple[str, str]] = {
    appliance_pb2.ITEM_STATE_SEEN: ("wait", "seen"),
    appliance_pb2.ITEM_STATE_SETTLING: ("wait", "settling"),
    appliance_pb2.ITEM_STATE_CLAIMED: ("run", "claimed"),
    appliance_pb2.ITEM_STATE_SUBMITTED: ("run", "submitted"),
    appliance_pb2.ITEM_STATE_DELIVERED: ("well", "delivered"),
    appliance_pb2.ITEM_STATE_FAILED: ("bad", "failed"),
    appliance_pb2.ITEM_STATE_PARKED: ("wait", "parked"),
    appliance_pb2.ITEM_STATE_IGNORED: ("stop", "ignored"),
}
_OPEN = (
    search_pb2.JOB_STAGE_UNSTARTED,
    search_pb2.JOB_STAGE_WAITING,
    search_pb2.JOB_STAGE_RUNNING,
)
#: How remedies begin that are commands.
_COMMAND = re.compile(r"(sudo|claraedge|podman|systemctl|rm|mv|chmod) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class HitRow:
    """A job or an item in a list."""

    hit: search_pb2.Hit
    kind: str
    """What its state is like: `well`, `run`, `wait`, `bad` or `stop`."""
    state: str
    """The key of the text of its state."""
    link: str
    """The path of its page."""
    is_job: bool
    has_command: bool
    """Its remedy is a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """A filter of a list."""

    name: str
    count: int
    link: str
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLinks:
    """The paths of the pages before and after a page of a list; empty: there is none."""

    newer: str
    older: str


async def find(visit: Visit, **fields: object) -> search_pb2.FindResponse:
    """Returns what Search.Find answers. Raises HttpError."""
    request = search_pb2.FindRequest(**fields)  # type: ignore[arg-type]
    return await visit.ask("claraedge.v1.Search/Find", request, search_pb2.FindResponse)


def rows_of(found: search_pb2.FindResponse) -> list[HitRow]:
    """Returns the hits as rows."""
    return [_row(hit) for hit in found.hits]


def page_links_of(found: search_pb2.FindResponse, path: str, **query: str) -> PageLinks:
    """Returns the paths of the pages around a page; `query`: the fields that stay."""

    def link(token: str) -> str:
        return f"{path}?{query_of({**query, 'page': token})}" if token else ""

    return PageLinks(newer=link(found.previous_page), older=link(found.next_page))


def tabs_of(
    choices: Mapping[str, Sequence[int]],
    counts: Iterable[tuple[int, int]],
    current: str,
    path: str,
    **query: str,
) -> list[Tab]:
    """Returns the filters of a list: names and the states that each selects; none: all.

    `counts`: states, and how many there are of each.
    """
    known = dict(counts)
    found = []
    for name, states in choices.items():
        fields = query_of({"state": name, **query})
        found.append(
            Tab(
                name=name,
                count=sum(known.get(state, 0) for state in states or known),
                link=f"{path}?{fields}",
                current=name == current,
            )
        )
    return found


def chosen_of(visit: Visit, choices: Mapping[str, Sequence[int]], otherwise: str) -> str:
    """Returns the name of the filter in the query. Raises HttpError if there is none like it."""
    name = visit.query.get("state") or otherwise
    if name not in choices:
        raise invalid(f"'{excerpt(name)}' is no filter of this list; use {', '.join(choices)}")
    return name


def state_of(state: int) -> tuple[str, str]:
    """Returns the kind of an item's state, and the key of its text."""
    kind, text = _STATES.get(state, ("wait", "seen"))
    return kind, f"item.{text}"


def is_command(remedy: str) -> bool:
    """Whether a remedy is a command for a terminal."""
    return _COMMAND.match(remedy) is not None


def _row(hit: search_pb2.Hit) -> HitRow:
    is_job = hit.kind == search_pb2.HIT_KIND_JOB
    if is_job:
        kind, text = _STAGES[hit.stage], f"stage.{hit.stage}"
        if hit.cancelling and hit.stage in _OPEN:
            kind, text = "stop", "stage.cancelling"
    else:
        kind, text = state_of(hit.state)
    return HitRow(
        hit=hit,
        kind=kind,
        state=text,
        link=f"/ui/{'jobs' if is_job else 'inbox'}/{urlpath(hit.id)}",
        is_job=is_job,
        has_command=is_command(hit.remedy),
    )
