"""Entries that are seen and not taken yet, and what may be taken of them."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from claraedge.clock import Clock
from claraedge.config.inbox import Trigger as Rule
from claraedge.ids import NewId
from claraedge.inbox.claim import Held
from claraedge.inbox.grouping import Group, Unit, group
from claraedge.inbox.looks import Found, Identified, Onlooker
from claraedge.inbox.model import Claimed, Item, ItemState, Options, shown
from claraedge.inbox.naming import NameDoesNotFitError, SlowNameError, named
from claraedge.inbox.records import Seen
from claraedge.inbox.seen import SeenBook
from claraedge.inbox.settling import NO_HINTS, Heard, Hints, Quiet, decide, hear
from claraedge.inbox.survey import Survey, combined
from claraedge.inbox.triggers import Trigger
from claraedge.inbox.writers import Devices

#: After a hint, an entry is looked at so soon; hints that follow do not put it off.
_SOON = 0.1
#: A look may take this part of the time at most: big trees are looked at less often.
_SHARE = 0.05
#: What cannot be looked at, or is not ours to take, is looked at again after so long at the latest.
_AGAIN = 10.0
#: Trigger folders of these groupings have each of their entries taken alone.
_ALONE = ("entry", "file", "folder")

#: Hints that say nothing new of the bytes.
_IDLE = frozenset({Heard.OPENED, Heard.CLOSED_UNWRITTEN})

#: For what can never become a job: its names do not matter.
_BARE = Rule(folder=".", pipeline="-")

_NOT_A_FOLDER = "its trigger takes folders alone: put it into one"


@dataclass(slots=True, eq=False)
class Waiting:
    """One entry."""

    id: str
    trigger: Trigger
    name: bytes
    """Path below the trigger's folder."""
    order: tuple[bool, float, bytes]
    """First seen, then name bytes."""
    first_seen: float
    """Unix seconds."""
    due: float
    hints: Hints = NO_HINTS
    quiet: Quiet | None = None
    survey: Survey | None = None
    identified: Identified | None = None
    looked: float = float("-inf")
    cost: float = 0.0
    reason: str = ""
    mend: str = ""
    parked: bool = False
    held: bool = False
    """Parked for what it is itself: not ours to take, or not to be looked at."""
    ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Entries that become one item."""

    trigger: Trigger
    group: Group
    entries: Sequence[Waiting]
    options: Options


@dataclass(slots=True)
class _Folder:
    """The entries of a trigger's folder."""

    trigger: Trigger
    entries: dict[bytes, Waiting] = field(default_factory=dict)
    look_again: float = float("inf")
    """When its groups may be other ones, seconds of the clock for durations."""

    def regroup(self) -> None:
        """Something is other than before."""
        if self.trigger.rule.grouping not in _ALONE:
            self.look_again = 0.0


