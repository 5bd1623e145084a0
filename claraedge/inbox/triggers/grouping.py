"""What one job is made of. Pure: entries of a trigger's folder in, items that may be taken out.

An entry is a path below the folder: its top ones, or each file of its tree. Each settles by itself;
here is decided which of the settled belong together, and whether more is to be waited for.

An entry that cannot become an input now (it is unfinished, refused, or not ours to take) may be a
part of a group. What is known to be, or may be, keeps the group waiting, is named by its job, or
fails it, as the trigger says: a part of a study never passes for the whole. What is a part of no
group and can never become a job goes alone, so that it takes nothing else with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from claraedge.config.inbox import Trigger

#: So many files are named that a group lacks.
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """An entry, as far as grouping is concerned."""

    name: bytes
    """Path below the trigger's folder."""
    shown: str = ""
    """The same for people."""
    changed: float
    """When a look found it new or other than before; seconds of the clock for durations."""
    first_seen: float = 0.0
    """Unix seconds."""
    ready: bool
    """Settled, and free to be taken."""
    lacking: str = ""
    """Why it cannot become an input as it is: unfinished, refused, not ours to take."""
    faulty: bool = False
    """It never can, and says so in `lacking`; it is ours to take."""
    files: int = 1
    """Count of regular files in it."""
    stray: bool = False
    """Certainly a part of no group: it is no DICOM file, or an empty folder."""
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
    incomplete: str = ""
    """What it lacks: "3 of 6 files: ..."."""
    fault: str = ""
    """Why it fails as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """What may be taken now."""

    groups: Sequence[Group]
    look_again: float | None
    """When more may be taken without anything else happening."""
    waits: Mapping[bytes, str] = field(default_factory=dict)
    """Entries that are whole, or refused, and wait for others of their group: what for."""


@dataclass(slots=True)
class _Crowd:
    """Entries that belong together, and those that keep them from being whole."""

    members: list[Unit]
    lacking: list[Unit] = field(default_factory=list)
    label: bytes = b""
    key: str = ""
    marker: Unit | None = None


def group(trigger: Trigger, units: Sequence[Unit], now: float) -> Grouped:
    """Which items can be made of the entries, which come in the order first seen."""
    match trigger.grouping:
        case "entry" | "file" | "folder":
            singles = [Group(label=u.name, members=()) for u in units if u.ready]
            return Grouped(groups=singles, look_again=None)
        case "marker":
            crowds = _ended(trigger, units)
        case "quiet":
            crowds = [_Crowd([u for u in units if not u.lacking])]
            crowds = [crowd for crowd in crowds if crowd.members]
        case "dicom-study" | "dicom-series":
            by_key: dict[str, list[Unit]] = defaultdict(list)
            for unit in units:
                if unit.key and not unit.lacking:
                    by_key[unit.key].append(unit)
            crowds = [_Crowd(members, key=key) for key, members in by_key.items()]
    if trigger.grouping != "marker":
        _add_lacking(crowds, [u for u in units if u.lacking and not u.stray], trigger.quiet)
    return _decided(trigger, crowds, units, now)


def _decided(
    trigger: Trigger, crowds: Iterable[_Crowd], units: Iterable[Unit], now: float
) -> Grouped:
    groups: list[Group] = []
    times: list[float] = []
    waits: dict[bytes, str] = {}
    due: list[_Crowd] = []
    kept: set[bytes] = set()
    """Entries that nothing is decided of: they may be a part of a group that is not taken yet."""
    for crowd in crowds:
        until = max(unit.changed for unit in (*crowd.members, *crowd.lacking)) + trigger.quiet
        if settling := [unit for unit in crowd.members if not unit.ready]:
            # The end of its settling wakes us; where that takes long, the others say so.
            if until > now:
                times.append(until)
            else:
                text = f"its group waits for '{settling[0].shown}'"
                waits.update((unit.name, text) for unit in crowd.members if unit.ready)
        elif crowd.marker is None and until > now:
            times.append(until)
        elif crowd.lacking and trigger.incomplete in (None, "wait"):
            text = f"its group waits: {_lacks(crowd)}"
            for unit in (*crowd.members, *crowd.lacking):
                waits.setdefault(unit.name, text)
        else:
            due.append(crowd)
            continue
        kept.update(unit.name for unit in crowd.lacking)
    for crowd in due:
        faulty: list[bytes] = []
        if trigger.incomplete == "fail":
            faulty = [u.name for u in crowd.lacking if u.faulty and u.ready and u.name not in kept]
        kept.update(faulty)
        groups.append(_group_of(crowd, faulty, fails=trigger.incomplete == "fail"))
    ended = {unit.name for crowd in due for unit in crowd.lacking}
    for unit in units:
        if not (unit.faulty and unit.ready) or unit.name in kept:
            continue
        if trigger.grouping == "marker" and unit.name not in ended:
            waits[unit.name] = f"{unit.lacking}; it waits for the marker of its group"
            continue
        # A group that it is a part of may come yet.
        until = unit.changed if unit.stray else unit.changed + trigger.quiet
        if until > now and trigger.grouping != "marker":
            times.append(until)
        else:
            groups.append(Group(label=unit.name, members=()))
    return Grouped(groups=groups, look_again=min(times, default=None), waits=waits)


def _group_of(crowd: _Crowd, faulty: Sequence[bytes], *, fails: bool) -> Group:
    names = [unit.name for unit in crowd.members]
    lacks = _lacks(crowd)
    end = [] if crowd.marker is None else [crowd.marker.name]
    return Group(
        label=crowd.label or crowd.key.encode() or names[0].rpartition(b"/")[2],
        members=(*names, *faulty, *end),
        key=crowd.key,
        marker=crowd.marker is not None,
        incomplete="" if fails else lacks,
        fault=f"its group is incomplete: {lacks}" if fails and lacks else "",
    )


def _lacks(crowd: _Crowd) -> str:
    """What a group lacks, as "5 of 6 files: 'IM3.dcm': ..."; empty where it is whole."""
    lacking = crowd.lacking
    if not lacking:
        return ""
    count = sum(unit.files for unit in crowd.members)
    total = count + sum(max(1, unit.files) for unit in lacking)
    named = "; ".join(f"'{unit.shown}': {unit.lacking}" for unit in lacking[:_NAMED])
    more = f"; and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    return f"{count} of {total} files: {named}{more}"


# --- parts that lack --------------------------------------------------------------------------


def _add_lacking(crowds: Sequence[_Crowd], lacking: Iterable[Unit], window: float) -> None:
    """Gives each crowd the entries that are, or may be, a part of it.

    One that says what it belongs to is a part of that. Of the others nobody knows: they may be a
    part of what came at the same time, give or take `window` seconds, into the same folder of the
    trigger's.
    """
    by_key = {crowd.key: crowd for crowd in crowds if crowd.key}
    spans = []
    by_top: dict[bytes, list[tuple[_Crowd, float, float]]] = defaultdict(list)
    for crowd in crowds:
        seen = [member.first_seen for member in crowd.members]
        span = (crowd, min(seen) - window, max(seen) + window)
        spans.append(span)
        for top in {_top(unit.name) for unit in crowd.members}:
            by_top[top].append(span)
    for unit in lacking:
        if unit.key:
            if unit.key in by_key:
                by_key[unit.key].lacking.append(unit)
            continue
        for crowd, first, last in by_top[_top(unit.name)] if by_key else spans:
            if first <= unit.first_seen <= last:
                crowd.lacking.append(unit)


def _top(name: bytes) -> bytes:
    """The folder at the trigger's top that an entry lies in; b'' where it lies there itself."""
    return name.partition(b"/")[0] if b"/" in name else b""


