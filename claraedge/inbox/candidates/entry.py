"""One entry of a trigger's folder that is seen and not claimed yet, and how it is shown."""

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

#: Groupings in which each entry becomes an item of its own.
ALONE = ("entry", "file", "folder")


@dataclass(slots=True, eq=False)
class Waiting:
    """One entry, with what its inspections and hints have shown so far."""

    id: str
    trigger: Trigger
    name: bytes
    """Path below the trigger's folder."""
    order: tuple[bool, float, bytes]
    """Sort key: known from before the start or not, time first seen (seconds), name."""
    first_seen: float
    """Unix seconds."""
    added: float
    """When it was first heard of, or the listing that showed it first began: seconds of the clock's
    `elapsed`."""
    heard: float
    """When an event last reported a change of it, else as `added`: seconds of the clock's
    `elapsed`."""
    due: float
    """Time of the next inspection, seconds of the clock's `elapsed`."""
    hints: Hints = NO_HINTS
    quiet: Quiet | None = None
    survey: Survey | None = None
    identified: Identified | None = None
    inspected: float = float("-inf")
    """When the last inspection began, seconds of the clock's `elapsed`."""
    cost: float = 0.0
    """Processor seconds that the last inspection took."""
    unfinished: str = ""
    """Why its own name marks it as unfinished; empty: it does not."""
    partial: str = ""
    """Why the last inspection found it unfinished: by its own name, by that of a file next to it,
    or by one in it."""
    reason: str = ""
    remedy: str = ""
    thing: Thing | None = None
    """The file or folder that `claraedge adopt` has to give to the daemon's user."""
    superseded: bool = False
    """It is a part of a broken transfer, and the whole file has arrived since."""
    waits: str = ""
    """Which members of its group it waits for, where a person has to act on that."""
    parked: bool = False
    blocked: bool = False
    """Parked because of the entry itself: it may not be claimed, or cannot be inspected."""
    ready: bool = False
    """Settled, and free to be claimed."""

    @property
    def raw_name(self) -> bytes:
        """The name of its item."""
        return self.name

    @property
    def pipeline(self) -> str:
        """Name or id, as the trigger names it."""
        return self.trigger.rule.pipeline


@dataclass(slots=True)
class TriggerFolder:
    """The entries of a trigger's folder."""

    trigger: Trigger
    entries: dict[bytes, Waiting] = field(default_factory=dict)
    next_grouping: float = float("inf")
    """Time at which to group its entries again, seconds of the clock's `elapsed`."""

    listed: float = float("-inf")
    """When its last listing began, seconds of the clock's `elapsed`."""
    list_after: float = float("-inf")
    """Earliest time of a listing that a group asks for, seconds of the clock's `elapsed`."""
    unconfirmed: bool = False
    """A group waits for the next listing."""

    unseen: int = 0
    """Number of entries in the folder beyond those that are watched at once."""

    rest_until: float = 0.0
    """Earliest time of the next grouping, which is expensive for many entries: seconds of the
    clock's `elapsed`."""

    def regroup(self) -> None:
        """Marks the folder for grouping again, after a change of its entries."""
        if self.is_grouped:
            self.next_grouping = self.rest_until

    @property
    def is_grouped(self) -> bool:
        """Whether its entries are claimed together with others."""
        return self.trigger.rule.grouping not in ALONE

    def has(self, entry: Waiting) -> bool:
        """Whether an entry is still the one of its name; another may have the name by now."""
        return self.entries.get(entry.name) is entry


def lives(folders: Mapping[Path, TriggerFolder], entry: Waiting) -> bool:
    """Whether an entry was neither claimed nor dropped."""
    folder = folders.get(entry.trigger.folder)
    return folder is not None and folder.has(entry)


def unit_of(entry: Waiting) -> Unit | None:
    """Returns the entry as a value for grouping; None before its first inspection."""
    if entry.survey is None or entry.quiet is None:
        if not entry.blocked:
            return None
        files, fault, changed, still = 1, None, float("-inf"), True
    else:
        files, fault = entry.survey.reading.files, entry.survey.reading.fault
        changed = entry.quiet.since
        still = entry.inspected - changed >= entry.trigger.settle
    lacking = entry.partial or (entry.reason if entry.blocked else "") or fault or ""
    # A file that is renamed during an inspection may be missed: its folder appears empty once.
    empty = files == 0 and not lacking and still
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
        unrelated=empty or entry.superseded or (identified is not None and identified.unrelated),
        key="" if identified is None else identified.key,
    )


def item_of(entry: Waiting, blocked_by: str | None) -> Item:
    """Returns the entry as an item; `blocked_by`: why no entry is claimed now, or None."""
    item = Item(
        id=entry.id,
        folder=shown(os.fsencode(entry.trigger.folder)),
        name=shown(entry.name),
        raw_name=entry.name,
        pipeline=entry.trigger.rule.pipeline,
        state=state_of(entry, blocked_by),
        reason=entry.reason,
        remedy=entry.remedy,
        thing=entry.thing,
        size=0 if entry.survey is None else entry.survey.size,
        first_seen=entry.first_seen,
    )
    if entry.trigger.problem:
        trigger = entry.trigger
        return replace(item, reason=trigger.problem, remedy=trigger.remedy, thing=None)
    if entry.waits and not entry.reason:
        return replace(item, reason=entry.waits, remedy="")
    if entry.ready and blocked_by is not None:
        return replace(item, reason=blocked_by)
    if entry.ready and entry.trigger.rule.grouping not in ALONE and not entry.reason:
        marker = entry.trigger.rule.marker
        if marker is not None and stem_of(marker, entry.name) is not None:
            return replace(item, reason="a marker; what it ends is not here yet, or is not whole")
        quiet = f"nothing more of it comes for {entry.trigger.rule.quiet:g} s"
        rest = f"a file named {marker} ends it" if marker else quiet
        return replace(item, reason=f"whole; its group is taken once {rest}")
    return item


def state_of(entry: Waiting, blocked_by: str | None) -> ItemState:
    """Returns the state of the entry as an item; `blocked_by` as for `item_of`."""
    waits = bool(entry.waits) and not entry.reason
    blocked = entry.ready and blocked_by is not None
    if entry.parked or entry.trigger.problem or waits or blocked:
        return ItemState.PARKED
    return ItemState.SEEN if entry.survey is None else ItemState.SETTLING
