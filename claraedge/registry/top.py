"""`pipelines.d` itself at one look: what lies at its top, and where it is mounted."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claraedge.formats.filenames import shown
from claraedge.fs import files
from claraedge.fs.folder_looks import Seen, entries

_SUFFIXES = (b".yaml", b".yml")
_ALMOST = re.compile(rb"\.ya?ml\.(txt|text)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """The folder itself, and what at its top is a pipeline's."""

    mount: str
    """Where the file system that holds it is mounted."""
    empty: bool
    changed: int
    """Nanoseconds: when a name came or went last."""
    found: Mapping[bytes, Seen]
    almost: tuple[bytes, ...]
    """Names of pipelines with one more ending, which Windows hides."""


def look_at(folder: Path, *, make: bool) -> Top:
    """Blocking. Raises OSError. `make`: a folder that is missing is made."""
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
