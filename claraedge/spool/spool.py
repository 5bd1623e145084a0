"""The spool: claimed entries wait here until the results of their job are delivered.

    spool/<item>/<name>       the entry as it was claimed
    spool/<item>.own/<name>   copies, where it had files of other users, or with other hard links
    spool/<item>.new/<name>   these copies, while they are not complete
    spool/<item>.mount        the mount point of its folder, at the time it was hidden there

From an inbox on another file system, an entry cannot be renamed into the spool: the raw entry stays
in its folder, under a hidden name, until the copy is complete. If it is missing there later, its
disk may not be mounted.
"""

from __future__ import annotations

import os
from pathlib import Path

from claraedge.fs.removal import remove

HIDDEN = ".claraedge-"


def is_ours(path: bytes) -> bool:
    """Whether a path in an inbox is, or lies in, an entry that was claimed and is hidden there."""
    return path.startswith(HIDDEN.encode())


class Spool:
    """The paths of claimed items."""

    def __init__(self, state: Path) -> None:
        self.root = state / "spool"

    def folder(self, item: str) -> Path:
        """Returns the folder that an item's entry is moved into."""
        return self.root / item

    def raw(self, item: str, name: bytes) -> Path:
        """Returns the place of the entry as it was claimed."""
        return self.root / item / os.fsdecode(name)

    def own(self, item: str, name: bytes) -> Path:
        """Returns the place of a complete copy."""
        return self.root / f"{item}.own" / os.fsdecode(name)

    def new(self, item: str, name: bytes) -> Path:
        """Returns the place of a copy that is not complete yet."""
        return self.root / f"{item}.new" / os.fsdecode(name)

    def hidden(self, item: str, folder: Path) -> Path:
        """Returns the raw entry's place in an inbox on another file system."""
        return folder / f"{HIDDEN}{item}"

    def mount_note(self, item: str) -> Path:
        """Returns the file that notes the mount point of an entry hidden in its folder."""
        return self.root / f"{item}.mount"

    def original(self, item: str, name: bytes) -> Path:
        """Returns the entry to be kept: the copy where there is one, else the raw entry."""
        own = self.own(item, name)
        return own if os.path.lexists(own) else self.raw(item, name)

    def folders(self, item: str) -> list[Path]:
        """Returns the folders that an item may have here, with its files."""
        return [self.root / f"{item}{end}" for end in (".new", ".own", "")]

    def remove(self, item: str) -> None:
        """Removes everything of an item. Blocking. Raises OSError."""
        for path in (self.mount_note(item), *self.folders(item)):
            remove(path)

    def items(self) -> set[str]:
        """Returns the ids of all items that something is here of. Blocking.

        Files that a crash left half written have no item, and are removed.
        """
        found = set()
        for path in self.root.iterdir():
            item = path.name.partition(".")[0]
            if item:
                found.add(item)
            elif path.name.endswith(".tmp"):  # of `files.replace`
                path.unlink(missing_ok=True)
        return found
