"""Chooses names in a folder of another file system, which may refuse the original ones.

FAT, exFAT and SMB refuse `:`, `?` and a dot at the end, and treat `A.dcm` and `a.dcm` as one file;
encrypted folders allow only shorter names. Results have to arrive all the same: a name is tried
unchanged, then with `_` for what Windows refuses, then with a number. How other programs failed:
syncthing/syncthing#5098 and #7746, rclone/rclone#1350, owncloud/client#1127,
nextcloud/desktop#5099.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from claraedge.formats.filenames import shown

_log = logging.getLogger(__name__)

#: Errors by which file systems refuse a name. Some may have another cause; then the other names
#: that are tried fail in the same way.
_REFUSED = frozenset(
    {
        errno.EINVAL,  # FAT, exFAT, NTFS
        errno.EILSEQ,  # not UTF-8
        errno.ENAMETOOLONG,
        errno.ENOENT,  # SMB servers
        errno.EPERM,  # Android's storage
        errno.EACCES,
        errno.EEXIST,  # the same name except for case, or for the Unicode form of its accents
        errno.EISDIR,
        errno.ENOTDIR,
    }
)
_NOT_PORTABLE = re.compile(r'[<>:"\\|?*\x00-\x1f\x7f\udc80-\udcff]')
#: Names that Windows reserves for devices, with any ending.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
#: Most bytes of a portable name.
_LONGEST = 140
_TRIES = 99


def portable(name: str) -> str:
    """Returns a name that every file system accepts, always the same for the same name. Pure."""
    text = _NOT_PORTABLE.sub("_", name)
    if _DEVICES.match(text):
        text = f"_{text}"
    if text[-1:] in (".", " "):
        text = f"{text[:-1]}_"
    stem, dot, ending = text.rpartition(".")
    if not stem or len(ending) > 16:
        stem, dot, ending = text, "", ""
    room = _LONGEST - len(os.fsencode(dot + ending))
    stem = os.fsencode(stem)[:room].decode("utf-8", "ignore")
    return f"{stem}{dot}{ending}"


def located(root: Path, path: bytes) -> Path:
    """Returns where `Landing` has put a path, or would put it, if it collided with no other one.

    Raises nothing: a file system that refuses the lookup of a name has no such file.
    """
    place = root
    for part in os.fsdecode(path).split("/"):
        names = (part, portable(part))
        place = next((p for n in names if os.path.lexists(p := place / n)), place / part)
    return place


class Landing:
    """A folder that a tree is copied into, with names that its file system accepts."""

    def __init__(self, root: Path) -> None:
        """`root` must exist, and contain nothing of what is to be put there."""
        self._folders = {b"": root}

    @property
    def folders(self) -> Sequence[Path]:
        """The root and the folders that were created, each before those in it."""
        return tuple(self._folders.values())

    def folder(self, path: bytes) -> Path:
        """Returns the folder for a path of the tree; creates it and those above where missing."""
        if path not in self._folders:
            self._folders[path] = self.put(path, lambda place: place.mkdir(0o700))
        return self._folders[path]

    def put(self, path: bytes, make: Callable[[Path], object]) -> Path:
        """Calls `make` with a place for a path of the tree, and returns the place that worked.

        Where a name is refused, tries the next one. `make` must leave nothing where it fails.
        Raises the OSError of `make` where all names are refused, or where it has another cause.
        """
        above, _, name = path.rpartition(b"/")
        folder = self.folder(above)
        first: OSError | None = None
        for number, candidate in enumerate(_names(os.fsdecode(name))):
            try:
                make(folder / candidate)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                first = first or error
                if number and error.errno != errno.EEXIST:
                    raise first from error
                continue
            if first is not None:
                _log.warning(
                    "the name %s is refused in %s (%s); it is %s there",
                    shown(name), folder, first.strerror, candidate,
                )  # fmt: skip
            return folder / candidate
        assert first is not None
        raise first


def _names(name: str) -> Iterator[str]:
    yield name
    plain = portable(name)
    if plain != name:
        yield plain
    stem, dot, ending = plain.rpartition(".")
    if not stem:
        stem, dot, ending = plain, "", ""
    for number in range(2, _TRIES):
        yield f"{stem}~{number}{dot}{ending}"
