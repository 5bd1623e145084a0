"""Remembers what was seen and not taken yet, so that ids and order outlive a restart.

It is an aid: where it cannot be written, entries are seen anew after a restart; nothing is lost.
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
    """What earlier runs saw, and what is to be written of this one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recalled: dict[Path, dict[bytes, Seen]] = defaultdict(dict)
        self._to_write: dict[str, Seen] = {}
        self._to_drop: set[str] = set()

    async def load(self) -> None:
        """At start.

        Where a stop came between a claim and the end of a write of ours, the book has an entry that
        is an item already. Its name may be another entry's by now, which must not have its id.
        """
        with contextlib.suppress(ClaraedgeError, sqlite3.OperationalError):
            await self._database.write(records.unsee_claimed)
        for entry in await self._database.read(records.seen):
            self._recalled[entry.folder][entry.name] = entry

    def recall(self, folder: Path, name: bytes) -> Seen | None:
        """What is known of an entry from before the start; asked once."""
        return self._recalled[folder].pop(name, None)

    def recalls(self, folder: Path, name: bytes) -> bool:
        """Whether an entry is known from before the start, and nobody asked for it yet."""
        return name in self._recalled[folder]

    def note(self, entry: Seen) -> None:
        """An entry that is new.

        In a folder whose name is no text nothing is ever taken: it needs no place in the order.
        """
        if is_text(str(entry.folder)):
            self._to_write[entry.id] = entry

    def forget(self, entry: str) -> None:
        """It is gone."""
        if self._to_write.pop(entry, None) is None:
            self._to_drop.add(entry)

    def claimed(self, entry: str) -> None:
        """It was taken, and its row with it."""
        self._to_write.pop(entry, None)

    def present(self, folder: Path, names: Collection[bytes]) -> None:
        """All that a folder holds: what else was seen there before the start is gone."""
        recalled = self._recalled[folder]
        for name in [name for name in recalled if name not in names]:
            self._to_drop.add(recalled.pop(name).id)

    async def write(self) -> None:
        """Writes what there is to write, in one transaction."""
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
            # Taken meanwhile: its row came after the claim dropped it.
            if self._to_write.pop(entry.id, None) is None:
                self._to_drop.add(entry.id)
        self._to_drop.difference_update(gone)
