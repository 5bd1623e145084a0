"""Puts items away whose content came before: the original is kept, and the old results stand.

The row that says so comes first; each step may be repeated after a crash.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from claraedge import files
from claraedge.blocking import CancelFlag, in_cancellable_thread
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.delivery.failpoints import Failpoint, nothing
from claraedge.delivery.roots import Roots
from claraedge.delivery.shown import make_shown
from claraedge.delivery.slug import folder_name, slug
from claraedge.delivery.spool import Spool
from claraedge.delivery.trees import move, remove
from claraedge.errors import ClaraedgeError
from claraedge.inbox import records
from claraedge.inbox.model import Claimed, shown
from claraedge.inbox.records import Duplicate
from claraedge.payloads.tree import PayloadTree
from claraedge.store.database import Database

_log = logging.getLogger(__name__)

_RETRY = 10.0


@dataclass(slots=True)
class _Waiting:
    duplicate: Duplicate
    due: float


class Duplicates:
    """Those that are not put away yet."""

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        config: Config,
        clock: Clock,
        roots: Roots,
        failpoint: Failpoint = nothing,
    ) -> None:
        self._database = database
        self._tree = tree
        self._roots = roots
        self._keep_days = config.outbox.originals_keep_days
        self._spool = Spool(config.state_dir)
        self._clock = clock
        self._failpoint = failpoint
        self._waiting: dict[str, _Waiting] = {}

    async def look(self) -> None:
        """Finds new ones, and at start those that a stop left."""
        for duplicate in await self._database.read(records.duplicates):
            self._waiting.setdefault(duplicate.item.id, _Waiting(duplicate, 0.0))

    def next_due(self) -> float | None:
        return min((waiting.due for waiting in self._waiting.values()), default=None)

    async def advance(self) -> None:
        """Puts away what is due."""
        now = self._clock.elapsed()
        for name, waiting in [(n, w) for n, w in self._waiting.items() if w.due <= now]:
            item = waiting.duplicate.item
            try:
                await self._put_away(waiting.duplicate)
            except (OSError, ClaraedgeError, sqlite3.OperationalError) as error:
                waiting.due = self._clock.elapsed() + _RETRY
                _log.warning("%s cannot be put away: %s", item.text, error, extra={"item": name})
            else:
                del self._waiting[name]

    async def _put_away(self, duplicate: Duplicate) -> None:
        item = duplicate.item
        path, original = await in_cancellable_thread(self._keep, duplicate)
        done = "linked to its results" if item.options.duplicates == "link" else "skipped"
        reason = f"the same content as {shown(duplicate.of_name)}: {done}"
        now = self._clock.now()
        self._failpoint("duplicate: before commit")
        await self._database.write(
            lambda tx: records.put_away(tx, item.id, reason, path, original, now)
        )
        self._failpoint("duplicate: committed")
        await in_cancellable_thread(self._sweep, item.id)
        _log.info("%s: %s", item.text, reason, extra={"item": item.id})

    # --- in threads -----------------------------------------------------------------------------

    def _keep(self, flag: CancelFlag, duplicate: Duplicate) -> tuple[str | None, str | None]:
        """Moves the original to its place, and links the results; where both are then."""
        item = duplicate.item
        results = None if duplicate.path is None else Path(duplicate.path)
        pipeline = slug(item.pipeline) if results is None else results.parent.name
        name = folder_name(item.text, item.id)
        original = self._keep_original(flag, item, Path(pipeline, name))
        self._failpoint("duplicate: original moved")
        if item.options.duplicates != "link" or results is None:
            return duplicate.path, original
        self._roots.outbox.refuse()
        link = results.parent / name
        if not link.is_symlink():
            link.symlink_to(results.name)
            files.sync_folder(link.parent)
        self._failpoint("duplicate: linked")
        return str(link), original

    def _keep_original(self, flag: CancelFlag, item: Claimed, folder: Path) -> str | None:
        """The folder that it lies in then; None where originals are not kept."""
        days = self._keep_days if item.keep_originals_days is None else item.keep_originals_days
        if days == 0:
            return None
        root = self._roots.originals
        source = self._spool.original(item.id, item.name)
        target = root.path / folder / os.fsdecode(item.name)
        root.refuse()
        if os.path.lexists(source) or os.path.lexists(target):
            make_shown(target.parent, root.mode)
            move(source, target, flag=flag, failpoint=self._failpoint)
        return str(target.parent)

    def _sweep(self, flag: CancelFlag, item: str) -> None:
        flag.check()
        remove(self._spool.folder(item))
        remove(self._tree.put_away(item))
