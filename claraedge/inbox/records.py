"""Rows of items (from their claim on) and of entries that are seen but not claimed.

Each function runs inside a transaction of its caller.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from claraedge.decoding import decode_json
from claraedge.inbox.model import Claimed, Item, ItemOptions, ItemState, shown
from claraedge.store.database import Row, Transaction

#: How the reason of a failed item begins whose original was put back into the inbox.
PUT_BACK = "tried again; before: "
#: The states that `counts` counts.
COUNTED = (ItemState.CLAIMED, ItemState.PARKED, ItemState.SUBMITTED, ItemState.FAILED)


def claim(tx: Transaction, item: Claimed, now: float) -> None:
    """Records the claim of an item, before its entries are moved out of the inbox."""
    tx.run(
        "add_item",
        id=item.id,
        folder=str(item.folder),
        inside=item.inside,
        name=item.name,
        members=b"".join(member + b"\0" for member in item.members),
        pipeline=item.pipeline,
        deliver=msgspec.json.encode(item.deliver).decode(),
        options=msgspec.json.encode(item.options).decode(),
        fingerprint=item.fingerprint,
        content=item.content,
        size=item.size,
        first_seen=item.first_seen,
        keep_originals_days=item.keep_originals_days,
        now=now,
    )


def release(tx: Transaction, item: str) -> None:
    """Deletes the row of a claim whose entries were never moved, or are gone."""
    tx.run("drop_item", id=item)


def block(tx: Transaction, item: str, reason: str, remedy: str, now: float) -> None:
    """Records why a claimed item is blocked; an empty reason: it is not blocked any more."""
    state = ItemState.PARKED if reason else ItemState.CLAIMED
    tx.run("item_blocked", id=item, state=state.value, reason=reason, remedy=remedy, now=now)


def submit(
    tx: Transaction,
    item: str,
    job: str,
    now: float,
    *,
    digest: str,
    work: str,
    duplicate_of: str | None = None,
) -> bool:
    """Binds an item to its job; returns False, and changes nothing, where it has one already.

    The caller must not add a job then. `duplicate_of`: the earlier item with the same content,
    whose job it is.
    """
    values = {"digest": digest, "work": work, "duplicate_of": duplicate_of}
    return tx.run("item_submitted", id=item, job=job, now=now, **values) == 1


def fail(tx: Transaction, item: str, reason: str, path: str, now: float) -> None:
    """Records the failure of an item that never became a job; `path`: the folder of its report."""
    tx.run("item_failed", id=item, reason=reason, path=path, now=now)


def claimed(tx: Transaction) -> Sequence[Claimed]:
    """Returns the items that are claimed and have no job yet, in order."""
    return [_claimed(row) for row in tx.rows("claimed_items")]


def get(tx: Transaction, item: str) -> Claimed | None:
    """Returns the item of this id as it was claimed, or None where there is no such row."""
    row = tx.row("item", id=item)
    return None if row is None else _claimed(row)


def counts(tx: Transaction) -> Mapping[ItemState, int]:
    """Returns how many items are in each state; of failed ones those whose folder is kept."""
    row = tx.row("item_counts")
    assert row is not None
    return {state: row[state.value] for state in COUNTED}


def put_back(tx: Transaction, item: str, before: str, now: float) -> None:
    """Records that the original of a failed item is in the inbox again; `before`: why it failed."""
    tx.run("item_put_back", id=item, reason=PUT_BACK + before, now=now)


def _claimed(row: Row) -> Claimed:
    return Claimed(
        id=row["id"],
        folder=Path(row["folder"]),
        inside=bytes(row["inside"]),
        name=bytes(row["name"]),
        members=tuple(bytes(row["members"]).split(b"\0")[:-1]),
        pipeline=row["pipeline"],
        deliver=decode_json(row["deliver"], tuple[str, ...]),
        options=_options(row),
        fingerprint=row["fingerprint"],
        content=row["content"],
        size=row["size"],
        first_seen=row["first_seen"],
        keep_originals_days=row["keep_originals_days"],
        reason=row["reason"],
        remedy=row["remedy"],
    )


def earlier_part(tx: Transaction, item: Claimed) -> str | None:
    """Returns the last job that the same trigger made of the same study or series, or None."""
    row = tx.row("earlier_part", id=item.id, folder=str(item.folder), name=item.name)
    return None if row is None else str(row["job"])


# --- duplicates -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The last item that did the same work as a later one."""

    id: str
    name: bytes
    job: str
    state: ItemState
    removed: bool
    """Its results are gone: removed for their age, or by somebody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """An item whose work an earlier item did; only its original is still to be kept."""

    item: Claimed
    of: str
    of_name: bytes
    path: str | None
    """The folder with the results of the earlier item."""


def done_before(tx: Transaction, item: str, work: str) -> Before | None:
    """Returns the last item that did this work and is no duplicate itself, or None.

    `work`: the digest of pipeline, content and parameters; `item`: the item to leave out.
    """
    row = tx.row("done_before", id=item, work=work)
    if row is None:
        return None
    return Before(
        id=row["id"],
        name=bytes(row["name"]),
        job=row["job"],
        state=ItemState(row["state"]),
        removed=row["removed"] is not None,
    )


def duplicates(tx: Transaction) -> Sequence[Duplicate]:
    """Returns the duplicates that are not finished yet, in order."""
    return [
        Duplicate(
            item=_claimed(row),
            of=row["duplicate_of"],
            of_name=bytes(row["of_name"]),
            path=row["of_path"],
        )
        for row in tx.rows("duplicates")
    ]


def finish_duplicate(
    tx: Transaction, item: str, reason: str, path: str | None, original: str | None, now: float
) -> None:
    """Records that a duplicate is finished.

    `path`: the folder with the results; `original`: the folder that keeps what was dropped, if any.
    """
    tx.run("finish_duplicate", id=item, reason=reason, path=path, original=original, now=now)


def run_again(tx: Transaction, duplicate: Duplicate, now: float) -> None:
    """Makes a duplicate a claimed item again, because the results of the earlier item are gone."""
    tx.run("results_are_gone", id=duplicate.of, now=now)
    tx.run("no_duplicate", id=duplicate.item.id, now=now)


def link_removed(tx: Transaction, item: str, now: float) -> None:
    """Records that the results which a duplicate's link leads to are gone."""
    tx.run("results_are_gone", id=item, now=now)


