"""An item of the inbox, as a value."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path


class ItemState(enum.Enum):
    """Where an item is."""

    SETTLING = "settling"
    """Seen; perhaps still being written."""
    PARKED = "parked"
    """Something keeps it; the reason says what. It goes on by itself when that is gone."""
    CLAIMED = "claimed"
    """Out of the inbox, in the spool."""
    SUBMITTED = "submitted"
    """A job."""
    DELIVERED = "delivered"
    FAILED = "failed"


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
    mend: str = ""
    """A shell command that takes the reason away, where there is one."""
    size: int = 0
    """Bytes of all its files, as far as it was looked at."""
    job: str | None = None
    result_path: str | None = None
    """Where its results or its failure lie."""
    first_seen: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An item whose claim is recorded; what was done of it is on the disk."""

    id: str
    folder: Path
    name: bytes
    pipeline: str
    deliver: tuple[str, ...]
    fingerprint: str
    """Of the entry when it was settled."""
    content: str
    """The part of it that a rename leaves as it is."""
    size: int
    first_seen: float
    reason: str = ""
    """Why it is held, as recorded."""
    mend: str = ""

    @property
    def source(self) -> Path:
        """Its place in the inbox."""
        return self.folder / name_of(self.name)

    @property
    def text(self) -> str:
        return self.name.decode("utf-8", "backslashreplace")


def shown(name: bytes) -> str:
    """A name or path for people: what is not UTF-8 or not printable is escaped."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def name_of(name: bytes) -> str:
    """The name as Python's paths take it."""
    return name.decode("utf-8", "surrogateescape")
