"""Processes claimed items: secures them, fills their payloads and submits jobs, or fails them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import replace
from pathlib import Path

from claraedge import failpoints
from claraedge.blocking import in_folder_thread, in_thread
from claraedge.bugs import known
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.delivery.roots import Roots
from claraedge.errors import ClaraedgeError
from claraedge.formats.filenames import Names
from claraedge.fs import files
from claraedge.fs.adopting import Thing
from claraedge.fs.room import NoRoomError, reason_of
from claraedge.ids import NewId
from claraedge.inbox import records
from claraedge.inbox.inspection.permissions import Blocked
from claraedge.inbox.intake.definitions import Definitions
from claraedge.inbox.intake.duplicates import Duplicates
from claraedge.inbox.intake.failures import Failures
from claraedge.inbox.intake.leftovers import clear
from claraedge.inbox.intake.pending import Entries, Pending, next_together
from claraedge.inbox.intake.processor import NotBegun, Processor
from claraedge.inbox.intake.results import (
    Changed,
    Duplicated,
    Faulty,
    Gone,
    ItemResult,
    Later,
    Submitted,
    Unsettled,
)
from claraedge.inbox.intake.submissions import Submissions
from claraedge.inbox.intake.submit import Filled
from claraedge.inbox.model import Claimed, Item, ItemState
from claraedge.jobs.model import Priority
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.model import Pipeline
from claraedge.spool.spool import Spool
from claraedge.store.database import Database, Transaction
from claraedge.suspects import UNRECORDED, Suspects, Work
from claraedge.waiting.backoff import Backoff
from claraedge.waiting.until import wait_until

_log = logging.getLogger(__name__)

#: Most threads that process items; and most of them for each folder on a share.
_AT_ONCE = 4
_AT_ONCE_OF_SHARE = 2
#: Most jobs created in one transaction.
_BATCH = 64
#: Seconds that a job waits for others to share its transaction.
_LINGER = 0.03
#: Jobs are created in the order of their claims, but wait for an earlier one no longer than this
#: (s) while it is read.
_IN_ORDER = 1.0
#: No further item is claimed while this number of them is in progress.
_BACKLOG = 256
#: Shortest and longest pause (s) between two tries of an item; it doubles with each.
_FIRST_RETRY = 2.0
_LAST_RETRY = 60.0
#: Retry interval (s) after "no space", which is checked before any copy.
_ROOM_RETRY = 5.0


class Intake:
    """Processes the items between their claim and their job, while `run` runs."""

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        config: Config,
        clock: Clock,
        new_id: NewId,
        definitions: Definitions,
        on_submitted: Callable[[str, Priority], None],
        applied: Callable[[Pipeline], Awaitable[Pipeline]],
        roots: Roots,
        names: Names,
        blocked_by: Callable[[], str | None],
        on_progress: Callable[[], None],
        suspects: Suspects = UNRECORDED,
    ) -> None:
        """`blocked_by` returns why no item may be processed now, or None.

        `on_progress` is called after items made progress. `applied`: see `Inbox`.
        """
        self._database = database
        self._suspects = suspects
        self._tree = tree
        self._failures = Failures(roots.failed, clock)
        self._spool = Spool(config.state_dir)
        self._clock = clock
        self._on_submitted = on_submitted
        self._submissions = Submissions(database, clock, new_id, definitions, applied, suspects)
        self._blocked_by = blocked_by
        self._on_progress = on_progress
        self._wake = asyncio.Event()
        self._processor = Processor(self._spool, tree, names, suspects)
        self._at_work = 0
        self._at_failures = asyncio.Semaphore(_AT_ONCE)  # the share of failures may hang
        self._asked: Counter[Path] = Counter()  # threads, by folder on a share: they may hang
        self._pending: dict[str, Pending] = {}
        self._unknown = 0
        """Number of items in the spool that the database did not know at the start."""
        self._awaiting: dict[str, set[str]] = {}
        """Job -> the items that wait for its end."""
        self._entries = Entries()
        self._duplicates = Duplicates(database, tree, config, clock, roots, self._add_again)

    # --- status ---------------------------------------------------------------------------------

    def taken(self) -> Container[tuple[Path, bytes]]:
        """Entries of triggers' folders that are being claimed, and so are no new entries."""
        return self._entries.taken

    def full(self) -> bool:
        """Whether so many items are in progress that no further one is to be claimed."""
        return self.waiting() >= _BACKLOG

    def waiting(self) -> int:
        """Returns the number of items that are in progress, and not recorded as blocked."""
        return sum(not p.item.reason for p in self._pending.values())

    def warnings(self) -> list[str]:
        """Returns problems that were found at start, as texts for people."""
        if not self._unknown:
            return []
        return [
            f"{self._unknown} dropped items that the database does not know lie in"
            f" {self._failures.unknown} now: an older one was put back. Drop them again, or remove"
            " them"
        ]

    def overlay(self, item: Item, blocked_by: str | None) -> Item:
        """Adds to an item what its row does not say, since a full disk prevents writing it.

        `blocked_by`: why no item is processed now, or None.
        """
        pending = self._pending.get(item.id)
        if pending is None:
            return item
        if not pending.item.reason:
            if blocked_by is None:
                return item
            return replace(item, state=ItemState.PARKED, reason=blocked_by)
        return replace(
            item,
            state=ItemState.PARKED,
            reason=pending.item.reason,
            remedy=pending.item.remedy,
            thing=pending.thing,
        )

    def poke(self) -> None:
        """Retries all items now. Call when what blocked them may be gone."""
        for pending in self._pending.values():
            pending.due = min(pending.due, self._clock.elapsed())
        self._duplicates.poke()
        self._wake.set()

    def job_ended(self, job: str) -> None:
        """Continues items of the same content that waited for a job, whose delivery is done."""
        for item in self._awaiting.pop(job, ()):
            self.try_now(item)

    def try_now(self, item: str) -> bool:
        """Tries a claimed item again now; False where none has this id."""
        pending = self._pending.get(item)
        if pending is None:
            return False
        pending.due = min(pending.due, self._clock.elapsed())
        self._wake.set()
        return True

    # --- at start -------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Loads the items that a stop or crash left unfinished, and clears the spool."""
        await in_thread(files.make_folders, self._spool.root)
        for item in await self._database.read(records.claimed):
            self._add(item)
        self._unknown = await clear(self._database, self._spool, self._failures)
        await self._duplicates.load()

    # --- processing -----------------------------------------------------------------------------

    async def claim(self, items: Sequence[Claimed], seen: Sequence[str]) -> None:
        """Records claims in one transaction; `seen`: the ids that their entries had before.

        Raises StorageFullError where the disk is full.
        """
        now = self._clock.now()

        def work(tx: Transaction) -> None:
            for item in items:
                records.claim(tx, item, now)
            for entry in seen:
                records.unsee(tx, entry)

        failpoints.reach("claim: before row")
        await self._database.write(work)
        for item in items:
            self._add(item)
        failpoints.reach("claim: row")
        self._wake.set()

    def _add(self, item: Claimed) -> None:
        self._pending[item.id] = Pending(item, Backoff(_FIRST_RETRY, _LAST_RETRY))
        self._entries.add(self._pending[item.id])

    def _add_again(self, item: Claimed) -> None:
        """Adds a duplicate that has to become a job of its own after all."""
        self._add(item)
        self._entries.leave(self._pending[item.id])  # it has been moved to the spool before
        self._pending[item.id].tries = 1  # others do not wait for it: it had its turn
        self._wake.set()

    def _drop(self, item: str) -> None:
        """Removes an item that is submitted, failed or released."""
        self._entries.leave(self._pending.pop(item))

    async def run(self) -> None:
        """Processes items until it is cancelled. Any exception that it raises is a bug."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._duplicates.run(), name="finish duplicates")
            while True:
                self._wake.clear()
                times: list[float | None] = []
                if self._blocked_by() is None:
                    times = [self._start(group), await self._submit_filled()]
                await wait_until(self._wake, self._clock, *times)

    def _start(self, group: asyncio.TaskGroup) -> float | None:
        """Starts due items, in order; returns when (s, `elapsed`) another one is due, or None."""
        now = self._clock.elapsed()
        waiting = [p for p in self._pending.values() if p.began is None]
        due = deque(p for p in waiting if p.due <= now and not self._hangs(p))
        while due and self._at_work < _AT_ONCE:
            most = -(-len(due) // (_AT_ONCE - self._at_work))
            together, on_share = next_together(due, most)
            if self._hangs(together[0]):
                continue
            for pending in together:
                pending.began = now
                pending.turn = now if pending.turn is None else pending.turn
            if on_share:
                self._asked[together[0].item.folder] += 1
            else:
                self._at_work += 1
            group.create_task(self._work(together), name=f"process {together[0].item.id}")
        return min((p.due for p in waiting if p.due > now), default=None)

    def _hangs(self, pending: Pending) -> bool:
        """Whether an item's share is busy with as many others as it may be, perhaps for ever."""
        return self._asked[pending.item.folder] >= _AT_ONCE_OF_SHARE

    async def _work(self, together: Sequence[Pending]) -> None:
        try:
            steps = await in_folder_thread(
                self._processor.process,
                [pending.item for pending in together],
                {p.item.id: p.known for p in together if p.known is not None},
            )
        finally:
            if self._asked[together[0].item.folder]:
                self._asked[together[0].item.folder] -= 1
            else:
                self._at_work -= 1
        now = self._clock.elapsed()
        others = []
        for pending, step in zip(together, steps, strict=True):
            if not isinstance(step, Gone | NotBegun | OSError | ClaraedgeError):
                self._entries.leave(pending)
            if isinstance(step, Filled):
                pending.filled = pending.known = step
                pending.since = now
            else:
                pending.known = pending.known if isinstance(step, NotBegun) else None
                others.append((pending, step))
        self._wake.set()  # complete items do not wait for the others
        for pending, step in others:
            if isinstance(step, NotBegun):
                pending.began = None
                continue
            try:
                async with self._suspects.during(Work.INBOX, pending.item.id):
                    await self._follow(pending, step)
            except Exception as error:  # noqa: BLE001 - it fails alone
                why = known(error, "the claim of an item", item=pending.item.id)
                await self._block(pending, reason_of(why))
            pending.rest()
        if others:
            self._on_progress()
            self._wake.set()

    async def _submit_filled(self) -> float | None:
        """Submits complete items, in order.

        Returns when (s, `elapsed`) to call again, where some have to wait; else None.
        """
        now = self._clock.elapsed()
        whole: list[Pending] = []
        call_again: float | None = None
        for pending in self._pending.values():
            if pending.filled is not None:
                whole.append(pending)
            elif pending.turn is not None and now - pending.turn < _IN_ORDER:
                call_again = pending.turn + _IN_ORDER
                break
        if not whole:
            return call_again
        oldest = min(pending.since for pending in whole)
        more = any(p.began is None and p.due <= now for p in self._pending.values())
        if (call_again is not None or more) and len(whole) < _BATCH and now - oldest < _LINGER:
            return oldest + _LINGER
        await self._submit(whole[:_BATCH])
        self._on_progress()
        self._wake.set()
        return call_again

    # --- results --------------------------------------------------------------------------------

    async def _submit(self, filled: Sequence[Pending]) -> None:
        whole = [(pending.item, pending.filled) for pending in filled if pending.filled is not None]
        results = await self._submissions.submit(whole)
        for pending, result in zip(filled, results, strict=True):
            await self._follow(pending, result)
            pending.rest()

    async def _follow(self, pending: Pending, result: ItemResult) -> None:
        """Acts on the result of an item's attempt."""
        item = pending.item
        match result:
            case Gone():
                await self._release(pending)
            case Blocked(reason=reason, thing=thing):
                await self._block(pending, reason, result.remedy_of(item.id), thing)
            case Unsettled(content=content):
                pending.item = replace(item, content=content)
                pending.due = self._clock.elapsed() + item.options.settle
            case Faulty(reason=reason, path=path):
                await self._fail(pending, reason, path)
            case Later(job=job):
                self._awaiting.setdefault(job, set()).add(item.id)
                await self._block(
                    pending,
                    f"job {job} has the same content and still runs; it waits for the end of that",
                )
            case Changed():
                pending.due = self._clock.elapsed()
            case Duplicated():
                self._drop(item.id)
                await self._duplicates.load()
            case Submitted(job=job):
                self._drop(item.id)
                _log.info(
                    "%s became a job",
                    item.text,
                    extra={"job": job, "item": item.id, "pipeline": item.pipeline},
                )
                self._on_submitted(job, item.options.jobs_priority)
            case OSError() | ClaraedgeError():
                await self._block(pending, reason_of(result))
                if isinstance(result, NoRoomError):
                    pending.due = min(pending.due, self._clock.elapsed() + _ROOM_RETRY)

    async def _block(
        self, pending: Pending, reason: str, remedy: str = "", thing: Thing | None = None
    ) -> None:
        pending.plan_retry(self._clock.elapsed())
        pending.thing = thing
        item = pending.item
        if (item.reason, item.remedy) == (reason, remedy):
            return
        pending.item = replace(item, reason=reason, remedy=remedy)
        _log.warning("%s waits: %s", item.text, reason, extra={"item": item.id})
        now = self._clock.now()
        # On a full disk the row cannot be updated; `overlay` shows the reason all the same.
        with contextlib.suppress(ClaraedgeError, sqlite3.OperationalError):
            await self._database.write(lambda tx: records.block(tx, item.id, reason, remedy, now))

    async def _release(self, pending: Pending) -> None:
        item = pending.item
        async with self._at_failures:
            failure = await in_folder_thread(lambda _: self._failures.of(item))
        if failure is not None:  # a crash came between writing its failure and updating its row
            await self._failed_row(
                item, "failed before; reason.json in its folder says why", failure
            )
        else:
            failpoints.reach("release: before commit")
            await self._database.write(lambda tx: records.release(tx, item.id))
            failpoints.reach("release: committed")
            _log.info(
                "%s changed or disappeared while it was claimed; its claim is deleted", item.text
            )
        await in_thread(self._spool.remove, item.id)
        self._drop(item.id)

    async def _fail(self, pending: Pending, reason: str, path: Path) -> None:
        item = pending.item
        async with self._at_failures:
            target = await in_folder_thread(self._failures.put, item, reason, path)
        failpoints.reach("fail: before commit")
        await self._failed_row(item, reason, target)
        failpoints.reach("fail: committed")
        await in_thread(self._spool.remove, item.id)
        self._drop(item.id)
        _log.warning("%s failed: %s; it lies in %s", item.text, reason, target)

    async def _failed_row(self, item: Claimed, reason: str, target: Path) -> None:
        now = self._clock.now()
        await self._database.write(lambda tx: records.fail(tx, item.id, reason, str(target), now))
