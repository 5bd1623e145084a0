"""Files of the state that no row names and that may be removed.

A file is written before the row that names it, and removed after that row: a crash between the two
steps leaves a file without a row. Restoring an older database also leaves files without rows, those
that are newer; but these must be kept. The difference is recorded here: before a file is written,
and in the transaction in which its row is removed. A file that no row names and that is not
recorded here is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable

from claraedge.store.database import Transaction


def add(tx: Transaction, paths: Iterable[str]) -> None:
    """Records files, or folders with their content, by paths relative to the state."""
    tx.run_many("add_disposable", ({"path": path} for path in paths))


def drop(tx: Transaction, paths: Iterable[str]) -> None:
    """Deletes the records of files that a row names now, or that are removed."""
    tx.run_many("drop_disposable", ({"path": path} for path in paths))


def of(tx: Transaction, kind: str) -> frozenset[str]:
    """Returns the recorded paths in the folder `kind` of the state."""
    return frozenset(row["path"] for row in tx.rows("disposables", kind=kind))


def drop_all(tx: Transaction, kind: str) -> None:
    """Deletes the records of all files in the folder `kind` of the state."""
    tx.run("drop_disposables", kind=kind)
