"""Rows of items, from their claim on. Each function runs inside a transaction of its caller."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from claraedge.decoding import decode_json
from claraedge.inbox.model import Claimed, Item, ItemState, Options, shown
from claraedge.store.database import Row, Transaction


def claim(tx: Transaction, item: Claimed, now: float) -> None:
    """Records the intent; the entries are still in the inbox."""
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
    """Undoes a claim: the entry was never moved, or is gone."""
    tx.run("drop_item", id=item)


def hold(tx: Transaction, item: str, reason: str, remedy: str, now: float) -> None:
    """Says why a claimed item does not go on; an empty reason: it does."""
    state = ItemState.PARKED if reason else ItemState.CLAIMED
    tx.run("item_held", id=item, state=state.value, reason=reason, remedy=remedy, now=now)


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
    """Binds an item to its job; False where it has one already, and nothing may be added then.

    `duplicate_of`: the job is that of another item, which had the same content.
    """
    values = {"digest": digest, "work": work, "duplicate_of": duplicate_of}
    return tx.run("item_submitted", id=item, job=job, now=now, **values) == 1


def fail(tx: Transaction, item: str, reason: str, path: str, now: float) -> None:
    """The end of an item that never became a job."""
    tx.run("item_failed", id=item, reason=reason, path=path, now=now)


def claimed(tx: Transaction) -> Sequence[Claimed]:
    """Items that are claimed and no job yet, in order."""
    return [_claimed(row) for row in tx.rows("claimed_items")]


def get(tx: Transaction, item: str) -> Claimed | None:
    """What was claimed as this item, or None where no row knows it."""
    row = tx.row("item", id=item)
    return None if row is None else _claimed(row)


def put_back(tx: Transaction, item: str, reason: str, now: float) -> None:
    """Says of a failed item that its original is in the inbox again."""
    tx.run("item_put_back", id=item, reason=reason, now=now)


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
    """The last job that was made of the same study or series by the same trigger, or None."""
    row = tx.row("earlier_part", id=item.id, folder=str(item.folder), name=item.name)
    return None if row is None else str(row["job"])


# --- duplicates -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The item that did the same work last."""

    id: str
    name: bytes
    job: str
    state: ItemState
    removed: bool
    """Its results were, for their age, or somebody took them away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """An item whose work was done before: what is left to do is to put it away."""

    item: Claimed
    of: str
    of_name: bytes
    path: str | None
    """Where the results of before are."""


def done_before(tx: Transaction, item: str, work: str) -> Before | None:
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
    """Those that are not put away yet."""
    return [
        Duplicate(
            item=_claimed(row),
            of=row["duplicate_of"],
            of_name=bytes(row["of_name"]),
            path=row["of_path"],
        )
        for row in tx.rows("duplicates")
    ]


def put_away(
    tx: Transaction, item: str, reason: str, path: str | None, original: str | None, now: float
) -> None:
    """The end of a duplicate; `original` is the folder that keeps what was dropped, if one does."""
    tx.run("duplicate_put_away", id=item, reason=reason, path=path, original=original, now=now)


def run_again(tx: Transaction, duplicate: Duplicate, now: float) -> None:
    """What it is a duplicate of has no results any more: it is a claimed item as before."""
    tx.run("results_are_gone", id=duplicate.of, now=now)
    tx.run("no_duplicate", id=duplicate.item.id, now=now)


def link_removed(tx: Transaction, item: str, now: float) -> None:
    """The results that a duplicate was linked to are gone, and its link with them."""
    tx.run("results_are_gone", id=item, now=now)


# --- seen -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An entry that is seen and not claimed."""

    id: str
    folder: Path
    name: bytes
    first_seen: float


def seen(tx: Transaction) -> Sequence[Seen]:
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
    tx.run(
        "see",
        id=entry.id,
        folder=str(entry.folder),
        name=entry.name,
        first_seen=entry.first_seen,
    )


def unsee_claimed(tx: Transaction) -> None:
    """Forgets those that are items."""
    tx.run("unsee_claimed")


def unsee(tx: Transaction, entry: str) -> None:
    tx.run("unsee", id=entry)


# --- items ------------------------------------------------------------------------------------


def state(tx: Transaction, item: str) -> ItemState | None:
    """The state of an item, or None where no row knows it."""
    row = tx.row("item", id=item)
    return None if row is None else ItemState(row["state"])


def items(tx: Transaction, wanted: ItemState | None) -> Sequence[Item]:
    """Items of a state, or all, in the order of their claims."""
    rows = tx.rows("items", state=None if wanted is None else wanted.value)
    return [_item(row) for row in rows]


def _options(row: Row) -> Options:
    return decode_json(row["options"], Options)


def _item(row: Row) -> Item:
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
