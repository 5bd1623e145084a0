"""One entry of a trigger's folder that is seen and not taken yet, and what is told of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from claraedge.inbox.grouping import Unit
from claraedge.inbox.looks import Identified
from claraedge.inbox.model import Item, ItemState, shown
from claraedge.inbox.settling import NO_HINTS, Hints, Quiet
from claraedge.inbox.survey import Survey
from claraedge.inbox.triggers import Trigger

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
    reason: str = ""
    mend: str = ""
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

    rest_until: float = 0.0
    """Not before: making groups of many entries is work."""

    def regroup(self) -> None:
        """Something is other than before."""
        if self.trigger.rule.grouping not in ALONE:
            self.look_again = self.rest_until

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
    if entry.ready and entry.trigger.rule.grouping not in ALONE and not entry.reason:
        marker = entry.trigger.rule.marker
        rest = f", which a file named {marker} ends" if marker else ""
        return replace(item, reason=f"whole; it waits for the others of its group{rest}")
    return item


def _state(entry: Waiting) -> ItemState:
    return ItemState.SEEN if entry.survey is None else ItemState.SETTLING
