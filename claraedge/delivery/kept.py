"""Rows of the folders in the outbox, the failures and the originals.

Each function runs inside a transaction of its caller. Triggers of the schema add the rows: at the
end of a delivery, at the end of an item that failed, and where `inbox_items.original` is set.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.jobs.retention.keeping import DAY
from claraedge.store.database import Row, Transaction


class KeptKind(enum.Enum):
    """The kind of a kept folder."""

    RESULT = "result"
    FAILURE = "failure"
    ORIGINAL = "original"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A folder that is kept until it expires."""

    sequence: int
    kind: KeptKind
    owner: str
    """The job of a result or of its failure; otherwise the item."""
    path: Path
    size: int
    """Bytes of its files when it was delivered."""
    discarded: bool = False
    """Somebody asked for its removal."""
    links: tuple[Path, ...] = ()
    """Links to a result, made for items with the same content as an earlier one."""


def date(tx: Transaction, now: float, limit: int) -> int:
    """Starts the retention time of rows not yet dated by a trusted clock; returns their number."""
    return tx.run("date_kept", now=now, limit=limit)


def expired(
    tx: Transaction, kind: KeptKind, days: float | None, now: float, limit: int
) -> Sequence[Kept]:
    """Returns the oldest expired folders, at most `limit`; `days` None: they never expire.

    A time that is set in the row has precedence over `days`. `now`: Unix seconds.
    """
    rows = list(tx.rows("kept_as_wished", kind=kind.value, now=now, limit=limit))
    if days is not None:
        before = now - days * DAY
        rows += tx.rows("kept_as_configured", kind=kind.value, before=before, limit=limit)
    return [_kept(tx, row) for row in rows[:limit]]


def discard(tx: Transaction, path: Path, *, wanted: bool = True) -> bool:
    """Records that a failure is to be removed now, or not any more; False: it is not kept."""
    return tx.run("keep_failure", path=str(path), keep=-1.0 if wanted else None) == 1


def discarded(tx: Transaction, limit: int) -> Sequence[Kept]:
    """Returns the failures that are to be removed now, at most `limit`."""
    return [_kept(tx, row) for row in tx.rows("kept_discarded", limit=limit)]


def failure(tx: Transaction, path: Path) -> Kept | None:
    """Returns the failure of this path, or None where it is not kept any more."""
    row = tx.row("kept_failure", path=str(path))
    return None if row is None else _kept(tx, row)


def removed(tx: Transaction, kept: Kept, now: float) -> None:
    """Deletes the row of a removed folder; records the removal for its job and its item."""
    path = str(kept.path)
    tx.run("forget_kept", sequence=kept.sequence, path=path)
    match kept.kind:
        case KeptKind.ORIGINAL:
            tx.run("original_removed", owner=kept.owner, path=path, now=now)
        case KeptKind.RESULT | KeptKind.FAILURE:
            tx.run("delivery_removed", owner=kept.owner, path=path, now=now)
            tx.run("result_of_item_removed", owner=kept.owner, path=path, now=now)
            tx.run("failure_of_item_removed", owner=kept.owner, path=path, now=now)


def links(tx: Transaction, owner: str, path: str) -> tuple[Path, ...]:
    """Returns the links to a result of this job, made for items with the same content."""
    return tuple(Path(link["path"]) for link in tx.rows("links_to_result", owner=owner, path=path))


def _kept(tx: Transaction, row: Row) -> Kept:
    return Kept(
        sequence=row["sequence"],
        kind=KeptKind(row["kind"]),
        owner=row["owner"],
        path=Path(row["path"]),
        size=row["size"],
        discarded=row["keep"] is not None and row["keep"] < 0,
        links=links(tx, row["owner"], row["path"]),
    )
