"""Finds items by words, those that were seen last first, and counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest, nsmallest
from itertools import islice
from typing import Generic, Protocol, TypeVar

from claraedge import metadata
from claraedge.decoding import decode_json
from claraedge.inbox.model import Item, ItemOptions, ItemState, shown
from claraedge.inbox.records import PUT_BACK, item_of_row
from claraedge.jobs.model import JobStage, Priority
from claraedge.searching.page import Key, SearchPage
from claraedge.store.database import Row, Transaction

L = TypeVar("L", bound="Lying")

#: The states between which an item changes without a change of its row.
_CLAIMED = frozenset({ItemState.CLAIMED, ItemState.PARKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundItem:
    """What a search shows of an item, and of its job. Times are Unix seconds."""

    item: Item
    pipeline: str = ""
    """The id; empty: not known."""
    pipeline_name: str
    stage: JobStage | None = None
    """Of its job, as all that follows; None: it has no job."""
    priority: Priority | None = None
    cancelling: bool = False
    started: float | None = None
    stopped: float | None = None
    has_results: bool = False

    @property
    def key(self) -> Key:
        """Its place among all results."""
        return Key(self.item.first_seen, self.item.id)


class Lying(Protocol):
    """Something that lies in the inbox, as a search compares it."""

    @property
    def id(self) -> str: ...
    @property
    def first_seen(self) -> float:
        """Unix seconds."""
        ...

    @property
    def pipeline(self) -> str:
        """Name or id, as the trigger names it."""
        ...

    @property
    def raw_name(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrecorded(Generic[L]):
    """What lies in the inbox, and may have no row. There may be many: an item is made only of what
    is shown.
    """

    lying: Sequence[L]
    states: Sequence[ItemState]
    """Of each of them."""
    item: Callable[[L], Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemCounts:
    """How many items there are."""

    states: Mapping[ItemState, int]
    retryable: int


def find(
    tx: Transaction,
    page: SearchPage,
    states: Collection[ItemState],
    *,
    retryable: bool,
    overlay: Callable[[Item], Item],
    unrecorded: Unrecorded[L],
) -> list[FoundItem]:
    """Returns the matching items of a page in its order; no states: of any.

    `retryable`: only those that can be tried again. `overlay` adds to an item what its row does not
    say.
    """
    wanted = frozenset(states or ItemState)
    if retryable:
        wanted &= {ItemState.PARKED, ItemState.FAILED}

    def chosen(found: FoundItem) -> bool:
        return found.item.state in wanted and (not retryable or is_retryable(found.item))

    recorded = list(islice(filter(chosen, _recorded(tx, page, wanted, overlay)), page.limit))
    rows = {one.item.id for one in recorded}
    first = nsmallest if page.newer else nlargest
    others = first(page.limit, _matching(unrecorded, page, wanted, rows), key=_place)
    made = (FoundItem(item=unrecorded.item(one), pipeline_name=one.pipeline) for one in others)
    found = [*recorded, *made]
    found.sort(key=lambda one: one.key, reverse=not page.newer)
    return found[: page.limit]


def _place(one: Lying) -> tuple[float, str]:
    return one.first_seen, one.id


def _matching(
    unrecorded: Unrecorded[L], page: SearchPage, states: frozenset[ItemState], rows: set[str]
) -> Iterator[L]:
    selects_all = page.beyond is None and not page.pipeline and not page.ids
    for one, state in zip(unrecorded.lying, unrecorded.states, strict=True):
        if (
            state in states
            and one.id not in rows
            and (selects_all or page.selects(Key(one.first_seen, one.id), one.pipeline))
            and (
                not page.words.folded
                or page.words.match(one.id, (shown(one.raw_name), one.pipeline))
            )
        ):
            yield one


def is_retryable(item: Item) -> bool:
    """Whether an item can be tried again: it is parked, or it failed and its original is kept."""
    if item.state is not ItemState.FAILED:
        return item.state is ItemState.PARKED
    kept = item.result_path is not None and item.removed is None
    return kept and not item.reason.startswith(PUT_BACK)


def counts(
    tx: Transaction, overlay: Callable[[Item], Item], unrecorded: Unrecorded[L]
) -> ItemCounts:
    """Returns how many items are in each state, and how many can be tried again."""
    states: Counter[ItemState] = Counter(dict.fromkeys(ItemState, 0))
    total, failed = tx.row("all_items_count"), tx.row("failed_item_counts", again=PUT_BACK)
    assert total is not None
    assert failed is not None
    for row in tx.each("open_item_counts"):
        states[ItemState(row["state"])] = row["count"]
    states[ItemState.FAILED] = failed["count"]
    states[ItemState.DELIVERED] = total["count"] - states.total()
    claimed = {row["id"]: item_of_row(row) for row in tx.each("claimed_as_items")}
    for item in claimed.values():
        states[item.state] -= 1
        states[overlay(item).state] += 1
    states.update(unrecorded.states)
    if claimed:
        both = zip(unrecorded.lying, unrecorded.states, strict=True)
        states.subtract(state for one, state in both if one.id in claimed)
    return ItemCounts(states=states, retryable=failed["retryable"] + states[ItemState.PARKED])


def _recorded(
    tx: Transaction,
    page: SearchPage,
    states: frozenset[ItemState],
    overlay: Callable[[Item], Item],
) -> Iterator[FoundItem]:
    kinds = states | _CLAIMED if states & _CLAIMED else states
    text = "" if kinds >= set(ItemState) else f",{','.join(state.value for state in kinds)},"
    if page.ids:
        rows = _by_id(tx, page)
    else:
        query = "find_items_after" if page.newer else "find_items_before"
        rows = tx.each(query, states=text, **page.parameters)
    for row in rows:
        item = overlay(item_of_row(row))
        if not page.words.folded or page.words.match(item.id, _texts(tx, row, item)):
            yield _found(row, item)


def _by_id(tx: Transaction, page: SearchPage) -> Iterator[Row]:
    def key(row: Row) -> Key:
        return Key(row["first_seen"], row["id"])

    rows = tx.rows("items_of_ids", ids=page.encoded_ids)
    rows.sort(key=key, reverse=not page.newer)
    return (row for row in rows if page.selects(key(row), row["pipeline_id"], row["pipeline_name"]))


def _texts(tx: Transaction, row: Row, item: Item) -> list[str]:
    dropped = decode_json(row["options"], ItemOptions).metadata.values()
    of_job = () if item.job is None else metadata.read(tx, item.job).values()
    return [item.name, row["pipeline_name"], *dropped, *of_job]


def _found(row: Row, item: Item) -> FoundItem:
    return FoundItem(
        item=item,
        pipeline=row["pipeline_id"],
        pipeline_name=row["pipeline_name"],
        stage=None if row["stage"] is None else JobStage(row["stage"]),
        priority=None if row["priority"] is None else Priority(row["priority"]),
        cancelling=bool(row["cancelling"]),
        started=row["started"],
        stopped=row["stopped"],
        has_results=bool(row["has_results"]),
    )
