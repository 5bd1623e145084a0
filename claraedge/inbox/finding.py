"""Finds items by words, those that were seen last first, and counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from claraedge import metadata
from claraedge.decoding import decode_json
from claraedge.inbox.model import Item, ItemOptions, ItemState, shown
from claraedge.inbox.records import PUT_BACK, item_of_row
from claraedge.jobs.model import JobStage, Priority
from claraedge.searching.page import Key, SearchPage
from claraedge.store.database import Row, Transaction

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


class Unrecorded(NamedTuple):
    """An item that may have no row, which is made only if it is shown: there may be many."""

    key: Key
    state: ItemState
    pipeline: str
    name: bytes
    item: Callable[[], Item]

    @staticmethod
    def of(item: Item) -> Unrecorded:
        """Returns an item that is made already."""
        key = Key(item.first_seen, item.id)
        return Unrecorded(key, item.state, item.pipeline, item.raw_name, lambda: item)


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
    unrecorded: Iterable[Unrecorded],
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
    others = [one for one in unrecorded if one.key.id not in rows and _is_wanted(one, page, wanted)]
    others.sort(key=lambda one: one.key, reverse=not page.newer)
    made = (FoundItem(item=one.item(), pipeline_name=one.pipeline) for one in others[: page.limit])
    found = [*recorded, *made]
    found.sort(key=lambda one: one.key, reverse=not page.newer)
    return found[: page.limit]


def _is_wanted(one: Unrecorded, page: SearchPage, states: frozenset[ItemState]) -> bool:
    return (
        one.state in states
        and page.has(one.key)
        and (not page.pipeline or one.pipeline == page.pipeline)
        and (not page.words.folded or page.words.match(one.key.id, (shown(one.name), one.pipeline)))
    )


def is_retryable(item: Item) -> bool:
    """Whether an item can be tried again: it is parked, or it failed and its original is kept."""
    if item.state is not ItemState.FAILED:
        return item.state is ItemState.PARKED
    kept = item.result_path is not None and item.removed is None
    return kept and not item.reason.startswith(PUT_BACK)


def counts(
    tx: Transaction, overlay: Callable[[Item], Item], unrecorded: Iterable[Unrecorded]
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
    states.update(one.state for one in unrecorded if one.key.id not in claimed)
    return ItemCounts(states=states, retryable=failed["retryable"] + states[ItemState.PARKED])


def _recorded(
    tx: Transaction,
    page: SearchPage,
    states: frozenset[ItemState],
    overlay: Callable[[Item], Item],
) -> Iterator[FoundItem]:
    kinds = states | _CLAIMED if states & _CLAIMED else states
    text = "" if kinds >= set(ItemState) else f",{','.join(state.value for state in kinds)},"
    query = "find_items_after" if page.newer else "find_items_before"
    for row in tx.each(query, states=text, **page.parameters):
        item = overlay(item_of_row(row))
        if not page.words.folded or page.words.match(item.id, _texts(tx, row, item)):
            yield _found(row, item)


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
