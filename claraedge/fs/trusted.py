"""Opens a folder by its path through no link that somebody else may have put there.

An administrator may reach a folder by links of his own. Whoever else may write to a folder on the
way could swap what lies in it for a link, and so have the daemon read and write where he may not.
So a link is followed only where nobody but root and this user could have put it: the rule of the
kernel's protected_symlinks, for all folders. How it went elsewhere: kubelet's subPath
(CVE-2017-1002101, CVE-2021-25741).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from claraedge.fs.syncing import sync

#: O_DIRECTORY: a folder that is mounted when somebody looks (autofs) is mounted.
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LAST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_LINKS = 40
_OWN = "/proc/self/fd/"


class ForeignLinkError(NotADirectoryError):
    """A folder is reached by a link that somebody else may have put there."""


def open_folder(folder: Path, path: bytes = b"", *, make: int | None = None) -> int:
    """A descriptor of the folder `path` below `folder`, for reading; b'' is that one.

    `folder` is absolute, or lies below one that `opened` gave. Below it no link is followed at all.
    `make`: what is missing is made with this mode, durable. Raises FileNotFoundError,
    ForeignLinkError, or NotADirectoryError where a part of the path is no folder.
    """
    below = path.split(b"/") if path else []
    if str(folder).startswith(_OWN):  # one that `opened` gave, or a folder below it
        descriptor, *inside = str(folder).removeprefix(_OWN).split("/")
        at = os.open(_OWN + descriptor, _LAST)
        below = [*map(os.fsencode, inside), *below]
    else:
        at = os.open("/", _STEP)
        at = _follow(at, folder, make)
    for part in below:
        at = _enter(at, part, make)
    try:
        return os.open(".", _LAST, dir_fd=at)
    finally:
        os.close(at)


def is_opened(folder: Path) -> bool:
    """Whether it is a path that `opened` gave."""
    return str(folder.parent) == _OWN.rstrip("/")


@contextlib.contextmanager
def opened(folder: Path, path: bytes = b"", *, make: int | None = None) -> Iterator[Path]:
    """A path of the folder that leads there whatever is moved or swapped meanwhile."""
    descriptor = open_folder(folder, path, make=make)
    try:
        yield Path(f"{_OWN}{descriptor}")
    finally:
        os.close(descriptor)


def _follow(at: int, folder: Path, make: int | None) -> int:
    """From the descriptor `at`, which is closed, along a path; links of our own are followed."""
    parts = deque(os.fsencode(folder).split(b"/"))
    links = 0
    while parts:
        part = parts.popleft()
        if part in (b"", b"."):
            continue
        try:
            at = _enter(at, part, make, keep=True)
        except _LinkError as error:
            links += 1
            if links > _MOST_LINKS:
                os.close(at)
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder)) from None
            if not error.trusted:
                os.close(at)
                raise ForeignLinkError(
                    errno.ENOTDIR,
                    "a folder on the way is a link that another user may have put there;"
                    " put a folder in its place",
                    str(folder),
                ) from None
            if error.target.startswith(b"/"):
                os.close(at)
                at = os.open("/", _STEP)
            parts.extendleft(reversed(error.target.split(b"/")))
    return at


class _LinkError(Exception):
    """A link, where a folder is looked for."""

    def __init__(self, target: bytes, *, trusted: bool) -> None:
        super().__init__()
        self.target = target
        self.trusted = trusted


def _enter(at: int, part: bytes, make: int | None, *, keep: bool = False) -> int:
    """The descriptor of a folder in the one of `at`, which is closed; `keep`: not for a link."""
    close = True
    try:
        try:
            return os.open(part, _STEP, dir_fd=at)
        except FileNotFoundError:
            if make is None:
                raise
            _make(at, part, make)
            return os.open(part, _STEP, dir_fd=at)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            found = _link(at, part)
            if found is None or not keep:
                name = os.fsdecode(part)
                kind = "is no folder" if found is None else "is a link"
                raise NotADirectoryError(errno.ENOTDIR, kind, name) from None
            close = False
            raise found from None
    finally:
        if close:
            os.close(at)


def _make(at: int, part: bytes, mode: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(part, mode, dir_fd=at)
    above = os.open(".", _LAST, dir_fd=at)
    try:
        sync(above)
    finally:
        os.close(above)


def _link(at: int, part: bytes) -> _LinkError | None:
    """The link of this name; None where it is none."""
    descriptor = os.open(part, _LINK, dir_fd=at)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISLNK(status.st_mode):
            return None
        target = os.readlink(b"", dir_fd=descriptor)
    finally:
        os.close(descriptor)
    above, ours = os.fstat(at), (0, os.geteuid())
    alone = not above.st_mode & 0o022 or (above.st_mode & stat.S_ISVTX and status.st_uid in ours)
    return _LinkError(target, trusted=above.st_uid in ours and bool(alone))
