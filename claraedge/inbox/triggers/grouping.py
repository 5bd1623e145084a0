"""Groups entries into items. Pure: entries of a trigger's folder in, claimable items out.

An entry is a path below the folder: each path at its top, or each file of its tree. Each settles by
itself; this module decides which of the settled ones belong together, and whether to wait for more.

An entry that cannot become an input now (unfinished, refused, or not ours to take) may be a part of
a group. If it is one, or may be one, then the group waits, its job reports what is missing, or the
group fails, as the trigger says: a part of a study never passes for the whole study. An entry that
belongs to no group and can never become a job fails alone, and affects no other entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from claraedge.config.inbox import TriggerSettings

#: Most missing files of a group that a text names.
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The properties of an entry that matter for grouping."""

    name: bytes
    """Path below the trigger's folder."""
    shown: str = ""
    """The same path as printable text."""
    changed: float
    """When an inspection first found its present state, seconds of the clock's `elapsed`."""
    first_seen: float = 0.0
    """Unix seconds."""
    ready: bool
    """Settled, and free to be taken."""
    lacking: str = ""
    """Why it cannot become an input now: unfinished, refused, not ours to take; empty: it can."""
    faulty: bool = False
    """It can never become an input, for the reason in `lacking`; but we may take it."""
    files: int = 1
    """Number of regular files in it."""
    unrelated: bool = False
    """It certainly belongs to no group: no DICOM file, an empty folder, or a replaced part."""
    key: str = ""
    """UID of its study or series; empty while that is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Entries that become one job."""

    label: bytes
    """The name of the item."""
    members: tuple[bytes, ...]
    """In the order first seen. Empty: the item is the single entry named `label`."""
    key: str = ""
    """UID of the study or series; empty for other groups."""
    marker: bool = False
    """The last member is the marker that ended the group; it is no input."""
    incomplete: str = ""
    """What is missing: "3 of 6 files: ..."; empty: nothing."""
    fault: str = ""
    """Why it fails as a whole; empty: it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """The result of grouping."""

    groups: Sequence[Group]
    """Items that may be claimed now."""
    next_grouping: float | None
    """Time (seconds) at which more may be claimed by waiting alone; None: only changes matter."""
    unconfirmed: bool = False
    """More may be claimed once the folder is listed again."""
    waits: Mapping[bytes, str] = field(default_factory=dict)
    """Complete or refused entries that wait for others of their group -> what they wait for."""


@dataclass(slots=True)
class _Crowd:
    """Entries that belong together, and those because of which they are incomplete."""

    members: list[Unit]
    lacking: list[Unit] = field(default_factory=list)
    label: bytes = b""
    key: str = ""
    marker: Unit | None = None


def group(
    trigger: TriggerSettings, units: Sequence[Unit], now: float, listed: float = float("inf")
) -> Grouped:
    """Decides which items can be made of the entries of a trigger's folder.

    `units` must be in the order first seen. `now`, and `listed`: when the last listing of the
    folder began, both in seconds of the clock's `elapsed`. Nothing new for a while means something
    only where a listing confirms it: events of new files may be lost, or still wait to be read.
    """
    match trigger.grouping:
        case "entry" | "file" | "folder":
            singles = [Group(label=u.name, members=()) for u in units if u.ready]
            return Grouped(groups=singles, next_grouping=None)
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
        _add_lacking(crowds, [u for u in units if u.lacking and not u.unrelated], trigger.quiet)
    return _decided(trigger, crowds, units, now, listed)


def _decided(
    trigger: TriggerSettings,
    crowds: Iterable[_Crowd],
    units: Iterable[Unit],
    now: float,
    listed: float,
) -> Grouped:
    groups: list[Group] = []
    times: list[float] = []
    unconfirmed = False
    waits: dict[bytes, str] = {}
    due: list[_Crowd] = []
    kept: set[bytes] = set()
    """Entries that stay: each belongs to a failing group, or may belong to one that still waits."""
    for crowd in crowds:
        until = max(unit.changed for unit in (*crowd.members, *crowd.lacking)) + trigger.quiet
        if settling := [unit for unit in crowd.members if not unit.ready]:
            # The end of its settling triggers the next grouping. Where that lasts long, the other
            # members show what they wait for.
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
        elif listed < (until if crowd.marker is None else crowd.marker.changed):
            unconfirmed = True
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
        # The group that it belongs to may still arrive.
        until = unit.changed if unit.unrelated else unit.changed + trigger.quiet
        if until > now and trigger.grouping != "marker":
            times.append(until)
        elif listed < until and trigger.grouping != "marker":
            unconfirmed = True
        else:
            groups.append(Group(label=unit.name, members=()))
    return Grouped(
        groups=groups, next_grouping=min(times, default=None), unconfirmed=unconfirmed, waits=waits
    )


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
    """Returns what a group lacks, as "5 of 6 files: 'IM3.dcm': ..."; empty: nothing."""
    lacking = crowd.lacking
    if not lacking:
        return ""
    count = sum(unit.files for unit in crowd.members)
    total = count + sum(max(1, unit.files) for unit in lacking)
    named = "; ".join(f"'{unit.shown}': {unit.lacking}" for unit in lacking[:_NAMED])
    more = f"; and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
    return f"{count} of {total} files: {named}{more}"


# --- missing parts ----------------------------------------------------------------------------


def _add_lacking(crowds: Sequence[_Crowd], lacking: Iterable[Unit], window: float) -> None:
    """Adds to each crowd the lacking entries that belong, or may belong, to it.

    An entry with a known key belongs to the crowd of that key. Any other may belong to whatever
    arrived within `window` seconds of it, in the same folder below the trigger's.
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
    """Returns the first folder of an entry's path; b'' where it lies in the trigger's folder."""
    return name.partition(b"/")[0] if b"/" in name else b""


