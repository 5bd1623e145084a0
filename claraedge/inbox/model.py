"""An item of the inbox, as a value."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from claraedge.config.inbox import Duplicates
from claraedge.config.inbox import Priority as PriorityName
from claraedge.fs.adopting import Thing
from claraedge.jobs.model import Priority


class ItemState(enum.Enum):
    """Where an item is."""

    SEEN = "seen"
    """Found, not looked at yet."""
    SETTLING = "settling"
    """Perhaps still being written."""
    PARKED = "parked"
    """Something keeps it; the reason says what. It goes on by itself when that is gone."""
    CLAIMED = "claimed"
    """Out of the inbox, in the spool."""
    SUBMITTED = "submitted"
    """A job."""
    DELIVERED = "delivered"
    FAILED = "failed"
    IGNORED = "ignored"
    """It lies in a trigger's folder and is no item; the reason says why. Nothing happens to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What is known of an entry that was dropped."""

    id: str
    """Of a settling one: only for as long as the daemon runs."""
    folder: str
    """The folder that it was dropped into: an absolute path, escaped as the name is."""
    name: str
    """Escaped where it is not printable or not UTF-8: safe for a terminal."""
    raw_name: bytes
    """As the file system has it."""
    pipeline: str
    """Name or id, as the trigger has it; empty where the folder belongs to none."""
    state: ItemState
    reason: str = ""
    remedy: str = ""
    """A shell command that takes the reason away, where there is one."""
    thing: Thing | None = None
    """What `claraedge adopt` has to give to the daemon's user."""
    size: int = 0
    """Bytes of all its files, as far as it was looked at."""
    job: str | None = None
    result_path: str | None = None
    """Where its results or its failure lie."""
    first_seen: float
    """Unix seconds."""
    members: tuple[str, ...] = ()
    """Of a group: its entries, as paths for people."""
    digest: str = ""
    duplicate_of: str = ""
    removed: float | None = None
    """When what lay at `result_path` was removed for its age, or found to be gone; Unix seconds."""
    original_path: str | None = None
    """The folder that keeps what was dropped; a failure holds it itself."""
    original_removed: float | None = None


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What its trigger says of an item, fixed when it is claimed."""

    parameters: Mapping[str, str] = {}
    """For the pipeline."""
    metadata: Mapping[str, str] = {}
    priority: PriorityName = "normal"
    settle: float = 5.0
    """Seconds of quiet, if it is written to while it is taken."""
    duplicates: Duplicates = "run"
    marker: bool = False
    """The last member only ended the group: it is kept with the others, and no input."""
    incomplete: str = ""
    """What its group lacks: "3 of 6 files: ..."; its job says so."""
    lenient: bool = False
    """Its group becomes a job also where parts of it are taken away while it is claimed."""
    study: bool = False
    """It is called by the UID of its study or series: of one that came before it is a part."""
    fault: str = ""
    """Why it can never become a job, where more than its place and name had to be looked at."""

    @property
    def jobs_priority(self) -> Priority:
        return Priority[self.priority.upper()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An item whose claim is recorded; what was done of it is on the disk."""

    id: str
    folder: Path
    """The trigger's."""
    inside: bytes = b""
    """Where in it the entry lies: the path of a folder, or b''."""
    name: bytes
    """Of the entry; of a group, what the group is called."""
    members: tuple[bytes, ...] = ()
    """Of a group: the paths of its entries below `folder`. They are gathered under `name`."""
    pipeline: str
    deliver: tuple[str, ...]
    options: Options
    fingerprint: str
    """Of the entries when they were settled."""
    content: str
    """The part of it that a rename leaves as it is."""
    size: int
    first_seen: float
    keep_originals_days: float | None = None
    """None: as configured for all."""
    reason: str = ""
    """Why it is held, as recorded."""
    remedy: str = ""

    @property
    def paths(self) -> tuple[bytes, ...]:
        """Its entries, below `folder`."""
        if self.members:
            return self.members
        return (self.inside + b"/" + self.name if self.inside else self.name,)

    @property
    def place(self) -> Path:
        """The folder that it was dropped into, for people."""
        return self.folder / os.fsdecode(self.inside)

    @property
    def text(self) -> str:
        return self.name.decode("utf-8", "backslashreplace")


def shown(name: bytes) -> str:
    """A name or path for people: what is not UTF-8 or not printable is escaped."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_text(path: str) -> bool:
    """Whether a name or path, as Python has it, is UTF-8: it can stand in a row then."""
    return all(not "\ud800" <= c <= "\udfff" for c in path)


def name_of(name: bytes) -> str:
    """The name as Python's paths take it."""
    return name.decode("utf-8", "surrogateescape")
