"""Files of the state that may be removed although no row names them.

A file is written before the row that names it, and removed after the row is gone: a crash between
the two leaves one without a row. So does an older database that is put back, of all that is newer,
and that must be kept. The difference is recorded here: before a file is written, and in the
transaction in which a row gives it up. What no row names and what is not recorded is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable

from claraedge.store.database import Transaction


def add(tx: Transaction, paths: Iterable[str]) -> None:
    """Records files, or folders with all that is in them; their paths are relative to the state."""
    tx.run_many("add_disposable", ({"path": path} for path in paths))


def drop(tx: Transaction, paths: Iterable[str]) -> None:
    """Forgets them: a row names them now, or they are removed."""
    tx.run_many("drop_disposable", ({"path": path} for path in paths))


def of(tx: Transaction, kind: str) -> frozenset[str]:
    """Those that lie in the folder `kind` of the state."""
    return frozenset(row["path"] for row in tx.rows("disposables", kind=kind))


def drop_all(tx: Transaction, kind: str) -> None:
    """Forgets those that lie in the folder `kind` of the state."""
    tx.run("drop_disposables", kind=kind)
