"""What lies in a folder that people put files into, at one look.

Where two looks, a pause apart, agree on an entry, nobody writes to it any more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from claraedge.formats.filenames import is_ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An entry of a folder at one look."""

    inode: int
    size: int
    modified: int
    changed: int
    """Nanoseconds, as `modified`; also another mode or another name changes it."""
    mode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(
            inode=status.st_ino,
            size=status.st_size,
            modified=status.st_mtime_ns,
            changed=status.st_ctime_ns,
            mode=status.st_mode,
        )

    @property
    def content(self) -> str:
        """Stays the same where the file is only renamed."""
        return f"{self.inode}-{self.size}-{self.modified}"


def entries(folder: Path) -> Mapping[bytes, Seen]:
    """The folder's entries by name, but for those that stand for nothing.

    A link counts as what it leads to, or as itself where that is nothing. Raises OSError.
    """
    found = {}
    with os.scandir(os.fsencode(folder)) as listed:
        for entry in listed:
            if is_ignored(entry.name):
                continue
            try:
                status = entry.stat()
            except OSError:  # gone meanwhile, or a link to nowhere, to itself, to a closed folder
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
            found[entry.name] = Seen.of(status)
    return found
