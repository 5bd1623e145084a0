"""Snapshots of a folder that people put files into.

If two snapshots, a pause apart, agree on an entry, nobody is writing to it any more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from claraedge.formats.filenames import is_ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryStatus:
    """The status of a folder's entry in one snapshot."""

    inode: int
    size: int
    """Bytes."""
    modified: int
    """Time of the last change of the content (mtime), Unix nanoseconds."""
    changed: int
    """Time of the last change of content, mode or name (ctime), Unix nanoseconds."""
    mode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Returns the entry for a result of `stat`."""
        return cls(
            inode=status.st_ino,
            size=status.st_size,
            modified=status.st_mtime_ns,
            changed=status.st_ctime_ns,
            mode=status.st_mode,
        )

    @property
    def content(self) -> str:
        """A text that identifies the content, and does not change when the file is renamed."""
        return f"{self.inode}-{self.size}-{self.modified}"


def entries(folder: Path) -> Mapping[bytes, EntryStatus]:
    """Returns the folder's entries by name, without ignored names (`is_ignored`).

    A link counts as its target, or as itself where the target is missing. Raises OSError.
    """
    found = {}
    with os.scandir(os.fsencode(folder)) as listed:
        for entry in listed:
            if is_ignored(entry.name):
                continue
            try:
                status = entry.stat()
            except OSError:  # gone, or a link to a missing file, to itself, or into a closed folder
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
            found[entry.name] = EntryStatus.of(status)
    return found
