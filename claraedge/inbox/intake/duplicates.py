"""Finishes items whose content came before: keeps the original, and reuses the earlier results.

That an item is a duplicate is recorded first; each further step may be repeated after a crash. Only
this module checks whether the earlier results still exist, so that a dead share blocks only items
to be linked.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from claraedge import failpoints
from claraedge.blocking import CancelFlag, in_folder_thread
from claraedge.bugs import known
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.delivery.roots import Roots
from claraedge.errors import ClaraedgeError
from claraedge.fs import extras, files
from claraedge.fs.landing import located
from claraedge.fs.removal import remove, remove_link
from claraedge.fs.trees import move
from claraedge.fs.trusted import opened
from claraedge.inbox import records
from claraedge.inbox.model import Claimed, shown
from claraedge.inbox.records import Duplicate
from claraedge.payloads.tree import PayloadTree
from claraedge.spool.shown import opened_shown
from claraedge.spool.slug import folder_name, slug
from claraedge.spool.spool import Spool
from claraedge.store.database import Database
from claraedge.waiting.until import wait_until

_log = logging.getLogger(__name__)

#: Seconds after which a failed step is tried again.
_RETRY = 10.0


class _ResultsGoneError(Exception):
    """The results to link to are gone, and the original is still in the spool."""


@dataclass(slots=True)
class _Waiting:
    duplicate: Duplicate
    due: float
    """Time of the next try, seconds of the clock's `elapsed`."""


class Duplicates:
    """Finishes duplicates, one after the other, while `run` runs."""

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        config: Config,
        clock: Clock,
        roots: Roots,
        on_again: Callable[[Claimed], None],
    ) -> None:
        """`on_again` is called with items that become jobs of their own after all."""
        self._on_again = on_again
        self._wake = asyncio.Event()
        self._database = database
        self._tree = tree
        self._roots = roots
        self._keep_days = config.outbox.originals_keep_days
        self._spool = Spool(config.state_dir)
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}

    async def load(self) -> None:
        """Loads new duplicates from the database, and at start those of an earlier run."""
        for duplicate in await self._database.read(records.duplicates):
            self._waiting.setdefault(duplicate.item.id, _Waiting(duplicate, 0.0))
        self._wake.set()

    def poke(self) -> None:
        """Retries all waiting duplicates now. Call when what blocked them may be gone."""
        for waiting in self._waiting.values():
            waiting.due = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Finishes duplicates until it is cancelled; a large one does not delay new jobs."""
        while True:
            self._wake.clear()
            await self._advance()
            due = (waiting.due for waiting in self._waiting.values())
            await wait_until(self._wake, self._clock, *due)

    async def _advance(self) -> None:
        now = self._clock.elapsed()
        for name, waiting in [(n, w) for n, w in self._waiting.items() if w.due <= now]:
            item = waiting.duplicate.item
            try:
                await self._finish(waiting.duplicate)
            except _ResultsGoneError:
                await self._run_again(waiting)
            except Exception as error:  # noqa: BLE001 - it fails alone
                waiting.due = self._clock.elapsed() + _RETRY
                why = known(error, "a duplicate", item=name)
                _log.warning(
                    "%s cannot be finished as a duplicate: %s", item.text, why, extra={"item": name}
                )
            else:
                del self._waiting[name]

    async def _finish(self, duplicate: Duplicate) -> None:
        item = duplicate.item
        path, original = await in_folder_thread(self._keep, duplicate)
        done = "skipped" if path == duplicate.path else "linked to its results"
        reason = f"the same content as {shown(duplicate.of_name)}: {done}"
        now = self._clock.now()
        failpoints.reach("duplicate: before commit")
        await self._database.write(
            lambda tx: records.finish_duplicate(tx, item.id, reason, path, original, now)
        )
        failpoints.reach("duplicate: committed")
        if await in_folder_thread(self._sweep, item, path):
            await self._database.write(lambda tx: records.link_removed(tx, item.id, now))
        _log.info("%s: %s", item.text, reason, extra={"item": item.id})

    async def _run_again(self, waiting: _Waiting) -> None:
        duplicate, now = waiting.duplicate, self._clock.now()
        try:
            await self._database.write(lambda tx: records.run_again(tx, duplicate, now))
        except (ClaraedgeError, sqlite3.OperationalError):
            waiting.due = self._clock.elapsed() + _RETRY
            return
        del self._waiting[duplicate.item.id]
        self._on_again(duplicate.item)

    # --- in threads -----------------------------------------------------------------------------

    def _keep(self, flag: CancelFlag, duplicate: Duplicate) -> tuple[str | None, str | None]:
        """Links the results and moves the original to its place; returns both new places.

        Raises _ResultsGoneError.
        """
        item = duplicate.item
        results = None if duplicate.path is None else Path(duplicate.path)
        pipeline = slug(item.pipeline) if results is None else results.parent.name
        name = folder_name(item.text, item.id)
        path = duplicate.path
        if item.options.duplicates == "link" and results is not None:
            link = results.parent / name
            if self._link(item, results, link):
                path = str(link)
            failpoints.reach("duplicate: linked")
        original = self._keep_original(flag, item, Path(pipeline, name))
        failpoints.reach("duplicate: original moved")
        return path, original

    def _link(self, item: Claimed, results: Path, link: Path) -> bool:
        """Links an item to earlier results; False where the outbox's file system has no links.

        Raises _ResultsGoneError where the results are gone.
        """
        self._roots.outbox.refuse()
        if not results.is_dir() and os.path.lexists(self._spool.original(item.id, item.name)):
            remove_link(link)
            raise _ResultsGoneError
        with opened(link.parent) as above:
            if not (above / link.name).is_symlink():
                if not extras.make_link(above / link.name, results.name):
                    return False
                files.sync_folder(above)
        return True

    def _keep_original(self, flag: CancelFlag, item: Claimed, folder: Path) -> str | None:
        """Moves the original to its folder, and returns that; None where originals are not kept."""
        days = self._keep_days if item.keep_originals_days is None else item.keep_originals_days
        if days == 0:
            return None
        root = self._roots.originals
        source = self._spool.original(item.id, item.name)
        target = root.path / folder / os.fsdecode(item.name)
        root.refuse()
        if os.path.lexists(source) or os.path.lexists(located(target.parent, item.name)):
            with opened_shown(root.path, os.fsencode(folder), root.mode) as place:
                move(source, place / target.name, flag=flag)
        return str(target.parent)

    def _sweep(self, flag: CancelFlag, item: Claimed, path: str | None) -> bool:
        """Removes what is left of an item in the spool and the payloads.

        Returns True where its results were removed meanwhile, and so its dead link was removed too.
        """
        flag.check()
        self._spool.remove(item.id)
        remove(self._tree.move_to_removed(item.id))
        return path is not None and remove_link(Path(path), dead=True)
