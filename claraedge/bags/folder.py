"""The folder of one job, where its container writes bags.

bags/<job>/recording/       mounted in the container: bags, and the one that is being written
bags/<job>/found/<bag>/     one bag each, on its way into the payload
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.bags.recipes import ACTIVE, PARTIAL, WHOLE
from claraedge.fs import files
from claraedge.packages.ids import is_id

#: Bags that are taken at once; others follow.
_MOST = 10_000
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class FoundBag:
    """A bag on its way into the payload."""

    id: str
    path: Path

    @property
    def whole(self) -> bool:
        """Whether `record` has closed it."""
        return self.path.name.endswith(WHOLE)

    @property
    def name(self) -> str:
        """Its name in the payload: one that needs no quoting anywhere."""
        name = self.path.name
        if name.endswith(PARTIAL):
            name = name.removesuffix(PARTIAL) + ACTIVE
        return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-_LONGEST:].lstrip(".-") or "recording.bag"


class BagFolder:
    """Finds bags. All methods block, and raise OSError."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.recording = root / "recording"
        self._found = root / "found"

    def written(self, *, ended: bool) -> Sequence[Path]:
        """Returns the bags that nothing writes to, in the order of their names.

        `ended`: whether no container of the job exists.
        """
        suffixes = (WHOLE, PARTIAL, ACTIVE) if ended else (WHOLE, PARTIAL)
        try:
            with os.scandir(self.recording) as entries:
                found = [
                    Path(entry.path)
                    for entry in entries
                    if entry.name.endswith(suffixes) and entry.is_file(follow_symlinks=False)
                ]
        except FileNotFoundError:
            return []
        return sorted(found)[:_MOST]

    def take(self, written: Path, bag: str) -> FoundBag:
        """Moves a bag out of the reach of its container. `bag`: its new id."""
        place = self._found / bag
        files.make_folders(place)
        target = place / written.name
        written.rename(target)
        files.sync_folder(place)
        return FoundBag(bag, target)

    def taken(self) -> Sequence[FoundBag]:
        """Returns the bags that were moved and not removed."""
        found = []
        for place in sorted(self._found.iterdir()) if self._found.is_dir() else []:
            inside = [path for path in place.iterdir() if stat.S_ISREG(path.lstat().st_mode)]
            if len(inside) == 1 and is_id(place.name, "bag"):
                found.append(FoundBag(place.name, inside[0]))
            elif not inside:
                with contextlib.suppress(OSError):  # not a bag, but it stays until the job's end
                    place.rmdir()
        return found

    def remove(self, found: FoundBag) -> None:
        """Removes a bag that is stored, or empty."""
        found.path.unlink(missing_ok=True)
        found.path.parent.rmdir()
