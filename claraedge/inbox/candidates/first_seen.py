"""Remembers entries that are seen and not claimed yet, so that ids and order survive a restart.

This is an aid only: where it cannot be written, entries count as new after a restart, and no data
is lost.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from claraedge.errors import ClaraedgeError
from claraedge.inbox import records
from claraedge.inbox.model import is_text
from claraedge.inbox.records import Seen
from claraedge.store.database import Database, Transaction


class FirstSeen:
    """The entries that earlier runs saw, and changes of this run that are not written yet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recalled: dict[Path, dict[bytes, Seen]] = defaultdict(dict)
        self._to_write: dict[str, Seen] = {}
        self._to_drop: set[str] = set()

    async def load(self) -> None:
        """Loads the entries that earlier runs saw. Call at start.

        If the daemon stopped between a claim and the end of `write`, the table has an entry that is
        an item already. Another entry may have its name by now, and must not get its id: such rows
        are deleted first.
        """
        with contextlib.suppress(ClaraedgeError, sqlite3.OperationalError):
            await self._database.write(records.unsee_claimed)
        for entry in await self._database.read(records.seen):
            self._recalled[entry.folder][entry.name] = entry

    def recall(self, folder: Path, name: bytes) -> Seen | None:
        """Returns an entry as known from before the start, or None. Forgets it: ask once."""
        return self._recalled[folder].pop(name, None)

    def recalls(self, folder: Path, name: bytes) -> bool:
        """Whether an entry is known from before the start, and was not recalled yet."""
        return name in self._recalled[folder]

    def note(self, entry: Seen) -> None:
        """Notes a new entry, for the next `write`.

        Not in a folder whose name is no UTF-8: nothing in it is ever claimed, so its order does not
        matter.
        """
        if is_text(str(entry.folder)):
            self._to_write[entry.id] = entry

    def forget(self, entry: str) -> None:
        """Forgets an entry that is gone; its row is deleted by the next `write`."""
        if self._to_write.pop(entry, None) is None:
            self._to_drop.add(entry)

    def claimed(self, entry: str) -> None:
        """Forgets an entry that was claimed; the claim has deleted its row."""
        self._to_write.pop(entry, None)

    def present(self, folder: Path, names: Collection[bytes]) -> None:
        """Applies the listing of a folder: what earlier runs saw there and is missing is gone."""
        recalled = self._recalled[folder]
        for name in [name for name in recalled if name not in names]:
            self._to_drop.add(recalled.pop(name).id)

    async def write(self) -> None:
        """Writes all changes in one transaction.

        Where that fails, they are dropped: after a restart, those entries count as new.
        """
        entries, gone = list(self._to_write.values()), list(self._to_drop)
        if not entries and not gone:
            return

        def work(tx: Transaction) -> None:
            for entry in entries:
                records.see(tx, entry)
            for name in gone:
                records.unsee(tx, name)

        with contextlib.suppress(ClaraedgeError, sqlite3.OperationalError):
            await self._database.write(work)
        for entry in entries:
            # Claimed meanwhile: this write added its row after the claim had deleted it.
            if self._to_write.pop(entry.id, None) is None:
                self._to_drop.add(entry.id)
        self._to_drop.difference_update(gone)