# --- markers ----------------------------------------------------------------------------------


def stem_of(marker: str, name: bytes) -> bytes | None:
    """What the `*` of a marker's name stands for (b'' where it has none); None: it is no marker."""
    before, star, after = (part.encode() for part in marker.partition("*"))
    if not star:
        return b"" if _folded(name) == _folded(before) else None
    stem = name[len(before) : len(name) - len(after)]
    fits = stem and _folded(name) == _folded(before + stem + after)
    return stem if fits else None


def _folded(name: bytes) -> str:
    """Case does not count: devices write the same ending in both."""
    return name.decode("utf-8", "surrogateescape").casefold()


def _ended(trigger: Trigger, units: Sequence[Unit]) -> list[_Crowd]:
    """The group of each marker that is there. Empty folders are waited for by none."""
    assert trigger.marker is not None
    stems = {u.name: stem_of(trigger.marker, u.name) for u in units}
    others: dict[bytes, list[Unit]] = defaultdict(list)
    for unit in units:
        if stems[unit.name] is None and not unit.stray:
            for end in _ends(unit.name):
                others[end].append(unit)
    unplaced = [u for u in units if u.lacking and not u.stray and u.name.startswith(b".")]
    taken: set[bytes] = set()
    crowds = []
    for marker in units:
        stem = stems[marker.name]
        if stem is None or not marker.ready:
            continue
        found = [other for other in others[stem] if other.name not in taken]
        members = [unit for unit in found if not unit.lacking]
        # Hidden names of unfinished files have what they will be called in them.
        names = {unit.name for unit in found} if unplaced else ()
        hidden = [u for u in unplaced if stem in u.name and u.name not in names]
        lacking = [*(unit for unit in found if unit.lacking), *hidden]
        # Without anything that it ends, a marker stays: what it ends may come after it.
        if members and all(member.ready for member in members):
            taken.update(member.name for member in members)
            crowds.append(_Crowd(members, lacking, label=stem, marker=marker))
    return crowds


def _ends(name: bytes) -> Iterator[bytes]:
    """Every stem that a name belongs to: itself, what is before one of its dots, and b''."""
    yield b""
    at = name.find(b".", 1)
    while at > 0:
        yield name[:at]
        at = name.find(b".", at + 1)
    yield name