# --- seen entries -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An entry that is seen and not claimed."""

    id: str
    folder: Path
    name: bytes
    first_seen: float
    """Unix seconds."""


def seen(tx: Transaction) -> Sequence[Seen]:
    """Returns all entries that are recorded as seen."""
    return [
        Seen(
            id=row["id"],
            folder=Path(row["folder"]),
            name=bytes(row["name"]),
            first_seen=row["first_seen"],
        )
        for row in tx.rows("seen")
    ]


def see(tx: Transaction, entry: Seen) -> None:
    """Records an entry as seen."""
    tx.run(
        "see",
        id=entry.id,
        folder=str(entry.folder),
        name=entry.name,
        first_seen=entry.first_seen,
    )


def unsee_claimed(tx: Transaction) -> None:
    """Deletes the records of seen entries that are claimed items by now."""
    tx.run("unsee_claimed")


def unsee(tx: Transaction, entry: str) -> None:
    """Deletes the record of a seen entry, by its id."""
    tx.run("unsee", id=entry)


# --- items ------------------------------------------------------------------------------------


def state(tx: Transaction, item: str) -> ItemState | None:
    """Returns the state of an item, or None where there is no such row."""
    row = tx.row("item", id=item)
    return None if row is None else ItemState(row["state"])


def items(tx: Transaction, wanted: ItemState | None) -> Sequence[Item]:
    """Returns all items that may be in a state, in the order of their claims; None: any state.

    Those that are neither delivered nor failed are returned for each state that they may have.
    """
    match wanted:
        case None | ItemState.DELIVERED:
            query = "all_items"
        case ItemState.FAILED:
            query = "failed_items"
        case _:
            query = "open_items"
    return [item_of_row(row) for row in tx.rows(query)]


def item(tx: Transaction, item: str) -> Item | None:
    """Returns the item of this id, or None where there is no such row."""
    row = tx.row("item", id=item)
    return None if row is None else item_of_row(row)


def _options(row: Row) -> ItemOptions:
    return decode_json(row["options"], ItemOptions)


def item_of_row(row: Row) -> Item:
    """Returns an item as its row and the one of its delivery say it is."""
    return Item(
        id=row["id"],
        folder=shown(os.fsencode(Path(row["folder"], os.fsdecode(bytes(row["inside"]))))),
        name=shown(bytes(row["name"])),
        raw_name=bytes(row["name"]),
        pipeline=row["pipeline"],
        state=ItemState(row["state"]),
        reason=row["reason"] or row["delivery_reason"] or _options(row).incomplete,
        remedy=row["remedy"],
        size=row["size"],
        job=row["job"],
        result_path=row["path"],
        first_seen=row["first_seen"],
        members=tuple(map(shown, bytes(row["members"]).split(b"\0")[:-1])),
        digest=row["digest"] or "",
        duplicate_of=row["duplicate_of"] or "",
        removed=row["removed"],
        original_path=row["original"],
        original_removed=row["original_removed"],
    )
