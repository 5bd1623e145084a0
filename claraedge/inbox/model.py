"""Items of the inbox, as values: what people see of them, and what is recorded at their claim."""

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
    """The step that an item has reached between its drop and its results."""

    SEEN = "seen"
    """Found, not inspected yet."""
    SETTLING = "settling"
    """Perhaps still being written."""
    PARKED = "parked"
    """Blocked for the reason that is given. It continues by itself once the reason is gone."""
    CLAIMED = "claimed"
    """Recorded, and moved out of the inbox into the spool; it has no job yet."""
    SUBMITTED = "submitted"
    """It has a job, whose results are not delivered yet."""
    DELIVERED = "delivered"
    FAILED = "failed"
    IGNORED = "ignored"
    """It lies in a trigger's folder, but is never taken; the reason says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A dropped entry, or a group of them, as users and the API see it."""

    id: str
    """Kept from the first sight of the entry on; after a restart only if it could be recorded."""
    folder: str
    """The folder that it was dropped into: an absolute path, escaped as the name is."""
    name: str
    """Escaped where it is not printable or not UTF-8: safe for a terminal."""
    raw_name: bytes
    """The name's bytes, as the file system has them."""
    pipeline: str
    """Name or id, as the trigger names it; empty where the folder belongs to no pipeline."""
    state: ItemState
    reason: str = ""
    remedy: str = ""
    """A shell command that removes the cause, where one exists."""
    thing: Thing | None = None
    """The file or folder that `claraedge adopt` has to give to the daemon's user."""
    size: int = 0
    """Bytes of all its files; 0 before the first inspection."""
    job: str | None = None
    result_path: str | None = None
    """The folder with its results, or with its failure report."""
    first_seen: float
    """Unix seconds."""
    members: tuple[str, ...] = ()
    """The entries of a group, as printable paths."""
    digest: str = ""
    duplicate_of: str = ""
    removed: float | None = None
    """Unix seconds at which `result_path` was removed for its age, or found to be missing."""
    original_path: str | None = None
    """The folder that keeps what was dropped; None for a failure, whose folder contains it."""
    original_removed: float | None = None
    """Unix seconds at which `original_path` was removed, or found to be missing."""


class ItemOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The settings of an item from its trigger, fixed when it is claimed."""

    parameters: Mapping[str, str] = {}
    """Values for the parameters of the pipeline, by name."""
    metadata: Mapping[str, str] = {}
    priority: PriorityName = "normal"
    settle: float = 5.0
    """Seconds without a change that are required if it is written to during its claim."""
    duplicates: Duplicates = "run"
    marker: bool = False
    """The last member is the marker file that ended the group: it is kept, but is no input."""
    incomplete: str = ""
    """What its group lacks: "3 of 6 files: ..."; its job says so."""
    lenient: bool = False
    """Its group becomes a job even if members are removed while it is claimed."""
    study: bool = False
    """It is named after the UID of its study or series, of which an earlier job may be a part."""
    fault: str = ""
    """Why it can never become a job, where its content had to be inspected to know it."""

    @property
    def jobs_priority(self) -> Priority:
        """The priority of the item's job."""
        return Priority[self.priority.upper()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An item whose claim is recorded; how far the claim got is visible on the disk."""

    id: str
    folder: Path
    """The folder of its trigger."""
    inside: bytes = b""
    """The path below `folder` of the folder that contains the entry; b'' for `folder` itself."""
    name: bytes
    """The name of the entry, or the label of the group."""
    members: tuple[bytes, ...] = ()
    """The paths below `folder` of a group's entries, which are gathered in a folder `name`."""
    pipeline: str
    deliver: tuple[str, ...]
    options: ItemOptions
    fingerprint: str
    """Fingerprint of the entries when they were settled."""
    content: str
    """Fingerprint of the properties that a rename does not change (`Survey.content`)."""
    size: int
    """Bytes of all its files."""
    first_seen: float
    """Unix seconds."""
    keep_originals_days: float | None = None
    """Days for which the original is kept; None: the setting that applies to all triggers."""
    reason: str = ""
    """Why it is blocked, as recorded; empty: it is not."""
    remedy: str = ""

    @property
    def paths(self) -> tuple[bytes, ...]:
        """The paths of its entries below `folder`."""
        if self.members:
            return self.members
        return (self.inside + b"/" + self.name if self.inside else self.name,)

    @property
    def place(self) -> Path:
        """The folder that it was dropped into, to be shown to people."""
        return self.folder / os.fsdecode(self.inside)

    @property
    def text(self) -> str:
        """The name as text; bytes that are not UTF-8 are escaped."""
        return self.name.decode("utf-8", "backslashreplace")


def shown(name: bytes) -> str:
    """Returns a name or path as printable text: what is not UTF-8 or not printable is escaped."""
    text = name.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_text(path: str) -> bool:
    """Whether a name or path, as Python's `str`, is valid UTF-8 and can be stored in a row."""
    return all(not "\ud800" <= c <= "\udfff" for c in path)


def name_of(name: bytes) -> str:
    """Returns the name as a `str` for Python's paths, with bytes that are not UTF-8 preserved."""
    return name.decode("utf-8", "surrogateescape")