class WaitingRoom:
    """All of them, by folder and name."""

    def __init__(self, clock: Clock, new_id: NewId, book: SeenBook) -> None:
        self._clock = clock
        self._new_id = new_id
        self._book = book
        self._folders: dict[Path, _Folder] = {}
        self._onlooker = Onlooker()
        self._due: list[tuple[float, int, Waiting]] = []
        self._ready: list[tuple[tuple[bool, float, bytes], int, Waiting]] = []
        self._count = 0
        self.relist = False
        """Folders whose files are entries were found: they are to be listed."""

    # --- seen and heard -------------------------------------------------------------------------

    def see(self, trigger: Trigger, names: Iterable[bytes]) -> None:
        """The entries that a folder has now: new ones are noted, gone ones dropped."""
        now, wall = self._clock.elapsed(), self._clock.now()
        present = set(names)
        self._book.present(trigger.folder, present)
        folder = self._folder(trigger)
        for name in [name for name in folder.entries if name not in present]:
            self._drop(folder.entries[name])
        had_problem, folder.trigger = folder.trigger.problem, trigger
        for name in present:
            entry = folder.entries.get(name)
            if entry is None:
                self._add(trigger, name, now, wall)
                continue
            entry.trigger = trigger
            if had_problem and not trigger.problem:
                self._schedule(entry, now)
                if entry.ready:
                    self._offer(entry)
            self._schedule(entry, min(entry.due, self._earliest(entry, now)))

    def forget_folders(self, folders: Iterable[Path]) -> None:
        """Keeps only the entries of these folders: others are no triggers any more."""
        kept = set(folders)
        for path in [path for path in self._folders if path not in kept]:
            for entry in list(self._folders[path].entries.values()):
                self._drop(entry)
            del self._folders[path]

    def hear(self, trigger: Trigger, name: bytes, heard: Heard, inside: bytes) -> None:
        """A hint from a watcher."""
        now = self._clock.elapsed()
        entry = self._folder(trigger).entries.get(name)
        if entry is None:
            if heard in _IDLE or heard is Heard.REMOVED:
                return
            entry = self._add(trigger, name, now, self._clock.now())
        entry.hints = hear(entry.hints, heard, inside)
        if heard not in _IDLE:
            entry.ready = False
            soon = now if entry.hints.complete else now + _SOON
            self._schedule(entry, min(entry.due, max(soon, self._earliest(entry, now))))

    def forget_hints(self) -> None:
        """Some were lost: what the others said may be outdated."""
        for entry in self._all():
            entry.hints = NO_HINTS

    def look_now(self, item: str) -> bool:
        """Has an entry looked at again at once; False where none has this id."""
        for entry in self._all():
            if entry.id == item:
                self._schedule(entry, self._clock.elapsed())
                return True
        return False

    def _folder(self, trigger: Trigger) -> _Folder:
        return self._folders.setdefault(trigger.folder, _Folder(trigger))

    def _all(self) -> Iterator[Waiting]:
        for folder in self._folders.values():
            yield from folder.entries.values()

    def _add(self, trigger: Trigger, name: bytes, now: float, wall: float) -> Waiting:
        known = self._book.recall(trigger.folder, name)
        entry = Waiting(
            id=self._new_id() if known is None else known.id,
            trigger=trigger,
            name=name,
            # What was there before the start comes first, in its old order.
            order=(known is None, now if known is None else known.first_seen, name),
            first_seen=wall if known is None else known.first_seen,
            due=now,
        )
        if known is None:
            self._book.note(
                Seen(id=entry.id, folder=trigger.folder, name=name, first_seen=entry.first_seen)
            )
        self._folder(trigger).entries[name] = entry
        self._schedule(entry, now)
        return entry

    def _drop(self, entry: Waiting) -> None:
        """It is gone."""
        self._remove(entry)
        self._book.forget(entry.id)

    def _remove(self, entry: Waiting) -> None:
        folder = self._folders[entry.trigger.folder]
        if folder.entries.get(entry.name) is entry:
            del folder.entries[entry.name]
            folder.regroup()

    def _lives(self, entry: Waiting) -> bool:
        folder = self._folders.get(entry.trigger.folder)
        return folder is not None and folder.entries.get(entry.name) is entry

    def _schedule(self, entry: Waiting, due: float) -> None:
        entry.due = due
        self._count += 1
        heapq.heappush(self._due, (due, self._count, entry))

    @staticmethod
    def _earliest(entry: Waiting, now: float) -> float:
        return max(now, entry.looked + max(_SOON, entry.cost / _SHARE))

    # --- looking --------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When a further look can tell more, or None."""
        while self._due and not self._wants_look(*self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def next_group(self) -> float | None:
        """When time alone makes a group whole, or None."""
        times = [f.look_again for f in self._folders.values() if not f.trigger.problem]
        return min((time for time in times if time != float("inf")), default=None)

    def _wants_look(self, due: float, _: int, entry: Waiting) -> bool:
        return (
            entry.due == due
            and not entry.ready
            and not entry.trigger.problem
            and self._lives(entry)
        )

    def due(self, most: int) -> Sequence[Waiting]:
        """Entries to look at now."""
        now = self._clock.elapsed()
        found: dict[int, Waiting] = {}
        while self._due and self._due[0][0] <= now and len(found) < most:
            place = heapq.heappop(self._due)
            if self._wants_look(*place):
                found[id(place[2])] = place[2]
        return list(found.values())

    def put_off(self, entries: Iterable[Waiting]) -> None:
        """Nobody can look at them now."""
        again = self._clock.elapsed() + _AGAIN / 2
        for entry in entries:
            self._schedule(entry, again)

    def silent(self, folder: Path, reason: str) -> None:
        """It does not answer: nobody knows more of its entries until it does."""
        known = self._folders.get(folder)
        for entry in () if known is None else known.entries.values():
            if not entry.ready:
                entry.reason, entry.mend, entry.parked, entry.held = reason, "", True, True

    def look(self, entries: Sequence[Waiting]) -> list[Found | OSError]:
        """Looks at each. Blocking; changes nothing."""
        now = self._clock.elapsed()
        devices: Devices = {}
        return [
            self._onlooker.look(
                entry.trigger,
                entry.name,
                entry.identified,
                nearly=entry.hints.complete
                or (entry.quiet is not None and now - entry.quiet.since >= entry.trigger.settle),
                devices=devices,
            )
            for entry in entries
        ]

    def take_looks(
        self, entries: Sequence[Waiting], looks: Sequence[Found | OSError], began: float
    ) -> bool:
        """Decides by the looks, which began at `began`; True where something is ready now."""
        any_ready = False
        for entry, found in zip(entries, looks, strict=True):
            if not self._lives(entry):
                continue
            if isinstance(found, OSError):
                entry.reason, entry.mend = found.strerror or str(found), ""
                entry.parked = entry.held = True
                again = min(entry.trigger.settle, _AGAIN)
                self._schedule(entry, self._clock.elapsed() + again)
            elif found.survey is None:
                self._drop(entry)
            elif found.is_folder_of_more:
                self._drop(entry)
                self.relist = True
            else:
                self._decide(entry, found.survey, found, began)
                any_ready = any_ready or entry.ready
            self._folders[entry.trigger.folder].regroup()
        return any_ready

    def _decide(self, entry: Waiting, seen: Survey, found: Found, began: float) -> None:
        entry.survey, entry.cost, entry.looked = seen, found.cost, began
        entry.identified = found.identified
        decision = decide(entry.quiet, seen.look, began, entry.trigger.settle, entry.hints)
        entry.quiet = decision.quiet
        held = _held(entry, found)
        entry.parked = entry.held = held is not None
        entry.reason = held.reason if held else decision.reason
        entry.mend = held.mend if held else ""
        if not decision.settled:
            self._schedule(entry, max(decision.look_again, self._earliest(entry, began)))
        elif held is not None:
            self._schedule(entry, began + max(_AGAIN, entry.cost / _SHARE))
        else:
            entry.ready = True
            self._offer(entry)

    # --- taking ---------------------------------------------------------------------------------

    def _offer(self, entry: Waiting) -> None:
        if entry.trigger.rule.grouping in _ALONE:
            self._count += 1
            heapq.heappush(self._ready, (entry.order, self._count, entry))

    def _is_offered(self, entry: Waiting) -> bool:
        return entry.ready and not entry.trigger.problem and self._lives(entry)

    def any_ready(self) -> bool:
        """Whether something may be claimed."""
        while self._ready and not self._is_offered(self._ready[0][2]):
            heapq.heappop(self._ready)
        now = self._clock.elapsed()
        return bool(self._ready) or any(
            f.look_again <= now and not f.trigger.problem for f in self._folders.values()
        )

    def ready(self, most: int) -> Sequence[Take]:
        """What may be claimed, in order. It is offered until it is taken, parked or changed."""
        takes: list[Take] = []
        offered: dict[int, tuple[tuple[bool, float, bytes], int, Waiting]] = {}
        while self._ready and len(offered) < most:
            place = heapq.heappop(self._ready)
            if self._is_offered(place[2]):
                offered[id(place[2])] = place
        for place in offered.values():
            heapq.heappush(self._ready, place)
        for place in offered.values():
            entry = place[2]
            alone = Group(label=entry.name, members=())
            if not self._add_take(takes, entry.trigger, alone, [entry]):
                return takes
        now = self._clock.elapsed()
        for folder in self._folders.values():
            if folder.look_again <= now and not folder.trigger.problem:
                self._add_groups(takes, folder, now)
        return sorted(takes, key=lambda take: take.entries[0].order)[:most]

    def _add_groups(self, takes: list[Take], folder: _Folder, now: float) -> None:
        entries = sorted(folder.entries.values(), key=lambda entry: entry.order)
        if any(entry.survey is None and not entry.held for entry in entries):
            # What was not looked at yet may belong to any group: of a big one that lay there at
            # the start, the first are whole before the last are looked at.
            folder.look_again = now + _SOON
            return
        units = [unit for entry in entries if (unit := _unit(entry)) is not None]
        found = group(folder.trigger.rule, units, now)
        folder.look_again = float("inf") if found.look_again is None else found.look_again
        for one in found.groups:
            members = [folder.entries[name] for name in one.members or (one.label,)]
            if not self._add_take(takes, folder.trigger, one, members):
                break
        if found.groups:
            folder.look_again = now  # until they are taken

    def _add_take(
        self, takes: list[Take], trigger: Trigger, one: Group, entries: Sequence[Waiting]
    ) -> bool:
        """False where its name took so long that the loop has others to see to first."""
        first = entries[0]
        uids = {} if first.identified is None else first.identified.uids
        fault = first.survey.look.fault if first.survey is not None and not one.members else None
        # What can never become a job may lack what its names are made of.
        rule = trigger.rule if fault is None else _BARE
        try:
            said = named(rule, one.label, uids)
        except NameDoesNotFitError as error:
            self.park(entries, str(error), _AGAIN)
            return not isinstance(error, SlowNameError)
        options = Options(
            parameters=said.parameters,
            metadata=said.metadata,
            priority=trigger.rule.priority,
            settle=trigger.settle,
            duplicates=trigger.rule.duplicates,
            marker=one.marker,
            fault=fault or "",
        )
        takes.append(Take(trigger=trigger, group=one, entries=entries, options=options))
        return True

    def park(self, entries: Iterable[Waiting], reason: str, wait: float | None = None) -> None:
        """They cannot be claimed as it is: they settle once more."""
        now = self._clock.elapsed()
        for entry in entries:
            entry.ready, entry.parked, entry.reason = False, True, reason
            self._schedule(entry, now + (entry.trigger.settle if wait is None else wait))

    def leave(self, takes: Iterable[Take]) -> None:
        """They are claimed: their names are free."""
        for take in takes:
            for entry in take.entries:
                if self._lives(entry):
                    self._remove(entry)
                self._book.claimed(entry.id)

    # --- telling --------------------------------------------------------------------------------

    def parked(self, held: str | None) -> int:
        """How many wait for somebody, or could be claimed and are `held`."""
        return sum(
            e.parked or bool(e.trigger.problem) or (e.ready and held is not None)
            for e in self._all()
        )

    def items(self, held: str | None) -> list[Item]:
        """All of them as values, in order; `held` says why none is claimed that could be."""
        return [_item(e, held) for e in sorted(self._all(), key=lambda e: e.order)]


def claimed(take: Take) -> Claimed:
    """The claim of what is ready."""
    first = take.entries[0]
    if take.group.members:
        surveys = [(e.name, e.survey) for e in take.entries if e.survey is not None]
        seen, inside, name = combined(surveys), b"", take.group.label
    else:
        assert first.survey is not None
        seen = first.survey
        inside, _, name = first.name.rpartition(b"/")
    return Claimed(
        id=first.id,
        folder=take.trigger.folder,
        inside=inside,
        name=name,
        members=take.group.members,
        pipeline=take.trigger.rule.pipeline,
        deliver=take.trigger.rule.deliver,
        options=take.options,
        fingerprint=seen.look.fingerprint,
        content=seen.content,
        size=seen.size,
        first_seen=min(entry.first_seen for entry in take.entries),
        keep_originals_days=take.trigger.rule.originals_keep_days,
    )


def _held(entry: Waiting, found: Found) -> Held | None:
    if isinstance(found.verdict, Held):
        return found.verdict
    seen = found.survey
    assert seen is not None
    if entry.trigger.rule.grouping == "folder" and not seen.is_folder and seen.look.fault is None:
        return Held(reason=_NOT_A_FOLDER)
    return None


def _unit(entry: Waiting) -> Unit | None:
    """The entry for grouping; None before its first look."""
    if entry.survey is None or entry.quiet is None:
        return None
    look = entry.survey.look
    return Unit(
        name=entry.name,
        changed=entry.quiet.since,
        ready=entry.ready,
        held=entry.held or (look.files == 0 and look.fault is None),
        faulty=look.fault is not None,
        key="" if entry.identified is None else entry.identified.key,
    )


def _item(entry: Waiting, held: str | None) -> Item:
    item = Item(
        id=entry.id,
        folder=shown(os.fsencode(entry.trigger.folder)),
        name=shown(entry.name),
        raw_name=entry.name,
        pipeline=entry.trigger.rule.pipeline,
        state=ItemState.PARKED if entry.parked else _state(entry),
        reason=entry.reason,
        mend=entry.mend,
        size=0 if entry.survey is None else entry.survey.size,
        first_seen=entry.first_seen,
    )
    if entry.trigger.problem:
        return replace(
            item, state=ItemState.PARKED, reason=entry.trigger.problem, mend=entry.trigger.mend
        )
    if entry.ready and held is not None:
        return replace(item, state=ItemState.PARKED, reason=held)
    if entry.ready and entry.trigger.rule.grouping not in _ALONE and not entry.reason:
        return replace(item, reason="whole; it waits for the others of its group")
    return item


def _state(entry: Waiting) -> ItemState:
    return ItemState.SEEN if entry.survey is None else ItemState.SETTLING
