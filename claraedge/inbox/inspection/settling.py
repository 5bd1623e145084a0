"""Decides when an entry of the inbox is complete. Pure: inspections and hints in, a decision out.

An entry is settled once two inspections, at least the settle time apart, found it unchanged, and
nobody is known to be writing to it. A watcher's hints can delay an entry, or skip the quiet time of
one that was renamed in from a temporary name. Without hints only the quiet time counts: for what
was there at the start, and for what arrives over a network mount that sends no events.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

#: Longest time (s) that a file waits for its other hard links to be removed: they may be the
#: writer's own, which it removes at the end.
LINKS_SECONDS = 60.0
#: Number of paths in an entry that are remembered although nobody is known to write them. What is
#: created without being opened (a link) sends no further event, and there may be 100,000 of them.
_IDLE_WRITERS = 64

# --- hints ------------------------------------------------------------------------------------


class Heard(enum.Enum):
    """The kinds of events that a watcher reports of a path."""

    CREATED = "created"
    OPENED = "opened"
    MODIFIED = "modified"
    CLOSED = "closed"
    """Closed by a program that had it open for writing."""
    CLOSED_UNWRITTEN = "closed-unwritten"
    """Closed by a program that had it open for reading only."""
    MOVED_IN = "moved-in"
    MOVED_FROM_TEMPORARY = "moved-from-temporary"
    """Renamed within the folder from the name of an unfinished file."""
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """What is known of the program that writes a path."""

    opened: bool = False
    """It was opened right after its creation; nothing is written yet."""
    perhaps: bool = False
    """An existing file was opened, perhaps only for reading."""
    modified: bool = False
    """It was written to, and not closed since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What a watcher has reported of an entry and of the paths in it."""

    writers: Mapping[bytes, Writer] = field(default_factory=dict)
    """Path inside the entry (b'' is the entry) -> its writer, while one is known."""
    complete: bool = False
    """It was renamed in from a temporary name, and not written to since."""

    @property
    def writing(self) -> bool:
        """Whether a program is known to have a file open for writing."""
        return any(writer.opened or writer.modified for writer in self.writers.values())


NO_HINTS = Hints()


def hear(hints: Hints, heard: Heard, inside: bytes = b"") -> Hints:
    """Returns the hints with one more event, of a path `inside` the entry (b'': the entry)."""
    writers = dict(hints.writers)
    complete = hints.complete
    known = writers.get(inside)
    match heard:
        case Heard.CREATED:
            writers[inside] = Writer()
        case Heard.OPENED:
            # An existing file may as well have been opened by a reader.
            if known is None:
                writers[inside] = Writer(perhaps=True)
            elif not known.perhaps:
                writers[inside] = replace(known, opened=True)
        case Heard.MODIFIED:
            # The kernel also sends this event for times and lengths that are set by name, as 7-Zip
            # and `touch -m` do after the end: without an open, no close would follow.
            if known is not None and (known.opened or known.perhaps or known.modified):
                writers[inside] = Writer(opened=known.opened, modified=True)
            complete = False
        case Heard.CLOSED_UNWRITTEN:
            if known is not None and known.perhaps:
                del writers[inside]
            elif known is not None and not known.modified:
                writers[inside] = Writer()
        case Heard.CLOSED | Heard.MOVED_IN | Heard.REMOVED | Heard.MOVED_FROM_TEMPORARY:
            if inside == b"" and heard is not Heard.CLOSED:
                writers.clear()
                complete = heard is Heard.MOVED_FROM_TEMPORARY
            else:
                for path in [p for p in writers if p == inside or p.startswith(inside + b"/")]:
                    del writers[path]
    if len(writers) > _IDLE_WRITERS:
        # Once forgotten, a program that opens such a file is known only after it has written.
        busy = {path: w for path, w in writers.items() if w.opened or w.modified}
        writers = busy if len(busy) + _IDLE_WRITERS // 2 < len(writers) else writers
    return Hints(writers=writers, complete=complete)


_TAKEN = "it is taken once it stays the same for"

# --- decision ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one inspection of an entry found, as far as it matters for settling."""

    fingerprint: str
    """Hash over (path, device, inode, size, blocks, mtime, ctime) of the entry and its content."""
    files: int = 1
    """Number of regular files."""
    linked: bool = False
    """A file in it has further hard links."""
    unfinished: str | None = None
    """The first name of an unfinished file in it, quoted: the folder is still being filled."""
    fault: str | None = None
    """Why it can never become a job; such an entry waits only until it does not change any more."""
    written: bool = False
    """A file in it is open for writing, by a check of the system. The check is made only for what
    would be settled otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """What is remembered from one inspection of an entry to the next."""

    first_seen: float
    """Time of the first inspection, seconds of the clock's `elapsed` (as all times here)."""
    fingerprint: str
    since: float
    """Time (seconds) of the first inspection that found this fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingDecision:
    """What follows from an inspection."""

    settled: bool
    quiet: Quiet
    next_inspection: float
    """Time (seconds) of the next inspection, if no hint comes before."""
    reason: str = ""
    """Why it is not taken, where people should see that."""


def unfinished_inside(reading: Reading) -> str:
    """Returns why a folder is unfinished, by a name in it; empty: no name says so."""
    if reading.unfinished is None or reading.fault is not None:
        return ""
    return f"it holds {reading.unfinished}, the name of an unfinished file"


def decide(
    before: Quiet | None, reading: Reading, now: float, settle: float, hints: Hints = NO_HINTS
) -> SettlingDecision:
    """Decides whether an entry is complete. `settle`: the seconds without a change that it needs.

    `before`: what the last decision returned as `quiet`. `now`: when the inspection began (s).
    """
    if before is None:
        quiet = Quiet(first_seen=now, fingerprint=reading.fingerprint, since=now)
    elif before.fingerprint != reading.fingerprint:
        quiet = replace(before, fingerprint=reading.fingerprint, since=now)
    else:
        quiet = before

    def wait(until: float, reason: str = "") -> SettlingDecision:
        return SettlingDecision(
            settled=False, quiet=quiet, next_inspection=max(until, now), reason=reason
        )

    if hints.writing or reading.written:
        return wait(now + settle, "a program has it open for writing; close it there")
    whole_by_name = hints.complete and not reading.linked and reading.unfinished is None
    if now - quiet.since < settle and not whole_by_name:
        # A file that has just arrived needs no explanation; one that keeps changing does.
        restless = now - quiet.first_seen >= 2 * settle
        return wait(quiet.since + settle, f"it still changes: {_TAKEN} {settle:g} s" * restless)
    if reading.fault is not None:
        return SettlingDecision(settled=True, quiet=quiet, next_inspection=now)
    if reading.unfinished is not None:
        return wait(now + settle, unfinished_inside(reading))
    if reading.files == 0:
        return wait(now + settle, "an empty folder: put files into it, or remove it")
    if reading.linked and now - quiet.first_seen < LINKS_SECONDS:
        return wait(
            quiet.first_seen + LINKS_SECONDS,
            "it has a second name (a hard link), perhaps of a program that still writes it; it is"
            f" taken once that name is gone, or after {LINKS_SECONDS:g} s",
        )
    return SettlingDecision(settled=True, quiet=quiet, next_inspection=now)
