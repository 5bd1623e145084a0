"""One scan of `pipelines.d` itself: the entries at its top, and where it is mounted."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claraedge.formats.filenames import shown
from claraedge.fs import files
from claraedge.fs.listing import EntryStatus, entries

_SUFFIXES = (b".yaml", b".yml")
_ALMOST = re.compile(rb"\.ya?ml\.(txt|text)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """The state of the folder itself, and the pipeline files at its top."""

    mount: str
    """The mount point of its file system."""
    empty: bool
    changed: int
    """Time in nanoseconds at which a name was last added or removed."""
    found: Mapping[bytes, EntryStatus]
    almost: tuple[bytes, ...]
    """Names of pipeline files with one more extension, which Windows hides."""


def scan_top(folder: Path, *, make: bool) -> Top:
    """Scans the folder. `make`: creates it where it is missing. Blocks. Raises OSError."""
    if make and not folder.exists():
        files.make_folders(folder)
    status = folder.stat()
    found = entries(folder)
    with os.scandir(folder) as listed:
        empty = not any(listed)
    return Top(
        mount=shown(os.fsencode(_mount_of(folder))),
        empty=empty,
        changed=status.st_ctime_ns,
        found={name: seen for name, seen in found.items() if name.lower().endswith(_SUFFIXES)},
        almost=tuple(name for name in found if _ALMOST.search(name)),
    )


def _mount_of(folder: Path) -> Path:
    place = Path(os.path.realpath(folder))
    device = place.stat().st_dev
    while place != place.parent and place.parent.stat().st_dev == device:
        place = place.parent
    return place
