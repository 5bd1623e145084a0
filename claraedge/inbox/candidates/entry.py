"""One entry of a trigger's folder that is seen and not taken yet, and what is told of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from claraedge.fs.adopting import Thing
from claraedge.inbox.inspection.inspector import Identified
from claraedge.inbox.inspection.settling import NO_HINTS, Hints, Quiet
from claraedge.inbox.inspection.survey import Survey
from claraedge.inbox.model import Item, ItemState, shown
from claraedge.inbox.triggers.grouping import Unit, stem_of
from claraedge.inbox.triggers.triggers import Trigger

#: Trigger folders of these groupings have each of their entries taken alone.
ALONE = ("entry", "file", "folder")


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
    unfinished: str = ""
    """Why its name says that it is not whole yet."""
    partial: str = ""
    """Why it is not whole, as the last look found: by its name, that of a file next to it, or one
    in it."""
    reason: str = ""
    remedy: str = ""
    thing: Thing | None = None
    """What `claraedge adopt` has to give to us."""
    superseded: bool = False
    """It is a part of a broken transfer of a file that is whole."""
    waits: str = ""
    """What it waits for of its group, where somebody has to see to that."""
    parked: bool = False
    held: bool = False
    """Parked for what it is itself: not ours to take, or not to be looked at."""
    ready: bool = False


@dataclass(slots=True)
class TriggerFolder:
    """The entries of a trigger's folder."""

    trigger: Trigger
    entries: dict[bytes, Waiting] = field(default_factory=dict)
    look_again: float = float("inf")
    """When its groups may be other ones, seconds of the clock for durations."""

    unseen: int = 0
    """How many more lie in it than are watched at once."""
    refill: bool = False
    """There is room for many of these: it is to be listed."""

    rest_until: float = 0.0
    """Not before: making groups of many entries is work."""

    def regroup(self) -> None:
        """Something is other than before."""
        if self.is_grouped:
            self.look_again = self.rest_until

    @property
    def is_grouped(self) -> bool:
        """Whether its entries are taken together with others."""
        return self.trigger.rule.grouping not in ALONE

    def has(self, entry: Waiting) -> bool:
        """Whether it is this one's still: another may have its name by now."""
        return self.entries.get(entry.name) is entry


def lives(folders: Mapping[Path, TriggerFolder], entry: Waiting) -> bool:
    """Whether an entry was neither taken nor dropped."""
    folder = folders.get(entry.trigger.folder)
    return folder is not None and folder.has(entry)


def unit_of(entry: Waiting) -> Unit | None:
    """The entry for grouping; None before its first look."""
    if entry.survey is None or entry.quiet is None:
        if not entry.held:
            return None
        files, fault, changed = 1, None, float("-inf")
    else:
        files, fault = entry.survey.look.files, entry.survey.look.fault
        changed = entry.quiet.since
    lacking = entry.partial or (entry.reason if entry.held else "") or fault or ""
    empty = files == 0 and not lacking
    identified = entry.identified
    return Unit(
        name=entry.name,
        shown=shown(entry.name),
        changed=changed,
        first_seen=entry.first_seen,
        ready=entry.ready,
        lacking="an empty folder" if empty else lacking,
        faulty=fault is not None,
        files=files,
        stray=empty or entry.superseded or (identified is not None and identified.stray),
        key="" if identified is None else identified.key,
    )


def item_of(entry: Waiting, held: str | None) -> Item:
    """The entry as a value; `held` says why none is claimed that could be."""
    item = Item(
        id=entry.id,
        folder=shown(os.fsencode(entry.trigger.folder)),
        name=shown(entry.name),
        raw_name=entry.name,
        pipeline=entry.trigger.rule.pipeline,
        state=ItemState.PARKED if entry.parked else _state(entry),
        reason=entry.reason,
        remedy=entry.remedy,
        thing=entry.thing,
        size=0 if entry.survey is None else entry.survey.size,
        first_seen=entry.first_seen,
    )
    if entry.trigger.problem:
        return replace(
            item,
            state=ItemState.PARKED,
            reason=entry.trigger.problem,
            remedy=entry.trigger.remedy,
            thing=None,
        )
    if entry.waits and not entry.reason:
        return replace(item, state=ItemState.PARKED, reason=entry.waits, remedy="")
    if entry.ready and held is not None:
        return replace(item, state=ItemState.PARKED, reason=held)
    if entry.ready and entry.trigger.rule.grouping not in ALONE and not entry.reason:
        marker = entry.trigger.rule.marker
        if marker is not None and stem_of(marker, entry.name) is not None:
            return replace(item, reason="a marker; what it ends is not here yet, or is not whole")
        quiet = f"nothing more of it comes for {entry.trigger.rule.quiet:g} s"
        rest = f"a file named {marker} ends it" if marker else quiet
        return replace(item, reason=f"whole; its group is taken once {rest}")
    return item


def _state(entry: Waiting) -> ItemState:
    return ItemState.SEEN if entry.survey is None else ItemState.SETTLING
