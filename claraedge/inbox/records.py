"""Rows of items, from their claim on. Each function runs inside a transaction of its caller."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from claraedge.inbox.model import Claimed, Item, ItemState, shown
from claraedge.store.database import Row, Transaction


def claim(tx: Transaction, item: Claimed, now: float) -> None:
    """Records the intent; the entry is still in the inbox."""
    tx.run(
        "add_item",
        id=item.id,
        folder=str(item.folder),
        name=item.name,
        pipeline=item.pipeline,
        deliver=msgspec.json.encode(item.deliver).decode(),
        fingerprint=item.fingerprint,
        content=item.content,
        size=item.size,
        first_seen=item.first_seen,
        now=now,
    )


def release(tx: Transaction, item: str) -> None:
    """Undoes a claim: the entry was never moved, or is gone."""
    tx.run("drop_item", id=item)


def hold(tx: Transaction, item: str, reason: str, mend: str, now: float) -> None:
    """Says why a claimed item does not go on; an empty reason: it does."""
    state = ItemState.PARKED if reason else ItemState.CLAIMED
    tx.run("item_held", id=item, state=state.value, reason=reason, mend=mend, now=now)


def submit(tx: Transaction, item: str, job: str, now: float) -> bool:
    """Binds an item to its job; False where it has one already, and nothing may be added then."""
    return tx.run("item_submitted", id=item, job=job, now=now) == 1


def fail(tx: Transaction, item: str, reason: str, path: str, now: float) -> None:
    """The end of an item that never became a job."""
    tx.run("item_failed", id=item, reason=reason, path=path, now=now)


def claimed(tx: Transaction) -> Sequence[Claimed]:
    """Items that are claimed and no job yet, in order."""
    return [
        Claimed(
            id=row["id"],
            folder=Path(row["folder"]),
            name=bytes(row["name"]),
            pipeline=row["pipeline"],
            deliver=msgspec.json.decode(row["deliver"], type=tuple[str, ...]),
            fingerprint=row["fingerprint"],
            content=row["content"],
            size=row["size"],
            first_seen=row["first_seen"],
            reason=row["reason"],
            mend=row["mend"],
        )
        for row in tx.rows("claimed_items")
    ]


def state(tx: Transaction, item: str) -> ItemState | None:
    """The state of an item, or None where no row knows it."""
    row = tx.row("item", id=item)
    return None if row is None else ItemState(row["state"])


def items(tx: Transaction, wanted: ItemState | None) -> Sequence[Item]:
    """Items of a state, or all, in the order of their claims."""
    rows = tx.rows("items", state=None if wanted is None else wanted.value)
    return [_item(row) for row in rows]


def _item(row: Row) -> Item:
    return Item(
        id=row["id"],
        folder=shown(os.fsencode(row["folder"])),
        name=shown(bytes(row["name"])),
        raw_name=bytes(row["name"]),
        pipeline=row["pipeline"],
        state=ItemState(row["state"]),
        reason=row["reason"] or row["delivery_reason"] or "",
        mend=row["mend"],
        size=row["size"],
        job=row["job"],
        result_path=row["path"],
        first_seen=row["first_seen"],
    )
