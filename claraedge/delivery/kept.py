"""Rows of what lies in the outbox and beside it. Each function runs inside a transaction.

Triggers of the schema add them: with the end of a delivery, of an item that failed, and where
`inbox_items.original` is set.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.store.database import Row, Transaction

DAY = 86400.0


class Kind(enum.Enum):
    """What it is."""

    RESULT = "result"
    FAILURE = "failure"
    ORIGINAL = "original"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One folder."""

    sequence: int
    kind: Kind
    owner: str
    """The job of a result or of its failure, else the item."""
    path: Path
    size: int
    """Bytes of its files when it was put there."""
    links: tuple[Path, ...] = ()
    """To a result: of items whose content came before."""


def date(tx: Transaction, now: float, limit: int) -> int:
    """Lets the time of those begin that no clock that is trusted has seen; returns how many."""
    return tx.run("date_kept", now=now, limit=limit)


def expired(
    tx: Transaction, kind: Kind, days: float | None, now: float, limit: int
) -> Sequence[Kept]:
    """Those that were kept for long enough, some of the oldest; `days` None: for ever.

    What a row itself says wins over `days`.
    """
    rows = list(tx.rows("kept_as_wished", kind=kind.value, now=now, limit=limit))
    if days is not None:
        before = now - days * DAY
        rows += tx.rows("kept_as_configured", kind=kind.value, before=before, limit=limit)
    return [_kept(tx, row) for row in rows[:limit]]


def removed(tx: Transaction, kept: Kept, now: float) -> None:
    """It is there no more; the rows of its job and its item say since when."""
    path = str(kept.path)
    tx.run("forget_kept", sequence=kept.sequence, path=path)
    match kept.kind:
        case Kind.ORIGINAL:
            tx.run("original_removed", owner=kept.owner, path=path, now=now)
        case Kind.RESULT | Kind.FAILURE:
            tx.run("delivery_removed", owner=kept.owner, path=path, now=now)
            tx.run("result_of_item_removed", owner=kept.owner, path=path, now=now)
            tx.run("failure_of_item_removed", owner=kept.owner, path=path, now=now)


def links(tx: Transaction, owner: str, path: str) -> tuple[Path, ...]:
    """To a result of this job: of items whose content came before."""
    return tuple(Path(link["path"]) for link in tx.rows("links_to_result", owner=owner, path=path))


def _kept(tx: Transaction, row: Row) -> Kept:
    return Kept(
        sequence=row["sequence"],
        kind=Kind(row["kind"]),
        owner=row["owner"],
        path=Path(row["path"]),
        size=row["size"],
        links=links(tx, row["owner"], row["path"]),
    )
