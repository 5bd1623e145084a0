"""Opens a folder by its path, following no link that another user may have put there.

An administrator may use links of their own to reach a folder. But any other user who may write to a
folder above it could replace its content by a link, and so make the daemon read and write where
that user may not. So a link is followed only where nobody but root and this user could have created
it: the rule of the kernel's protected_symlinks, applied to all folders. Known failures elsewhere:
kubelet's subPath (CVE-2017-1002101, CVE-2021-25741).
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

#: O_DIRECTORY makes an automount (autofs) mount the folder.
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LAST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_LINKS = 40
_OWN = "/proc/self/fd/"


class ForeignLinkError(NotADirectoryError):
    """The path of a folder contains a link that another user may have put there."""


def open_folder(folder: Path, path: bytes = b"", *, make: int | None = None) -> int:
    """Returns a descriptor for reading of the folder `path` below `folder`; b'': `folder` itself.

    `folder` is absolute, or lies below one that `opened` yielded. Below it no link is followed at
    all. `make`: missing folders are created with this mode, durably. Raises FileNotFoundError,
    ForeignLinkError, or NotADirectoryError where a part of the path is no folder.
    """
    below = path.split(b"/") if path else []
    if str(folder).startswith(_OWN):  # one that `opened` yielded, or a folder below it
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
    """Whether a path is one that `opened` yielded."""
    return str(folder.parent) == _OWN.rstrip("/")


@contextlib.contextmanager
def opened(folder: Path, path: bytes = b"", *, make: int | None = None) -> Iterator[Path]:
    """Yields a path of a folder that stays valid if something is moved or swapped meanwhile.

    Raises as `open_folder` does.
    """
    descriptor = open_folder(folder, path, make=make)
    try:
        yield Path(f"{_OWN}{descriptor}")
    finally:
        os.close(descriptor)


def _follow(at: int, folder: Path, make: int | None) -> int:
    """Opens a path step by step from the descriptor `at`, and closes that; follows trusted links.

    Raises ForeignLinkError at a link that is not trusted.
    """
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
    """A part of a path is a link instead of a folder."""

    def __init__(self, target: bytes, *, trusted: bool) -> None:
        super().__init__()
        self.target = target
        self.trusted = trusted


def _enter(at: int, part: bytes, make: int | None, *, keep: bool = False) -> int:
    """Opens the folder `part` in the folder `at`, and closes `at`.

    `keep`: where `part` is a link, raises _LinkError and leaves `at` open.
    """
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
    """Returns the link of this name, as an error to raise; None where it is no link."""
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
