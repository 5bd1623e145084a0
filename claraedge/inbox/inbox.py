"""The drop folder: turns what is put into it into jobs.

Three loops run at the same time. The first lists folders, receives file system events and inspects
entries until they are settled; the second claims settled entries; the third makes jobs of claimed
ones. Correctness depends on the periodic rescan alone; the watcher only makes it faster.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from claraedge.blocking import in_thread
from claraedge.bugs import Known, known
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.delivery.expiry import Expiry
from claraedge.delivery.roots import Roots
from claraedge.errors import ClaraedgeError, ItemNotFoundError, ItemRetryError
from claraedge.formats.filenames import NameKind
from claraedge.ids import NewId
from claraedge.inbox import finding, records, shares
from claraedge.inbox.candidates.candidates import Candidates
from claraedge.inbox.candidates.entry import Waiting, item_of, state_of
from claraedge.inbox.candidates.first_seen import FirstSeen
from claraedge.inbox.candidates.ready_queue import claimed
from claraedge.inbox.discarding import Discards
from claraedge.inbox.finding import FoundItem, ItemCounts, Unrecorded
from claraedge.inbox.inspection.inspector import Inspection
from claraedge.inbox.inspection.settling import Heard
from claraedge.inbox.intake.definitions import Definitions
from claraedge.inbox.intake.intake import Intake
from claraedge.inbox.intake.retrying import Retries
from claraedge.inbox.model import Item, ItemState
from claraedge.inbox.shares import NO_ANSWER, Shares, on_share
from claraedge.inbox.triggers.drop_folders import ForeignGroupError, make
from claraedge.inbox.triggers.left_out import LeftOuts
from claraedge.inbox.triggers.selection import LeftOut, select
from claraedge.inbox.triggers.triggers import Trigger, Triggers
from claraedge.inbox.watching.folders import Folders
from claraedge.inbox.watching.watch import Signal, Watcher
from claraedge.jobs.model import Priority
from claraedge.jobs.retention.trust import ClockTrust
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.model import Pipeline
from claraedge.searching.page import SearchPage
from claraedge.spool.spool import is_ours
from claraedge.store.database import Database, Transaction
from claraedge.suspects import UNRECORDED, Suspects, Work
from claraedge.waiting.until import wait_until

_log = logging.getLogger(__name__)

#: Entries inspected in one batch.
_INSPECTIONS = 256
#: Items claimed in one transaction.
_CLAIMS = 64
#: Interval (s) at which a full job queue is checked again.
_QUEUE_SECONDS = 1.0
#: Shortest duration (s) of one turn of a loop, however many events arrive.
_TURN = 0.02


class Inbox:
    """Turns entries of the inbox into jobs, while `run` runs."""

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        config: Config,
        clock: Clock,
        new_id: NewId,
        on_submitted: Callable[[str, Priority], None],
        *,
        applied: Callable[[Pipeline], Awaitable[Pipeline]],
        blocked_by: Callable[[], str | None] = lambda: None,
        queued: Callable[[], int] = lambda: 0,
        roots: Roots | None = None,
        expiry: Expiry | None = None,
        suspects: Suspects = UNRECORDED,
    ) -> None:
        """Builds all parts of the inbox; nothing runs before `prepare` and `run`.

        `applied` fills in what manifests of images add to a pipeline (`Applications.applied`).
        `blocked_by` returns why no item may be claimed now, or None; whoever changes its result
        calls `poke`. `queued` returns the number of started jobs that wait for their turn. `roots`:
        the folders that results are delivered to. `expiry`: removes failures.
        """
        roots = roots or Roots(database, config)
        trust = ClockTrust(database, clock)
        expiry = expiry or Expiry(database, roots, config.outbox, clock, trust)
        turn = asyncio.Lock()
        self._outside_reason = blocked_by
        self._suspects = suspects
        self._queued = queued
        self._max_queued = config.inbox.max_queued
        self._database = database
        self._rescan_seconds = config.inbox.rescan_seconds
        self._poll_seconds = config.inbox.poll_seconds
        self._group = config.inbox.group
        self._unfit: dict[Path, str] = {}
        """Folders that do not belong to the configured group -> the reason, for people."""
        self._clock = clock
        self._definitions = Definitions(database)
        self.shares = Shares()
        self._names = config.names.table()
        self._folders = Folders(config, self._definitions, self.shares, self._names)
        self._left_out = LeftOuts(clock)
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._book = FirstSeen(database)
        self._room = Candidates(
            clock,
            new_id,
            self._book,
            self._names,
            suspects,
            max_entries=config.inbox.max_entries,
        )
        self._intake = Intake(
            database,
            tree,
            config,
            clock,
            new_id,
            self._definitions,
            on_submitted,
            applied,
            roots,
            self._names,
            blocked_by,
            self._settled.set,
            suspects,
        )
        self._watcher = Watcher(self._heard, self._lost, self._names)
        self._layout = Triggers(self._folders.root, ())
        self._rescan = True
        self._missed = False
        self._retries = Retries(database, clock, turn)
        self._discards = Discards(database, expiry, turn)
        self._watching: asyncio.Future[None] | None = None
        self._later: dict[Path, dict[str, Waiting]] = {}
        """Folder on a share -> entries (by id) to inspect once no other call to it is running."""

    async def prepare(self) -> None:
        """Creates the folders, and loads what an earlier run had seen or claimed. Call at start.

        A folder that cannot be created is logged; once it exists, the rescan finds it.
        """
        for folder in self._folders.wanted():
            try:
                await self.shares.ask(folder, make, folder, self._group)
                self._unfit.pop(folder, None)
            except ForeignGroupError as error:
                self._unfit[folder] = str(error)
                _log.warning("%s", error)
            except OSError as error:
                _log.warning(
                    "the inbox folder %s cannot be made (%s): make it, and let the user of"
                    " claraedge write there",
                    folder,
                    error.strerror,
                )
        await self._book.load()
        await self._intake.prepare()

    async def run(self) -> None:
        """Runs the inbox until it is cancelled. Any exception that it raises is a bug."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._see(), name="inbox: see")
                group.create_task(self._claim(), name="inbox: claim")
                group.create_task(self._intake.run(), name="inbox: intake")
        finally:
            await asyncio.shield(self._watcher.stop())

    def poke(self) -> None:
        """Starts a rescan and all retries now. Call after a pipeline was created or space freed."""
        self._intake.poke()
        self._rescan = True
        self._changed.set()
        self._settled.set()

    def job_ended(self, job: str) -> None:
        """Notes that a job's results are delivered: items that waited for them continue."""
        self._intake.job_ended(job)

    def _blocked_by(self) -> str | None:
        """Returns why no item is claimed now (see `blocked_by`; or a full job queue), or None."""
        if (reason := self._outside_reason()) is not None:
            return reason
        if (waiting := self._queued()) >= self._max_queued:
            return (
                f"the queue is full: {waiting} jobs wait for their turn, and inbox.max_queued is"
                f" {self._max_queued}; it is taken by itself once jobs have ended"
            )
        return None

    @property
    def root(self) -> Path:
        """The folder of the inbox, an absolute path."""
        return self._folders.root

    async def layout(self) -> Triggers:
        """Reads the triggers as they are now; none where the inbox cannot be read."""
        return await self._folders.layout() or Triggers(self.root, ())

    def warnings(self) -> list[str]:
        """Returns problems of the inbox as a whole, as texts for people."""
        return [
            *self._folders.unreadable(),
            *self._folders.left_out(),
            *self._room.warnings(),
            *self._unfit.values(),
            *self._intake.warnings(),
        ]

    async def items(self, state: ItemState | None = None) -> Sequence[Item]:
        """Returns the items of a state, or all, ordered by the time first seen, then by name."""
        rows = await self._database.read(lambda tx: records.items(tx, state))
        blocked_by = self._blocked_by()
        known = [self._intake.overlay(item, blocked_by) for item in rows]
        present = {item.id for item in known}
        lying = self._room.items(blocked_by) + self._left_out.items()
        known += [item for item in lying if item.id not in present]
        known.sort(key=lambda item: (item.first_seen, item.raw_name))
        return [item for item in known if state is None or item.state is state]

    async def find(
        self, page: SearchPage | None, states: Collection[ItemState], *, retryable: bool
    ) -> tuple[list[FoundItem], ItemCounts]:
        """Returns the matching items of a page in its order, and how many items there are.

        Without a page: no items. See `finding.find`.
        """
        blocked_by = self._blocked_by()
        entries, left_out = self._room.entries(), self._left_out.items()

        def overlay(item: Item) -> Item:
            return self._intake.overlay(item, blocked_by)

        def work(tx: Transaction) -> tuple[list[FoundItem], ItemCounts]:
            unrecorded: Unrecorded[Waiting | Item] = Unrecorded(
                lying=[*entries, *left_out],
                states=[
                    *(state_of(entry, blocked_by) for entry in entries),
                    *(item.state for item in left_out),
                ],
                item=lambda one: one if isinstance(one, Item) else item_of(one, blocked_by),
            )
            counts = finding.counts(tx, overlay, unrecorded)
            if page is None:
                return [], counts
            found = finding.find(
                tx, page, states, retryable=retryable, overlay=overlay, unrecorded=unrecorded
            )
            return found, counts

        return await self._database.read_page(work)

    async def item(self, item: str) -> Item:
        """Returns the item of this id. Raises ItemNotFoundError."""
        recorded = await self._database.read(lambda tx: records.item(tx, item))
        blocked_by = self._blocked_by()
        if recorded is not None:
            return self._intake.overlay(recorded, blocked_by)
        for entry in self._room.entries():
            if entry.id == item:
                return item_of(entry, blocked_by)
        for found in self._left_out.items():
            if found.id == item:
                return found
        raise ItemNotFoundError(
            f"there is no item {item}; `claraedge list inbox` shows those there are"
        )

    async def retry(self, item: str) -> Item:
        """Tries an item again now: a failed one is put back into the inbox, as a new item.

        Raises ItemNotFoundError, and ItemRetryError if there is nothing to try again or the
        original cannot be put back.
        """
        found = await self.item(item)
        if found.state is ItemState.IGNORED:
            raise ItemRetryError(
                f"{found.name} ({item}) is never taken: {found.reason}; {found.remedy}"
            )
        for thing in {item, self._room.thing(item) or item}:
            await self._suspects.forget(Work.INBOX, thing)
        if found.state is ItemState.FAILED:
            await self._retries.put_back(found, self._has_trigger)
        elif not (self._room.inspect_now(item) or self._intake.try_now(item)):
            raise ItemRetryError(
                f"{found.name} ({item}) is {found.state.value}: there is nothing to try again;"
                " to run it once more, drop it again"
            )
        self._rescan = True
        self._changed.set()
        return await self.item(item)

    async def discard(self, item: str) -> Item:
        """Removes a failed item with its original for good; returns it, with `removed` set.

        Raises ItemNotFoundError, ItemNotRemovedError and RemovalPendingError.
        """
        await self._discards.discard(await self.item(item))
        return await self.item(item)

    def _has_trigger(self, folder: Path) -> bool:
        """Whether a folder belongs to a trigger, or will once the folder exists."""
        known = os.fsencode(folder) in self._layout.triggers
        return known or folder in self._folders.wanted() or folder.parent == self._folders.root

    def parked(self) -> int:
        """Returns the number of blocked entries that no row of the database counts as parked."""
        blocked_by = self._blocked_by()
        waiting = 0 if blocked_by is None else self._intake.waiting()
        return self._room.parked(blocked_by) + waiting

    async def counts(self) -> Mapping[ItemState, int]:
        """Returns how many items are in each state; SEEN: all that are not claimed or parked."""
        recorded = await self._database.read(records.counts)
        blocked_by = self._blocked_by()
        blocked = 0 if blocked_by is None else self._intake.waiting()
        parked = self._room.parked(blocked_by)
        return {
            ItemState.SEEN: self._room.count() - parked,
            ItemState.PARKED: recorded[ItemState.PARKED] + parked + blocked,
            ItemState.CLAIMED: max(0, recorded[ItemState.CLAIMED] - blocked),
            ItemState.SUBMITTED: recorded[ItemState.SUBMITTED],
            ItemState.FAILED: recorded[ItemState.FAILED],
        }

    # --- listing and inspecting -----------------------------------------------------------------

    async def _see(self) -> None:
        async with asyncio.TaskGroup() as apart:
            await self._see_all(apart)

    async def _see_all(self, apart: asyncio.TaskGroup) -> None:
        """`apart`: the task group for inspections of shares, which may hang."""
        next_rescan = next_poll = self._clock.elapsed()
        while True:
            self._changed.clear()
            if self._rescan or self._clock.elapsed() >= next_rescan:
                self._rescan = False
                await self._rescan_all()
                next_rescan = self._clock.elapsed() + self._rescan_seconds
                next_poll = self._next_poll()
            elif self._clock.elapsed() >= next_poll:
                unlisted = self._room.unlisted()
                await self._list(
                    t
                    for t in self._layout.triggers.values()
                    if t.folder in unlisted or self._is_polled(t)
                )
                next_poll = self._next_poll()
            elif unlisted := self._room.unlisted():
                await self._list(t for t in self._layout.triggers.values() if t.folder in unlisted)
                next_poll = min(next_poll, self._next_poll())  # it may have failed
            while entries := self._room.due(_INSPECTIONS):
                await self._inspect(entries)
            for folder in [f for f in self._later if not self.shares.busy(f)]:
                apart.create_task(self._inspect_on_share(folder), name=f"inspect {folder}")
            if self._room.any_unlisted:
                self._changed.set()
            await self._book.write()
            await self._pause(self._changed, next_rescan, next_poll, self._room.next_due())

    async def _inspect(self, entries: Sequence[Waiting]) -> None:
        by_folder: dict[Path, list[Waiting]] = {}
        for entry in entries:
            by_folder.setdefault(entry.trigger.folder, []).append(entry)
        here: list[Waiting] = []
        for folder, some in by_folder.items():
            if not on_share(folder):
                here += some
            else:
                self._later.setdefault(folder, {}).update((entry.id, entry) for entry in some)
        if here:
            began = self._clock.elapsed()
            await self._apply_inspections(here, in_thread(self._room.inspect, here), began)

    async def _inspect_on_share(self, folder: Path) -> None:
        """Inspects the waiting entries of one folder on a share; this may hang."""
        while not self.shares.busy(folder) and (later := self._later.pop(folder, None)):
            entries = list(later.values())
            some = self._room.wanted(entries[:_INSPECTIONS])
            if len(entries) > _INSPECTIONS:
                self._later[folder] = {entry.id: entry for entry in entries[_INSPECTIONS:]}
            if some:
                began = self._clock.elapsed()
                results = self.shares.begin(folder, self._room.inspect, some)
                await self._apply_inspections(some, results, began)

    async def _apply_inspections(
        self, entries: Sequence[Waiting], results: Awaitable[list[Inspection | Known]], began: float
    ) -> None:
        if self._room.apply_results(entries, await results, began):
            self._settled.set()
        self._changed.set()

    async def _watch(self, layout: Triggers) -> None:
        """Watches the folders of a layout, in a task of its own: a watch of a share may hang.

        Meanwhile the other folders are still watched, or covered by the rescan.
        """
        if self._watching is not None and not self._watching.done():
            return
        folders = [f for f in self._outermost(layout) if not self.shares.busy(f)]
        self._watching = asyncio.ensure_future(self._try_watch(folders))
        await asyncio.wait([self._watching], timeout=shares.ANSWER)

    async def _try_watch(self, folders: Sequence[Path]) -> None:
        """Watches folders; where that fails, it is logged, and only the rescan finds entries."""
        try:
            await self._watcher.watch(folders)
        except Exception as error:  # noqa: BLE001 - it fails alone
            why = known(error, "the watch of the inbox")
            _log.warning("the inbox is only rescanned, and not watched: %s", why)

    def _is_polled(self, trigger: Trigger) -> bool:
        waits = self._room.has_unconfirmed(trigger.folder)  # for a listing that may have failed
        return self._watcher.partial or trigger.polled or waits

    def _next_poll(self) -> float:
        polled = any(map(self._is_polled, self._layout.triggers.values()))
        return self._clock.elapsed() + self._poll_seconds if polled else float("inf")

    async def _pause(self, event: asyncio.Event, *times: float | None) -> None:
        await asyncio.sleep(_TURN)
        await wait_until(event, self._clock, *times)

    async def _rescan_all(self) -> None:
        """Does the rescan: reads the triggers again, then lists the folder of each."""
        layout = await self._folders.layout()
        if layout is None:
            return
        self._layout = layout
        self._room.unlisted()  # all of them are listed now
        self._room.set_triggers(layout.triggers.values())
        self._left_out.keep(t.folder for t in layout.triggers.values())
        await self._watch(layout)
        await self._list(layout.triggers.values())

    async def _list(self, triggers: Iterable[Trigger]) -> None:
        for trigger in list(triggers):
            began = self._clock.elapsed()
            found = await self._folders.entries(trigger, self._layout)
            if found is None and self.shares.hangs(trigger.folder):
                self._room.silent(trigger.folder, NO_ANSWER)
            if found is not None:
                taken = self._intake.taken()
                entries = [n for n in found.entries if (trigger.folder, n) not in taken]
                self._room.see(trigger, entries, began)
                self._settled.set()  # a group may be complete without entries that are gone
                self._left_out.note(trigger, found.left_out)

    def _outermost(self, layout: Triggers) -> list[Path]:
        outside = [
            t.folder
            for t in layout.triggers.values()
            if t.folder != self._folders.root and self._folders.root not in t.folder.parents
        ]
        return [
            self._folders.root,
            *(f for f in outside if not any(o in f.parents for o in outside)),
        ]

    # --- file system events ---------------------------------------------------------------------

    def _heard(self, batch: Sequence[Signal]) -> None:
        taken, root = self._intake.taken(), os.fsencode(self._folders.root)
        for signal in batch:
            place = self._layout.place(signal.path)
            root_level = signal.path.rpartition(b"/")[0] == root
            if root_level or signal.path in self._layout.triggers:
                self._rescan = True  # a trigger may have been added or removed
            if place is None or is_ours(place.name):
                continue
            if place.trigger.folder == self._folders.root:
                continue
            if self._names.first(NameKind.LEFTOVER, place.inside) is not None:
                continue
            if isinstance(select(place.trigger.rule, place.name, self._names), LeftOut):
                # Left out by its name. But a folder may have been moved in with files inside that
                # a deep trigger selects, and the name of a folder does not matter there.
                moved_in = signal.heard in (Heard.MOVED_IN, Heard.MOVED_FROM_TEMPORARY)
                if place.trigger.deep and moved_in:
                    self._room.list_again(place.trigger.folder)
                continue
            if (place.trigger.folder, place.name) in taken:
                # Either our own move to the spool, or a new entry of the same name: the rescan
                # after the claim shows which.
                self._missed = self._missed or signal.heard is not Heard.REMOVED
                continue
            self._room.hear(place.trigger, place.name, signal.heard, place.inside)
        self._changed.set()

    def _lost(self) -> None:
        _log.warning("file system events were lost: every folder of the inbox is listed again")
        self._room.forget_hints()
        self._rescan = True
        self._changed.set()

    # --- claiming -------------------------------------------------------------------------------

    async def _claim(self) -> None:
        while True:
            self._settled.clear()
            if self._outside_reason() is not None:
                await self._pause(self._settled)  # until somebody pokes
                continue
            if self._blocked_by() is not None:
                await self._pause(self._settled, self._clock.elapsed() + _QUEUE_SECONDS)
                continue
            if not self._intake.full():
                await self._claim_some()
            if self._missed:
                self._missed, self._rescan = False, True
                self._changed.set()
            if self._intake.full() or not self._room.any_ready():
                await self._pause(self._settled, self._room.next_group())

    async def _claim_some(self) -> None:
        ready = self._room.ready(_CLAIMS)
        if self._room.any_unlisted:
            self._changed.set()
        if not ready:  # ready entries do not fit `match`, or are gone: lets other tasks run
            await asyncio.sleep(_TURN)
            return
        seen = [entry.id for one in ready for entry in one.entries]
        try:
            await self._intake.claim([claimed(one) for one in ready], seen)
        except ClaraedgeError as error:
            for one in ready:
                self._room.park(one.entries, str(error))
        else:
            self._room.leave(ready)