# --- markers ----------------------------------------------------------------------------------


def stem_of(marker: str, name: bytes) -> bytes | None:
    """Returns what the `*` of a marker stands for (b'' without one); None: `name` is no marker."""
    before, star, after = (part.encode() for part in marker.partition("*"))
    if not star:
        return b"" if _folded(name) == _folded(before) else None
    stem = name[len(before) : len(name) - len(after)]
    fits = stem and _folded(name) == _folded(before + stem + after)
    return stem if fits else None


def _folded(name: bytes) -> str:
    """Returns a name for comparison without case: devices write the same ending in both."""
    return name.decode("utf-8", "surrogateescape").casefold()


def _ended(trigger: TriggerSettings, units: Sequence[Unit]) -> list[_Crowd]:
    """Returns the group of each marker that exists. No group waits for empty folders."""
    assert trigger.marker is not None
    stems = {u.name: stem_of(trigger.marker, u.name) for u in units}
    others: dict[bytes, list[Unit]] = defaultdict(list)
    for unit in units:
        if stems[unit.name] is None and not unit.unrelated:
            for end in _ends(unit.name):
                others[end].append(unit)
    unplaced = [u for u in units if u.lacking and not u.unrelated and u.name.startswith(b".")]
    taken: set[bytes] = set()
    crowds = []
    for marker in units:
        stem = stems[marker.name]
        if stem is None or not marker.ready:
            continue
        found = [other for other in others[stem] if other.name not in taken]
        members = [unit for unit in found if not unit.lacking]
        # Hidden names of unfinished files contain their final names.
        names = {unit.name for unit in found} if unplaced else ()
        hidden = [u for u in unplaced if stem in u.name and u.name not in names]
        lacking = [*(unit for unit in found if unit.lacking), *hidden]
        # A marker without members stays: the files that it ends may arrive after it.
        if members and all(member.ready for member in members):
            taken.update(member.name for member in members)
            crowds.append(_Crowd(members, lacking, label=stem, marker=marker))
    return crowds


def _ends(name: bytes) -> Iterator[bytes]:
    """Yields every stem that a name belongs to: b'', what precedes each of its dots, and itself."""
    yield b""
    at = name.find(b".", 1)
    while at > 0:
        yield name[:at]
        at = name.find(b".", at + 1)
    yield name
