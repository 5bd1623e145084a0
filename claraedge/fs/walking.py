"""Walks trees that others created, by descriptors and without following any link.

Each folder is opened below the descriptor of its parent, so that replacing a folder by a link
meanwhile has no effect. A tree may be of any depth, with paths longer than the kernel accepts: the
walk does not use recursion, and keeps only a limited number of folders open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from claraedge.fs.trusted import is_opened, opened

#: Depth below which `walk` does not descend.
MAX_DEPTH = 256
#: Most folders that one walk keeps open at once.
_OPEN = 64
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class _Met:
    """A file, folder or other entry of a tree."""

    folder: int
    """Descriptor of its parent folder; open until the walk continues."""
    name: bytes
    """Its name in that folder."""
    status: os.stat_result

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder; a link to one is not."""
        return stat.S_ISDIR(self.status.st_mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(_Met):
    """An entry of a tree, as `descend` yields it."""

    depth: int
    """0 for the root, 1 for what lies in it, and so on."""
    opened: int | None = None
    """Descriptor of a folder that can be read; open until the walk continues."""
    left: bool = False
    """It is a folder that is yielded again, after its content."""


@dataclass(slots=True)
class _Level:
    """A folder whose content is being walked."""

    descriptor: int
    """-1: closed meanwhile, because too many were open."""
    status: os.stat_result
    name: bytes
    names: list[bytes]
    """The names in it that remain to be walked, in reverse order."""


def descend(
    root: Path, enter: Callable[[Place], bool] = lambda _: True, *, opening: bool = False
) -> Iterator[Place]:
    """Yields the root and all that is in it, in order of name bytes.

    Each folder is yielded before its content, and again after it. `enter` decides whether the
    content of a folder is walked; it is called after the folder was yielded. `opening`: folders of
    ours get the owner's permission bits where these are missing. What vanishes meanwhile is left
    out. Raises FileNotFoundError where there is no root, and OSError (EAGAIN) where a folder is
    moved while its content is walked.
    """
    # O_PATH, since an inbox is watched: walking an entry should cause no event for its parent.
    # For a folder that is opened already, the walk starts in itself, since its path is a link.
    start, first = (root, b".") if is_opened(root) else (root.parent, os.fsencode(root.name))
    above = os.open(start, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    levels = [_Level(above, os.fstat(above), b"", [first])]
    try:
        while levels:
            level = levels[-1]
            if not level.names:
                if len(levels) > 1:
                    yield Place(
                        folder=_reopened(levels[-2], level),
                        name=level.name,
                        depth=len(levels) - 2,
                        status=level.status,
                        opened=level.descriptor,
                        left=True,
                    )
                levels.pop()
                os.close(level.descriptor)
                continue
            name = level.names.pop()
            try:
                status = os.stat(name, dir_fd=level.descriptor, follow_symlinks=False)
            except FileNotFoundError:
                if len(levels) == 1:
                    raise
                continue
            inner = None
            if stat.S_ISDIR(status.st_mode):
                inner = _open(name, level.descriptor, status if opening else None)
            try:
                place = Place(
                    folder=level.descriptor,
                    name=name,
                    depth=len(levels) - 1,
                    status=status,
                    opened=inner,
                )
                yield place
                if inner is not None and enter(place):
                    with os.scandir(inner) as entries:
                        names = sorted((os.fsencode(e.name) for e in entries), reverse=True)
                    levels.append(_Level(inner, os.fstat(inner), name, names))
                    inner = None
                    _close_some(levels)
            finally:
                if inner is not None:
                    os.close(inner)
    finally:
        for level in levels:
            if level.descriptor >= 0:
                os.close(level.descriptor)


def _close_some(levels: list[_Level]) -> None:
    """Closes a folder of a deep chain; the innermost, and the one above the root, stay open."""
    if len(levels) > _OPEN and (far := levels[len(levels) - _OPEN]).descriptor >= 0:
        os.close(far.descriptor)
        far.descriptor = -1


def _reopened(above: _Level, level: _Level) -> int:
    """Returns the descriptor of the parent folder, which is opened again where it was closed.

    Raises OSError (EAGAIN) where the folder was moved meanwhile.
    """
    if above.descriptor < 0:
        descriptor = os.open("..", FOLDER, dir_fd=level.descriptor)
        found, known = os.fstat(descriptor), above.status
        if (found.st_dev, found.st_ino) != (known.st_dev, known.st_ino):
            os.close(descriptor)
            raise OSError(errno.EAGAIN, "moved while it was read", os.fsdecode(level.name))
        above.descriptor = descriptor
    return above.descriptor


def _open(name: bytes, parent: int, ours: os.stat_result | None) -> int | None:
    if ours is not None and ours.st_uid == os.geteuid() and ours.st_mode & 0o700 != 0o700:
        with contextlib.suppress(OSError):  # a share without modes; a refusal shows up below
            os.chmod(name, stat.S_IMODE(ours.st_mode) | 0o700, dir_fd=parent)
    with contextlib.suppress(OSError):  # not permitted, or no folder any more: callers see None
        inner = os.open(name, FOLDER, dir_fd=parent)
        if os.access(".", os.R_OK | os.X_OK, dir_fd=inner, effective_ids=True):
            return inner
        os.close(inner)
    return None


# --- with paths ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(_Met):
    """An entry of a tree, as `walk` yields it."""

    path: bytes
    """Path relative to the tree's root, which is b''."""
    unreadable: bool = False
    """It is a folder that we may not read."""
    too_deep: bool = False
    """It lies deeper than MAX_DEPTH; its content is not walked."""


def walk(root: Path) -> Iterator[Entry]:
    """Yields the root and all that is in it, each folder before its content, by name bytes.

    Does not walk the content of a folder that is `too_deep`. Raises as `descend` does.
    """
    above: list[bytes] = []
    for place in descend(root, lambda place: place.depth <= MAX_DEPTH):
        if place.left:
            above.pop()
            continue
        path = above[-1] + b"/" + place.name if above and above[-1] else place.name
        path = path if place.depth else b""
        yield Entry(
            path=path,
            status=place.status,
            folder=place.folder,
            name=place.name,
            unreadable=place.is_folder and place.opened is None,
            too_deep=place.depth > MAX_DEPTH,
        )
        if place.opened is not None and place.depth <= MAX_DEPTH:
            above.append(path)


@contextlib.contextmanager
def placed(folder: Path, path: bytes) -> Iterator[Path]:
    """Yields a path for an entry below a folder; no link is followed to its parent folder.

    Raises as `trusted.open_folder` does where that folder cannot be opened.
    """
    parents, _, name = path.rpartition(b"/")
    with opened(folder, parents) as inner:
        yield inner / os.fsdecode(name)


def holds_files(path: Path) -> bool:
    """Whether there is anything but folders at or below a path. Blocking."""
    return not all(entry.is_folder for entry in walk(path))


# Sizes of trees: what vanishes meanwhile, or may not be read, counts as nothing.


def size(root: Path) -> int:
    """Returns the sizes in bytes, as `ls` shows them, of everything but folders."""
    return sum(place.status.st_size for place in _files(root))


def allocated(root: Path) -> int:
    """Returns the bytes of the disk, or of memory, that everything but folders uses."""
    return sum(place.status.st_blocks * 512 for place in _files(root))


def size_alone(root: Path) -> int:
    """Returns the bytes that removing `root` frees: those of files with no name outside of it."""
    total = 0
    left: dict[tuple[int, int], int] = {}
    for place in _files(root):
        file = place.status.st_dev, place.status.st_ino
        left[file] = left.get(file, place.status.st_nlink) - 1
        if not left[file]:
            total += place.status.st_blocks * 512
    return total


def _files(root: Path) -> Iterator[Place]:
    with contextlib.suppress(FileNotFoundError):
        yield from (place for place in descend(root) if not place.is_folder)
