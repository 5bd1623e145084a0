"""Where what was claimed from an inbox waits until its job's results are delivered.

    spool/<item>/raw/<name>   as it was claimed
    spool/<item>/own/<name>   copies, where files of other users or with further names were in it
    spool/<item>/new/<name>   the same, on its way

    spool/<item>/away         the mount point that its folder had when it was hidden there

An inbox on another file system cannot be renamed from: there the raw entry keeps to its folder,
under a hidden name, until the copy is complete. That it is not there then may mean that its disk is
not mounted.
"""

from __future__ import annotations

import os
from pathlib import Path

HIDDEN = ".claraedge-"


def is_ours(path: bytes) -> bool:
    """Whether a path in an inbox is, or lies in, an entry that was claimed and is hidden there."""
    return path.startswith(HIDDEN.encode())


class Spool:
    """Paths of claimed items."""

    def __init__(self, state: Path) -> None:
        self.root = state / "spool"

    def folder(self, item: str) -> Path:
        return self.root / item

    def raw(self, item: str, name: bytes) -> Path:
        return self.root / item / "raw" / os.fsdecode(name)

    def own(self, item: str, name: bytes) -> Path:
        return self.root / item / "own" / os.fsdecode(name)

    def new(self, item: str, name: bytes) -> Path:
        return self.root / item / "new" / os.fsdecode(name)

    def hidden(self, item: str, folder: Path) -> Path:
        """The raw entry's name in the inbox, where that is another file system."""
        return folder / f"{HIDDEN}{item}"

    def away(self, item: str) -> Path:
        return self.root / item / "away"

    def original(self, item: str, name: bytes) -> Path:
        """The entry that is to be kept: the copy where there is one, else as it was claimed."""
        own = self.own(item, name)
        return own if os.path.lexists(own) else self.raw(item, name)
