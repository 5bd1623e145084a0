"""Trees that others made, walked by descriptors: no link is followed, whatever they contain.

Each folder is opened below the descriptor of the one that it lies in, so that a folder that is
swapped for a link meanwhile leads nowhere. A tree may be of any depth, with paths longer than the
kernel accepts: nothing calls itself, and only some folders are open at a time.
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

#: Where `walk` looks no further.
MAX_DEPTH = 256
#: Folders that one walk has open at once.
_OPEN = 64
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class _Met:
    """One thing in a tree."""

    folder: int
    """Descriptor of the folder that it lies in; open until the walk goes on."""
    name: bytes
    """Its name in that folder."""
    status: os.stat_result

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(_Met):
    """As `descend` meets it."""

    depth: int
    """Of the root 0, of what lies in it 1."""
    opened: int | None = None
    """Descriptor of a folder that may be looked into; open until the walk goes on."""
    left: bool = False
    """A folder that is met again, after all that is in it."""


@dataclass(slots=True)
class _Level:
    """A folder that is being looked through."""

    descriptor: int
    """-1: closed meanwhile, since too many were open."""
    status: os.stat_result
    name: bytes
    names: list[bytes]
    """Those in it that are left, last first."""


def descend(
    root: Path, enter: Callable[[Place], bool] = lambda _: True, *, opening: bool = False
) -> Iterator[Place]:
    """The root, then all that is in it, by name bytes: each folder before its content and after it.

    `enter`: whether a folder is looked into; asked after it was met. `opening`: folders of ours
    whose mode is closed are opened by their owner's bits. Raises FileNotFoundError where there is
    no root, and OSError (EAGAIN) where a folder is moved while it is looked through. What vanishes
    meanwhile is left out.
    """
    # A path alone: an inbox is watched, and its folders are not to tell of every look at them.
    # Of a folder that is opened already: itself, since its path is a link.
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
    """Of a deep chain the innermost stay open, and the first, above the root."""
    if len(levels) > _OPEN and (far := levels[len(levels) - _OPEN]).descriptor >= 0:
        os.close(far.descriptor)
        far.descriptor = -1


def _reopened(above: _Level, level: _Level) -> int:
    """The descriptor of the folder above, which is opened again where it was closed."""
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
        with contextlib.suppress(OSError):  # a share that has no modes; what is refused comes next
            os.chmod(name, stat.S_IMODE(ours.st_mode) | 0o700, dir_fd=parent)
    with contextlib.suppress(OSError):  # not permitted, or no folder any more: a later look tells
        inner = os.open(name, FOLDER, dir_fd=parent)
        if os.access(".", os.R_OK | os.X_OK, dir_fd=inner, effective_ids=True):
            return inner
        os.close(inner)
    return None


# --- with paths ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(_Met):
    """As `walk` meets it."""

    path: bytes
    """Relative to the tree's root, which is b''."""
    unreadable: bool = False
    """A folder that may not be looked into."""
    too_deep: bool = False
    """Lies where `walk` looks no further."""


def walk(root: Path) -> Iterator[Entry]:
    """The root, then all that is in it, each folder before its content, by name bytes.

    Looks into no folder that is `too_deep`. Raises as `descend` does.
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
    """A path for an entry below a folder, that leads through no link on its way there.

    Raises as `trusted.open_folder` does where there is no way.
    """
    parents, _, name = path.rpartition(b"/")
    with opened(folder, parents) as inner:
        yield inner / os.fsdecode(name)


def holds_files(path: Path) -> bool:
    """Whether there is anything but folders at or below a path. Blocks."""
    return not all(entry.is_folder for entry in walk(path))


# How much a tree takes: what vanishes meanwhile, or may not be read, is nothing.


def size(root: Path) -> int:
    """Bytes of all that is no folder, as `ls` shows them."""
    return sum(place.status.st_size for place in _files(root))


def allocated(root: Path) -> int:
    """Bytes of the disk, or of memory, that all that is no folder takes."""
    return sum(place.status.st_blocks * 512 for place in _files(root))


def size_alone(root: Path) -> int:
    """Bytes on the disk of what has no name outside `root`: what its removal gives back."""
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
