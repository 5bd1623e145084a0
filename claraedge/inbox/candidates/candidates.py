"""Entries that are seen and not claimed yet, and which of them may be claimed."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from claraedge.bugs import Known, known, words
from claraedge.clock import Clock
from claraedge.errors import ClaraedgeError
from claraedge.formats.filenames import Names
from claraedge.ids import NewId
from claraedge.inbox.candidates.entry import TriggerFolder, Waiting, item_of, lives, unit_of
from claraedge.inbox.candidates.first_seen import FirstSeen
from claraedge.inbox.candidates.ready_queue import UNSEEN, ReadyItem, ReadyQueue
from claraedge.inbox.candidates.schedule import Schedule
from claraedge.inbox.inspection.inspector import EntryInspector, Inspection
from claraedge.inbox.inspection.permissions import Blocked
from claraedge.inbox.inspection.settling import NO_HINTS, Heard, decide, hear, unfinished_inside
from claraedge.inbox.inspection.survey import Survey
from claraedge.inbox.inspection.writers import Devices
from claraedge.inbox.model import Item, shown
from claraedge.inbox.records import Seen
from claraedge.inbox.triggers.selection import Selected, select
from claraedge.inbox.triggers.triggers import Trigger
from claraedge.suspects import UNRECORDED, Suspects, Work

#: Delay (s) between a hint and the inspection of its entry; further hints do not postpone it.
_SOON = 0.1
#: Share of the time that inspections of one entry may use: big trees are inspected less often.
_SHARE = 0.05
#: Share of the time that listings may use for which groups ask, and longest pause (s) between two.
_LISTING_SHARE = 0.3
_LISTING_PAUSE = 10.0
#: Pause (s) before a blocked entry is inspected again, and longest pause before an unreadable one.
_AGAIN = 10.0
#: A folder with more entries than `max_entries` is listed again once the number of watched ones
#: has fallen to this share of `max_entries`.
_REFILL = 0.8
#: Hints that do not mean a change of the content.
_IDLE = frozenset({Heard.OPENED, Heard.CLOSED_UNWRITTEN})

_NOT_A_FOLDER = "this trigger accepts only folders: put the file into a folder here"


class Candidates:
    """All entries that wait, by folder and name."""

    def __init__(
        self,
        clock: Clock,
        new_id: NewId,
        book: FirstSeen,
        names: Names,
        suspects: Suspects = UNRECORDED,
        *,
        max_entries: int,
    ) -> None:
        """`max_entries`: how many entries of each folder are watched at once."""
        self._clock = clock
        self._new_id = new_id
        self._book = book
        self._max_entries = max_entries
        self._folders: dict[Path, TriggerFolder] = {}
        self._names = names
        self._suspects = suspects
        self._inspector = EntryInspector(names)
        self._schedule = Schedule(self._needs_inspection)
        self._ready_queue = ReadyQueue(clock, self._folders, self._park_misnamed, self.list_again)
        self._unlisted: set[Path] = set()
        """Folders that have to be listed again."""

    # --- listings and hints ---------------------------------------------------------------------

    def see(self, trigger: Trigger, names: Iterable[bytes], began: float) -> None:
        """Applies the listing of a folder: adds new entries, and drops those that are gone.

        `began`: when the listing began, by the clock's `elapsed` (s). It may lack what arrived
        since.
        """
        now, wall = self._clock.elapsed(), self._clock.now()
        present = set(names)
        self._book.present(trigger.folder, present)
        folder = self._folder(trigger)
        for entry in list(folder.entries.values()):
            if entry.name not in present and entry.heard < began:
                self._drop(entry)
        self._use(folder, trigger, now)
        for name in self._admitted(folder, present - folder.entries.keys()):
            self._add(trigger, name, now, wall).added = began
        folder.listed = began
        folder.list_after = now + min((now - began) / _LISTING_SHARE, _LISTING_PAUSE)
        if folder.unconfirmed:
            folder.unconfirmed = False
            folder.regroup()
        for name in present & folder.entries.keys():
            entry = folder.entries[name]
            entry.added = min(entry.added, began)
            self._schedule.put(entry, min(entry.due, self._earliest(entry, now)))

    def _admitted(self, folder: TriggerFolder, new: set[bytes]) -> Iterable[bytes]:
        """Returns the new names that fit: those known from before the start first, then by name."""
        room = max(0, self._max_entries - len(folder.entries))
        before, folder.unseen = folder.unseen, max(0, len(new) - room)
        if before and not folder.unseen:
            folder.regroup()
        if not folder.unseen:
            return new
        return heapq.nsmallest(
            room, new, key=lambda name: (not self._book.recalls(folder.trigger.folder, name), name)
        )

    def set_triggers(self, triggers: Iterable[Trigger]) -> None:
        """Applies the triggers as they are now; the entries of other folders are dropped.

        It needs no listing of their folders: that of a share may fail for long.
        """
        now = self._clock.elapsed()
        by_folder = {trigger.folder: trigger for trigger in triggers}
        for path, folder in list(self._folders.items()):
            if (trigger := by_folder.get(path)) is not None:
                self._use(folder, trigger, now)
                continue
            for entry in list(folder.entries.values()):
                self._drop(entry)
            del self._folders[path]

    def _use(self, folder: TriggerFolder, trigger: Trigger, now: float) -> None:
        """Sets the trigger of a folder and its entries, which continue if its problem is over."""
        solved = folder.trigger.problem and not trigger.problem
        folder.trigger = trigger
        for entry in folder.entries.values():
            entry.trigger = trigger
            if solved:
                self._schedule.put(entry, now)
                if entry.ready:
                    self._ready_queue.offer(entry)

    def hear(self, trigger: Trigger, name: bytes, heard: Heard, inside: bytes) -> None:
        """Applies a hint from a watcher; `inside` is the path below the entry that it is about."""
        now = self._clock.elapsed()
        entry = self._folder(trigger).entries.get(name)
        if entry is None:
            if heard in _IDLE or heard is Heard.REMOVED:
                return
            folder = self._folder(trigger)
            if len(folder.entries) >= self._max_entries:
                folder.unseen = max(folder.unseen, 1)
                return
            entry = self._add(trigger, name, now, self._clock.now())
        entry.hints = hear(entry.hints, heard, inside)
        if heard not in _IDLE:
            entry.heard = now
            entry.ready = False
            soon = now if entry.hints.complete else now + _SOON
            self._schedule.put(entry, min(entry.due, max(soon, self._earliest(entry, now))))

    def list_again(self, folder: Path) -> None:
        """Has a folder listed again soon: for a group, or for entries that are not watched yet."""
        self._unlisted.add(folder)

    @property
    def any_unlisted(self) -> bool:
        """Whether a folder has to be listed again."""
        return bool(self._unlisted)

    def unlisted(self) -> set[Path]:
        """Returns the folders that have to be listed again; further calls do not repeat them."""
        found, self._unlisted = self._unlisted, set()
        return found

    def has_unconfirmed(self, folder: Path) -> bool:
        """Whether a group waits for a listing of a folder."""
        known = self._folders.get(folder)
        return known is not None and known.unconfirmed

    def forget_hints(self) -> None:
        """Discards the hints of all entries: some were lost, and the others may be outdated."""
        for entry in self._all():
            entry.hints = NO_HINTS

    def inspect_now(self, item: str) -> bool:
        """Schedules the inspection of an entry for now; False where none has this id."""
        for entry in self._all():
            if entry.id == item:
                self._schedule.put(entry, self._clock.elapsed())
                return True
        return False

    def thing(self, item: str) -> str | None:
        """Returns the name of an entry's inspections among the suspects, or None: no such entry."""
        return next((_thing(entry) for entry in self._all() if entry.id == item), None)

    def _folder(self, trigger: Trigger) -> TriggerFolder:
        return self._folders.setdefault(trigger.folder, TriggerFolder(trigger))

    def _all(self) -> Iterator[Waiting]:
        for folder in self._folders.values():
            yield from folder.entries.values()

    def _add(self, trigger: Trigger, name: bytes, now: float, wall: float) -> Waiting:
        known = self._book.recall(trigger.folder, name)
        selected = select(trigger.rule, name, self._names)
        entry = Waiting(
            id=self._new_id() if known is None else known.id,
            trigger=trigger,
            name=name,
            # Entries known from before the start come first, in their earlier order.
            order=(known is None, now if known is None else known.first_seen, name),
            first_seen=wall if known is None else known.first_seen,
            added=now,
            heard=now,
            due=now,
            unfinished=selected.unfinished if isinstance(selected, Selected) else "",
        )
        if known is None:
            self._book.note(
                Seen(id=entry.id, folder=trigger.folder, name=name, first_seen=entry.first_seen)
            )
        self._folder(trigger).entries[name] = entry
        self._schedule.put(entry, now)
        return entry

    def _drop(self, entry: Waiting) -> None:
        """Forgets an entry that is gone."""
        self._remove(entry)
        self._book.forget(entry.id)

    def _remove(self, entry: Waiting) -> None:
        folder = self._folders[entry.trigger.folder]
        if folder.entries.get(entry.name) is entry:
            del folder.entries[entry.name]
            folder.regroup()
            if folder.unseen and len(folder.entries) <= self._max_entries * _REFILL:
                self.list_again(entry.trigger.folder)

    @staticmethod
    def _earliest(entry: Waiting, now: float) -> float:
        return max(now, entry.inspected + max(_SOON, entry.cost / _SHARE))

    # --- inspection -----------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """Returns the time (s) of the next inspection, by the clock's `elapsed`, or None."""
        return self._schedule.next()

    def due(self, most: int) -> Sequence[Waiting]:
        """Returns up to `most` entries to inspect now, and removes them from the schedule."""
        return self._schedule.pop(self._clock.elapsed(), most)

    def _needs_inspection(self, entry: Waiting) -> bool:
        return not entry.ready and not entry.trigger.problem and lives(self._folders, entry)

    def wanted(self, entries: Iterable[Waiting]) -> list[Waiting]:
        """Returns those of these entries for which another inspection can change something."""
        return [entry for entry in entries if self._needs_inspection(entry)]

    def silent(self, folder: Path, reason: str) -> None:
        """Parks the entries of a folder that does not answer, with this reason."""
        known = self._folders.get(folder)
        for entry in () if known is None else known.entries.values():
            if not entry.ready:
                entry.reason, entry.remedy, entry.thing = reason, "", None
                entry.parked = entry.blocked = True

    def inspect(self, entries: Sequence[Waiting]) -> list[Inspection | Known]:
        """Inspects each entry; returns what was found, or the error. Blocking; changes nothing."""
        now = self._clock.elapsed()
        devices: Devices = {}
        return [self._inspect(entry, now, devices) for entry in entries]

    def _inspect(self, entry: Waiting, now: float, devices: Devices) -> Inspection | Known:
        settled = entry.quiet is not None and now - entry.quiet.since >= entry.trigger.settle
        try:
            with self._suspects.on(Work.INBOX, _thing(entry)):
                return self._inspector.inspect(
                    entry.trigger,
                    entry.name,
                    entry.identified,
                    devices if entry.hints.complete or settled else None,
                )
        except Exception as error:  # noqa: BLE001 - it fails alone
            return known(error, "the inspection of an entry of the inbox", item=entry.id)

    def apply_results(
        self, entries: Sequence[Waiting], results: Sequence[Inspection | Known], began: float
    ) -> bool:
        """Applies the results of inspections; returns True where more may be claimed now.

        `began`: when the inspections began, by the clock's `elapsed` (s).
        """
        more = False
        for entry, found in zip(entries, results, strict=True):
            if not lives(self._folders, entry):
                continue
            before = unit_of(entry)
            if isinstance(found, OSError | ClaraedgeError):
                entry.reason, entry.remedy, entry.thing = words(found), "", None
                entry.parked = entry.blocked = True
                again = min(entry.trigger.settle, _AGAIN)
                self._schedule.put(entry, self._clock.elapsed() + again)
            elif found.survey is None:
                self._drop(entry)
            elif found.is_folder_of_more:
                self._drop(entry)
                self.list_again(entry.trigger.folder)
            else:
                self._decide(entry, found.survey, found, began)
            # A group may be complete now, without an entry that is gone or found to be missing.
            if not lives(self._folders, entry) or unit_of(entry) != before:
                self._folders[entry.trigger.folder].regroup()
                more = True
            more = more or entry.ready
        return more

    def _decide(self, entry: Waiting, seen: Survey, found: Inspection, began: float) -> None:
        entry.survey, entry.cost, entry.inspected = seen, found.cost, began
        entry.identified = found.identified
        decision = decide(entry.quiet, seen.reading, began, entry.trigger.settle, entry.hints)
        entry.quiet = decision.quiet
        blocked = _obstacle(entry, found)
        entry.parked = entry.blocked = blocked is not None
        entry.reason = blocked.reason if blocked else decision.reason
        entry.remedy = blocked.remedy_of(entry.id) if blocked else ""
        entry.thing = blocked.thing if blocked else None
        unfinished = self._unfinished(entry)
        entry.partial = unfinished or unfinished_inside(seen.reading)
        if unfinished:
            # Inspections continue: a program that writes it counts as activity in its group.
            entry.superseded = found.whole is not None
            if found.whole is not None:
                unfinished = (
                    f"a part of '{shown(found.whole)}' that a broken transfer left; that file came"
                    " whole since: remove this one"
                )
            entry.reason, entry.remedy, entry.thing = unfinished, "", None
            stale = decision.quiet.since + 2 * entry.trigger.settle
            entry.parked = began >= stale
            again = stale if began < stale else began + max(_AGAIN, entry.cost / _SHARE)
            self._schedule.put(entry, max(again, self._earliest(entry, began)))
        elif not decision.settled:
            self._schedule.put(entry, max(decision.next_inspection, self._earliest(entry, began)))
        elif blocked is not None:
            self._schedule.put(entry, began + max(_AGAIN, entry.cost / _SHARE))
        else:
            entry.ready = True
            self._ready_queue.offer(entry)

    def _unfinished(self, entry: Waiting) -> str:
        """Returns why its own name, or that of a file next to it, marks an entry as unfinished.

        Empty: neither does.
        """
        if entry.unfinished:
            return entry.unfinished
        others = self._folders[entry.trigger.folder].entries
        for control in self._names.controls(entry.name):
            if control in others:
                return (
                    f"'{shown(control)}' next to it says that it is not whole yet; if no program"
                    f" is writing it any more, remove '{shown(control)}'"
                )
        return ""

    # --- claims ---------------------------------------------------------------------------------

    def next_group(self) -> float | None:
        """Returns the time (s, `elapsed`) at which waiting alone may complete a group, or None."""
        return self._ready_queue.next_group()

    def any_ready(self) -> bool:
        """Whether something may be claimed."""
        return self._ready_queue.any()

    def ready(self, most: int) -> Sequence[ReadyItem]:
        """Returns up to `most` items that may be claimed, in order.

        Further calls return the same ones until they are claimed, parked or changed.
        """
        return self._ready_queue.ready(most)

    def _park_misnamed(self, entries: Iterable[Waiting], reason: str) -> None:
        self.park(entries, reason, _AGAIN)

    def park(self, entries: Iterable[Waiting], reason: str, wait: float | None = None) -> None:
        """Parks entries that cannot be claimed now, and has them inspected again.

        `wait`: seconds until then; None: the settle time of the trigger.
        """
        now = self._clock.elapsed()
        for entry in entries:
            entry.ready, entry.parked, entry.reason = False, True, reason
            self._schedule.put(entry, now + (entry.trigger.settle if wait is None else wait))

    def leave(self, items: Iterable[ReadyItem]) -> None:
        """Removes entries that are claimed: new entries may have their names."""
        for item in items:
            for entry in item.entries:
                if lives(self._folders, entry):
                    self._remove(entry)
                self._book.claimed(entry.id)

    # --- status for people ----------------------------------------------------------------------

    def count(self) -> int:
        """Returns the number of entries."""
        return sum(1 for _ in self._all())

    def parked(self, blocked_by: str | None) -> int:
        """Returns the number of entries that wait for somebody's action, or are ready but blocked.

        `blocked_by`: why nothing may be claimed now; None: it may.
        """
        none_claimed = blocked_by is not None
        return sum(
            e.parked or bool(e.trigger.problem) or bool(e.waits) or (e.ready and none_claimed)
            for e in self._all()
        )

    def warnings(self) -> list[str]:
        """Returns which folders have more entries than are watched at once, as texts for people."""
        return [
            f"{path} has more than the {self._max_entries} entries that are watched at once"
            f" (inbox.max_entries), by {folder.unseen}: "
            + (UNSEEN if folder.is_grouped else "these are seen as the others leave it")
            for path, folder in self._folders.items()
            if folder.unseen
        ]

    def entries(self) -> list[Waiting]:
        """Returns all entries, in no order; quick, also for many."""
        return list(self._all())

    def items(self, blocked_by: str | None) -> list[Item]:
        """Returns all entries as items, in order; `blocked_by`: why none is claimed, or None."""
        return [item_of(e, blocked_by) for e in sorted(self._all(), key=lambda e: e.order)]


def _thing(entry: Waiting) -> str:
    """Returns a name for an entry that survives restarts; its id may not, before its claim."""
    return shown(os.fsencode(entry.trigger.folder) + b"/" + entry.name)


def _obstacle(entry: Waiting, found: Inspection) -> Blocked | None:
    if isinstance(found.verdict, Blocked):
        return found.verdict
    seen = found.survey
    assert seen is not None
    only_folders = entry.trigger.rule.grouping == "folder"
    if only_folders and not seen.is_folder and seen.reading.fault is None:
        return Blocked(reason=_NOT_A_FOLDER)
    return None
