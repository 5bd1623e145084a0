"""Entries that are seen and not taken yet. They live in memory: a restart looks at them anew."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from claraedge.clock import Clock
from claraedge.ids import NewId
from claraedge.inbox.claim import Free, Held, folder_is_open, judge
from claraedge.inbox.model import Claimed, Item, ItemState, name_of, shown
from claraedge.inbox.settling import NO_HINTS, Heard, Hints, Quiet, decide, hear
from claraedge.inbox.survey import Survey, survey
from claraedge.inbox.triggers import Trigger

#: After a hint, an entry is looked at so soon; hints that follow do not put it off.
_SOON = 0.1
#: A look may take this part of the time at most: big trees are looked at less often.
_SHARE = 0.05
#: What cannot be looked at, or is not ours to take, is looked at again after so long at the latest.
_AGAIN = 10.0

#: Hints that say nothing new of the bytes.
_IDLE = frozenset({Heard.OPENED, Heard.CLOSED_UNWRITTEN})


@dataclass(slots=True)
class Waiting:
    """One entry."""

    id: str
    trigger: Trigger
    name: bytes
    seen: float
    """Seconds of the clock for durations."""
    first_seen: float
    """Unix seconds."""
    due: float
    hints: Hints = NO_HINTS
    quiet: Quiet | None = None
    survey: Survey | None = None
    looked: float = float("-inf")
    cost: float = 0.0
    reason: str = ""
    mend: str = ""
    parked: bool = False
    ready: bool = False

    @property
    def path(self) -> Path:
        return self.trigger.folder / name_of(self.name)

    @property
    def order(self) -> tuple[float, bytes, str]:
        """First seen, then name bytes."""
        return self.seen, self.name, str(self.trigger.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    survey: Survey | None
    """None: nothing is there."""
    verdict: Free | Held
    cost: float


class WaitingRoom:
    """All of them, by folder and name."""

    def __init__(self, clock: Clock, new_id: NewId, settle: float) -> None:
        self._clock = clock
        self._new_id = new_id
        self._settle = settle
        self._entries: dict[tuple[Path, bytes], Waiting] = {}
        self._uid = os.geteuid()
        try:
            self._user = pwd.getpwuid(self._uid).pw_name
        except KeyError:
            self._user = str(self._uid)

    # --- seen and heard -------------------------------------------------------------------------

    def see(self, trigger: Trigger, names: Iterable[bytes]) -> None:
        """The entries that a folder has now: new ones are noted, gone ones dropped."""
        now, wall = self._clock.elapsed(), self._clock.now()
        present = set(names)
        for key in [k for k in self._entries if k[0] == trigger.folder and k[1] not in present]:
            del self._entries[key]
        for name in present:
            entry = self._entries.get((trigger.folder, name))
            if entry is None:
                self._add(trigger, name, now, wall)
                continue
            if entry.trigger.problem and not trigger.problem:
                entry.due = now
            entry.trigger = trigger
            entry.due = min(entry.due, self._earliest(entry, now))

    def forget_folders(self, folders: Iterable[Path]) -> None:
        """Keeps only the entries of these folders: others are no triggers any more."""
        kept = set(folders)
        for key in [k for k in self._entries if k[0] not in kept]:
            del self._entries[key]

    def hear(self, trigger: Trigger, name: bytes, heard: Heard, inside: bytes) -> None:
        """A hint from a watcher."""
        now = self._clock.elapsed()
        entry = self._entries.get((trigger.folder, name))
        if entry is None:
            if heard in _IDLE or heard is Heard.REMOVED:
                return
            entry = self._add(trigger, name, now, self._clock.now())
        entry.hints = hear(entry.hints, heard, inside)
        if heard not in _IDLE:
            entry.ready = False
            soon = now if entry.hints.complete else now + _SOON
            entry.due = min(entry.due, max(soon, self._earliest(entry, now)))

    def forget_hints(self) -> None:
        """Some were lost: what the others said may be outdated."""
        for entry in self._entries.values():
            entry.hints = NO_HINTS

    def _add(self, trigger: Trigger, name: bytes, now: float, wall: float) -> Waiting:
        entry = Waiting(
            id=self._new_id(), trigger=trigger, name=name, seen=now, first_seen=wall, due=now
        )
        self._entries[trigger.folder, name] = entry
        return entry

    @staticmethod
    def _earliest(entry: Waiting, now: float) -> float:
        return max(now, entry.looked + max(_SOON, entry.cost / _SHARE))

    # --- looking --------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When the next look is worth it."""
        return min(
            (e.due for e in self._entries.values() if not e.ready and not e.trigger.problem),
            default=None,
        )

    def due(self, most: int) -> Sequence[Waiting]:
        """Entries to look at now."""
        now = self._clock.elapsed()
        due = [
            entry
            for entry in self._entries.values()
            if entry.due <= now and not entry.ready and not entry.trigger.problem
        ]
        return sorted(due, key=lambda entry: entry.due)[:most]

    def look(self, entries: Sequence[Waiting]) -> list[_Found | OSError]:
        """Looks at each. Blocking; changes nothing."""
        return [self._look(entry.path) for entry in entries]

    def _look(self, path: Path) -> _Found | OSError:
        began = time.monotonic()
        try:
            found = survey(path, self._uid)
            is_open = folder_is_open(path.parent, found.top_foreign, self._uid)
        except (FileNotFoundError, NotADirectoryError):
            return _Found(survey=None, verdict=Free(), cost=0.0)
        except OSError as error:
            return error
        return _Found(
            survey=found,
            verdict=judge(found, path, self._user, folder_open=is_open),
            cost=time.monotonic() - began,
        )

    def take_looks(
        self, entries: Sequence[Waiting], looks: Sequence[_Found | OSError], began: float
    ) -> bool:
        """Decides by the looks, which began at `began`; True where an entry is ready now."""
        any_ready = False
        for entry, found in zip(entries, looks, strict=True):
            key = (entry.trigger.folder, entry.name)
            if self._entries.get(key) is not entry:
                continue
            if isinstance(found, OSError):
                entry.reason, entry.parked = found.strerror or str(found), True
                entry.due = self._clock.elapsed() + min(self._settle, _AGAIN)
            elif found.survey is None:
                del self._entries[key]
            else:
                self._decide(entry, found.survey, found, began)
                any_ready = any_ready or entry.ready
        return any_ready

    def _decide(self, entry: Waiting, seen: Survey, found: _Found, began: float) -> None:
        entry.survey, entry.cost, entry.looked = seen, found.cost, began
        decision = decide(entry.quiet, seen.look, began, self._settle, entry.hints)
        entry.quiet = decision.quiet
        held = found.verdict if isinstance(found.verdict, Held) else None
        entry.parked = held is not None
        entry.reason = held.reason if held else decision.reason
        entry.mend = held.mend if held else ""
        if not decision.settled:
            entry.due = max(decision.look_again, self._earliest(entry, began))
        elif held is not None:
            entry.due = began + max(_AGAIN, entry.cost / _SHARE)
        else:
            entry.ready = True

    # --- taking ---------------------------------------------------------------------------------

    def ready(self, most: int) -> Sequence[Waiting]:
        """What may be claimed, in order."""
        ready = [e for e in self._entries.values() if e.ready and not e.trigger.problem]
        return sorted(ready, key=lambda entry: entry.order)[:most]

    def park(self, entries: Iterable[Waiting], reason: str) -> None:
        """The claim could not be recorded: they settle once more."""
        now = self._clock.elapsed()
        for entry in entries:
            entry.ready, entry.parked, entry.reason = False, True, reason
            entry.due = now + self._settle

    def leave(self, entries: Iterable[Waiting]) -> None:
        """They are claimed: their names are free."""
        for entry in entries:
            key = (entry.trigger.folder, entry.name)
            if self._entries.get(key) is entry:
                del self._entries[key]

    def parked(self, held: str | None) -> int:
        """How many wait for somebody, or could be claimed and are `held`."""
        return sum(
            e.parked or bool(e.trigger.problem) or (e.ready and held is not None)
            for e in self._entries.values()
        )

    def items(self, held: str | None) -> list[Item]:
        """All of them as values, in order; `held` says why none is claimed that could be."""
        return [_item(e, held) for e in sorted(self._entries.values(), key=lambda e: e.order)]


def claimed(entry: Waiting) -> Claimed:
    """The claim of an entry that is ready."""
    assert entry.survey is not None
    return Claimed(
        id=entry.id,
        folder=entry.trigger.folder,
        name=entry.name,
        pipeline=entry.trigger.pipeline,
        deliver=entry.trigger.deliver,
        fingerprint=entry.survey.look.fingerprint,
        content=entry.survey.content,
        size=entry.survey.size,
        first_seen=entry.first_seen,
    )


def _item(entry: Waiting, held: str | None) -> Item:
    item = Item(
        id=entry.id,
        folder=shown(os.fsencode(entry.trigger.folder)),
        name=shown(entry.name),
        raw_name=entry.name,
        pipeline=entry.trigger.pipeline,
        state=ItemState.PARKED if entry.parked else ItemState.SETTLING,
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
    return item
