"""The spool: claimed entries wait here until the results of their job are delivered.

    spool/<item>/raw/<name>   the entry as it was claimed
    spool/<item>/own/<name>   copies, where it had files of other users, or with other hard links
    spool/<item>/new/<name>   these copies, while they are not complete

    spool/<item>/mount        the mount point of its folder, at the time it was hidden there

From an inbox on another file system, an entry cannot be renamed into the spool: the raw entry stays
in its folder, under a hidden name, until the copy is complete. If it is missing there later, its
disk may not be mounted.
"""

from __future__ import annotations

import os
from pathlib import Path

HIDDEN = ".claraedge-"


def is_ours(path: bytes) -> bool:
    """Whether a path in an inbox is, or lies in, an entry that was claimed and is hidden there."""
    return path.startswith(HIDDEN.encode())


class Spool:
    """The paths of claimed items."""

    def __init__(self, state: Path) -> None:
        self.root = state / "spool"

    def folder(self, item: str) -> Path:
        """Returns the folder that contains everything of an item."""
        return self.root / item

    def raw(self, item: str, name: bytes) -> Path:
        """Returns the place of the entry as it was claimed."""
        return self.root / item / "raw" / os.fsdecode(name)

    def own(self, item: str, name: bytes) -> Path:
        """Returns the place of a complete copy."""
        return self.root / item / "own" / os.fsdecode(name)

    def new(self, item: str, name: bytes) -> Path:
        """Returns the place of a copy that is not complete yet."""
        return self.root / item / "new" / os.fsdecode(name)

    def hidden(self, item: str, folder: Path) -> Path:
        """Returns the raw entry's place in an inbox on another file system."""
        return folder / f"{HIDDEN}{item}"

    def mount_note(self, item: str) -> Path:
        """Returns the file that notes the mount point of an entry hidden in its folder."""
        return self.root / item / "mount"

    def original(self, item: str, name: bytes) -> Path:
        """Returns the entry to be kept: the copy where there is one, else the raw entry."""
        own = self.own(item, name)
        return own if os.path.lexists(own) else self.raw(item, name)
