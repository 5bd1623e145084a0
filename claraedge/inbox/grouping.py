"""What one job is made of. Pure: entries of a trigger's folder in, items that may be taken out.

An entry is a path below the folder: its top ones, or each file of its tree. Each settles by itself;
here is decided which of the settled belong together, and whether more is to be waited for. What can
never become a job goes alone, so that it takes nothing else with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from claraedge.config.inbox import Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """An entry, as far as grouping is concerned."""

    name: bytes
    """Path below the trigger's folder."""
    changed: float
    """When a look found it new or other than before; seconds of the clock for durations."""
    ready: bool
    """Settled, and free to be taken."""
    held: bool = False
    """Not ours to take as it is: it is not waited for."""
    faulty: bool = False
    """It can never become a job."""
    key: str = ""
    """UID of its study or series; empty while that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Entries that become one job."""

    label: bytes
    """What the item is called."""
    members: tuple[bytes, ...]
    """In the order first seen. Empty: the item is the one entry named `label`."""
    key: str = ""
    marker: bool = False
    """The last member only ended the group; it is no input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """What may be taken now."""

    groups: Sequence[Group]
    look_again: float | None
    """When more may be taken without anything else happening."""


def group(trigger: Trigger, units: Sequence[Unit], now: float) -> Grouped:
    """Which items can be made of the entries, which come in the order first seen."""
    alone = [Group(label=u.name, members=()) for u in units if u.ready and u.faulty]
    sound = [unit for unit in units if not unit.faulty]
    match trigger.grouping:
        case "entry" | "file" | "folder":
            singles = [Group(label=u.name, members=()) for u in units if u.ready]
            return Grouped(groups=singles, look_again=None)
        case "marker":
            return Grouped(groups=[*alone, *_ended(trigger, sound)], look_again=None)
        case "quiet":
            crowds = {"": [unit for unit in sound if not unit.held]}
        case "dicom-study" | "dicom-series":
            crowds = defaultdict(list)
            for unit in sound:
                if unit.key and not unit.held:
                    crowds[unit.key].append(unit)
    quiet = [(key, members) for key, members in crowds.items() if members]
    found, times = list(alone), []
    for key, members in quiet:
        if not all(unit.ready for unit in members):
            continue  # the end of its settling wakes us
        until = max(unit.changed for unit in members) + trigger.quiet
        if until > now:
            times.append(until)
            continue
        label = key.encode() or members[0].name.rpartition(b"/")[2]
        found.append(Group(label=label, members=tuple(u.name for u in members), key=key))
    return Grouped(groups=found, look_again=min(times, default=None))


# --- markers ----------------------------------------------------------------------------------


def stem_of(marker: str, name: bytes) -> bytes | None:
    """What the `*` of a marker's name stands for (b'' where it has none); None: it is no marker."""
    before, star, after = (part.encode() for part in marker.partition("*"))
    if not star:
        return b"" if name == before else None
    stem = name[len(before) : len(name) - len(after)]
    return stem if stem and name == before + stem + after else None


def _ended(trigger: Trigger, units: Iterable[Unit]) -> Iterator[Group]:
    assert trigger.marker is not None
    stems = {u.name: stem_of(trigger.marker, u.name) for u in units}
    others: dict[bytes, list[Unit]] = defaultdict(list)
    for unit in units:
        if stems[unit.name] is None and not unit.held:
            for end in _ends(unit.name):
                others[end].append(unit)
    taken: set[bytes] = set()
    for unit in units:
        stem = stems[unit.name]
        if stem is None or not unit.ready:
            continue
        members = [other for other in others[stem] if other.name not in taken]
        # Without anything that it ends, a marker stays: what it ends may come after it.
        if members and all(member.ready for member in members):
            taken.update(member.name for member in members)
            names = (*(member.name for member in members), unit.name)
            yield Group(label=stem or members[0].name, members=names, marker=True)


def _ends(name: bytes) -> Iterator[bytes]:
    """Every stem that a name belongs to: itself, what is before one of its dots, and b''."""
    yield b""
    at = name.find(b".", 1)
    while at > 0:
        yield name[:at]
        at = name.find(b".", at + 1)
    yield name
