"""Lists folders that people put files into, and reads their files. Blocks.

Snapshots: if two of them, a pause apart, agree on an entry, nobody is writing to it any more.
Reads by name follow no link: links, what is neither a file nor a folder, and names that are not
UTF-8 count as missing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Self

from claraedge.formats.filenames import is_ignored
from claraedge.fs.trusted import open_folder

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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


def status_of(folder: Path, name: str) -> os.stat_result:
    """Returns the status of a file or folder; an empty name is that of `folder` itself.

    Raises FileNotFoundError, and OSError if the folder cannot be read.
    """
    if not name:
        with _opened(folder, b"") as descriptor:
            return os.fstat(descriptor)
    above, _, last = os.fsencode(name).rpartition(b"/")
    with _opened(folder, above) as descriptor:
        found = os.stat(last, dir_fd=descriptor, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise _missing(name)
    return found


def open_file(folder: Path, name: str) -> FileIO:
    """Returns an opened file, which the caller closes.

    Raises FileNotFoundError, also for a folder, and OSError if it cannot be read.
    """
    above, _, last = os.fsencode(name).rpartition(b"/")
    with _opened(folder, above) as descriptor:
        try:
            file = os.open(last, _READ, dir_fd=descriptor)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):
                raise
            raise _missing(name) from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _missing(name)
    return FileIO(file, "r")


def inside(
    folder: Path, name: str, *, deep: bool, after: str
) -> Iterator[tuple[str, os.stat_result]]:
    """Yields what a folder contains, by the bytes of the names: with `deep` all files below it.

    `after`: only what follows it. Raises FileNotFoundError, and OSError if it cannot be read.
    """
    levels = [_level(folder, name, deep=deep, after=after)]
    while levels:
        path, status = next(levels[-1], ("", None))
        if not path:
            levels.pop()
        elif status is not None:
            yield path, status
        else:
            with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
                levels.append(_level(folder, path, deep=deep, after=after))


def _level(
    folder: Path, name: str, *, deep: bool, after: str
) -> Iterator[tuple[str, os.stat_result | None]]:
    """Returns what one folder contains, in order; with `deep` folders without their status."""
    found: dict[str, os.stat_result | None] = {}
    with _opened(folder, os.fsencode(name)) as descriptor, os.scandir(descriptor) as listed:
        for entry in filter(lambda entry: _is_text(entry.name), listed):
            path = f"{name}/{entry.name}" if name else entry.name
            with contextlib.suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    found[f"{path}/"] = None if deep else entry.stat(follow_symlinks=False)
                elif entry.is_file(follow_symlinks=False):
                    found[path] = entry.stat(follow_symlinks=False)
    last = f"{after}/" if f"{after}/" in found else after
    rest = (
        path
        for path in sorted(found, key=str.encode)
        if path.encode() > last.encode() or (found[path] is None and last.startswith(path))
    )
    return iter([(path.rstrip("/"), found[path]) for path in rest])


@contextmanager
def _opened(folder: Path, path: bytes) -> Iterator[int]:
    try:
        descriptor = open_folder(folder, path)
    except NotADirectoryError as error:
        raise _missing(os.fsdecode(path)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_text(name: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def _missing(name: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
