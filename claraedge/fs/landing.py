"""Names in a folder of another file system, which may refuse them.

FAT, exFAT and SMB take no `:` or `?` and no dot at the end, and call `A.dcm` and `a.dcm` one file;
encrypted folders take shorter names. Results have to arrive all the same: such a name is tried as
it is, then with `_` for what Windows refuses, then with a number. How it went elsewhere:
syncthing/syncthing#5098 and #7746, rclone/rclone#1350, owncloud/client#1127,
nextcloud/desktop#5099.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from claraedge.formats.filenames import shown

_log = logging.getLogger(__name__)
T = TypeVar("T")

#: How file systems refuse a name; some of it may mean something else, which then comes again.
_REFUSED = frozenset(
    {
        errno.EINVAL,  # FAT, exFAT, NTFS
        errno.EILSEQ,  # not UTF-8
        errno.ENAMETOOLONG,
        errno.ENOENT,  # SMB servers
        errno.EPERM,  # Android's storage
        errno.EACCES,
        errno.EEXIST,  # the same name but for its case, or its accents' form
        errno.EISDIR,
        errno.ENOTDIR,
    }
)
_NOT_PORTABLE = re.compile(r'[<>:"\\|?*\x00-\x1f\x7f\udc80-\udcff]')
#: Names that Windows gives to devices, whatever their ending.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
_LONGEST = 140
_TRIES = 99


def portable(name: str) -> str:
    """A name that every file system takes, the same for the same name. Pure."""
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
    """Where `Landing` put a path that collided with no other one; else where it would put it.

    Raises nothing: a file system that refuses even to look a name up has no such file.
    """
    place = root
    for part in os.fsdecode(path).split("/"):
        names = (part, portable(part))
        place = next((p for n in names if os.path.lexists(p := place / n)), place / part)
    return place


class Landing:
    """A folder that a tree is copied into, name by name."""

    def __init__(self, root: Path) -> None:
        """`root` is there, and nothing that is to be put there."""
        self._folders = {b"": root}

    def folder(self, path: bytes) -> Path:
        """The folder for a path of the tree; made, with those above, where it is not there yet."""
        if path not in self._folders:
            self._folders[path] = self.put(path, lambda place: place.mkdir(0o700))
        return self._folders[path]

    def put(self, path: bytes, make: Callable[[Path], object]) -> Path:
        """Calls `make` with the place for a path of the tree, and returns that.

        Where the name is refused, with the next one. `make` makes no file that it does not finish.
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
