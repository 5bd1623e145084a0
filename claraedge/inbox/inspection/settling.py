"""When an entry of the inbox is whole. Pure: looks and hints in, a decision out.

An entry is settled once two looks, the settle time or more apart, found it the same, and nobody is
known to write to it still. A watcher's hints hold an entry back, and spare the quiet time for one
that was renamed in from a temporary name; without hints the quiet time alone counts, as for what
lay there at the start, or what arrives over a network mount that sends no events.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

#: Other names of a file that is claimed may be a writer's own, on its way to be removed.
LINKS_SECONDS = 60.0
#: Paths in an entry that are remembered though nobody is known to write them. What is made without
#: being opened (a link) is never heard of again, and there may be 100,000 of them.
_IDLE_WRITERS = 64

# --- hints ------------------------------------------------------------------------------------


class Heard(enum.Enum):
    """What a watcher may tell of a path."""

    CREATED = "created"
    OPENED = "opened"
    MODIFIED = "modified"
    CLOSED = "closed"
    """Closed by one who could write."""
    CLOSED_UNWRITTEN = "closed-unwritten"
    """Closed by a reader."""
    MOVED_IN = "moved-in"
    MOVED_FROM_TEMPORARY = "moved-from-temporary"
    """Renamed in place from a name that `is_temporary`."""
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """What is known of the one who writes a path."""

    opened: bool = False
    """Opened right after it was made; nothing written yet."""
    perhaps: bool = False
    """What was there before was opened, perhaps to be read."""
    modified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What a watcher told of an entry and of what lies in it."""

    writers: Mapping[bytes, Writer] = field(default_factory=dict)
    """Path inside the entry (b'' is the entry) -> its writer, while one is known."""
    complete: bool = False
    """Renamed in from a temporary name, and not written to since."""

    @property
    def writing(self) -> bool:
        """Somebody is known to have a file open that he writes."""
        return any(writer.opened or writer.modified for writer in self.writers.values())


NO_HINTS = Hints()


def hear(hints: Hints, heard: Heard, inside: bytes = b"") -> Hints:
    """The hints after one more, of the path `inside` the entry (b'' for the entry itself)."""
    writers = dict(hints.writers)
    complete = hints.complete
    known = writers.get(inside)
    match heard:
        case Heard.CREATED:
            writers[inside] = Writer()
        case Heard.OPENED:
            # Of a file that was there before, it may as well be a reader's.
            if known is None:
                writers[inside] = Writer(perhaps=True)
            elif not known.perhaps:
                writers[inside] = replace(known, opened=True)
        case Heard.MODIFIED:
            # The kernel says so also of times and lengths that are set by name, as 7-Zip and
            # `touch -m` do after the end: without an open, no close would follow.
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
        # Without them, one who opens such a file is only known once he has written to it.
        busy = {path: w for path, w in writers.items() if w.opened or w.modified}
        writers = busy if len(busy) + _IDLE_WRITERS // 2 < len(writers) else writers
    return Hints(writers=writers, complete=complete)


_TAKEN = "it is taken once it stays the same for"

# --- looks ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at an entry found."""

    fingerprint: str
    """Of (path, device, inode, size, blocks, mtime, ctime) of the entry and all that is in it."""
    files: int = 1
    """Count of regular files."""
    linked: bool = False
    """A file in it has other names elsewhere."""
    unfinished: str | None = None
    """A temporary name in it: somebody is still filling the folder."""
    fault: str | None = None
    """Why it can never become a job: there is nothing to wait for then but quiet."""
    written: bool = False
    """The system tells that somebody has it open for writing, as far as it was asked: that needs
    to be asked only of what would be settled else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """What is remembered between looks."""

    first_seen: float
    """Seconds of the clock for durations, as all times here."""
    fingerprint: str
    since: float
    """The first look that found this fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from a look."""

    settled: bool
    quiet: Quiet
    look_again: float
    """When a further look can tell more, if no hint comes before."""
    reason: str = ""
    """Why it is not taken, where that is worth telling."""


def unfinished_inside(look: Look) -> str:
    """Why a folder is not whole by a name in it; empty: it is."""
    if look.unfinished is None or look.fault is not None:
        return ""
    return f"it holds {look.unfinished}, the name of an unfinished file"


def decide(
    before: Quiet | None, look: Look, now: float, settle: float, hints: Hints = NO_HINTS
) -> Decision:
    """Whether the entry is whole, `settle` seconds being the quiet that it takes."""
    if before is None:
        quiet = Quiet(first_seen=now, fingerprint=look.fingerprint, since=now)
    elif before.fingerprint != look.fingerprint:
        quiet = replace(before, fingerprint=look.fingerprint, since=now)
    else:
        quiet = before

    def wait(until: float, reason: str = "") -> Decision:
        return Decision(settled=False, quiet=quiet, look_again=max(until, now), reason=reason)

    if hints.writing or look.written:
        return wait(now + settle, "a program has it open for writing; close it there")
    whole_by_name = hints.complete and not look.linked and look.unfinished is None
    if now - quiet.since < settle and not whole_by_name:
        # Of what arrives there is nothing to say; of what still changes there is.
        restless = now - quiet.first_seen >= 2 * settle
        return wait(quiet.since + settle, f"it still changes: {_TAKEN} {settle:g} s" * restless)
    if look.fault is not None:
        return Decision(settled=True, quiet=quiet, look_again=now)
    if look.unfinished is not None:
        return wait(now + settle, unfinished_inside(look))
    if look.files == 0:
        return wait(now + settle, "an empty folder: put files into it, or remove it")
    if look.linked and now - quiet.first_seen < LINKS_SECONDS:
        return wait(
            quiet.first_seen + LINKS_SECONDS,
            "it has a second name (a hard link), perhaps of a program that still writes it; it is"
            f" taken once that name is gone, or after {LINKS_SECONDS:g} s",
        )
    return Decision(settled=True, quiet=quiet, look_again=now)
