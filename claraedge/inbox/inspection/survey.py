"""Surveys of an entry: one walk over its whole tree, for its size, fingerprint and obstacles.

The same walk checks for programs that write, and lists the files for those that sync and hash them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from claraedge.errors import InvalidFileNameError
from claraedge.formats.filenames import Names
from claraedge.fs.walking import MAX_DEPTH, Entry, placed, walk
from claraedge.inbox.inspection.settling import Reading
from claraedge.inbox.inspection.writers import Devices, has_writer
from claraedge.inbox.model import shown
from claraedge.payloads.names import normalise

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


class Listed(NamedTuple):
    """A regular file or a folder of a surveyed tree."""

    path: bytes
    """Path relative to the tree's root, which is b''."""
    is_file: bool
    mode: int
    """The permission bits."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The properties of a tree that matter for taking it."""

    reading: Reading
    content: str
    """Fingerprint of what a rename, a chmod and a flush do not change. If it differs, the tree was
    written to."""
    size: int
    """Bytes of all regular files."""
    is_folder: bool
    foreign: bool
    """Something in it belongs to another user."""
    top_foreign: bool
    """The entry itself belongs to another user."""
    blocked: bytes | None = None
    """Path of the first file or folder that we cannot read, or cannot remove after a copy."""
    blocked_foreign: bool = False
    """What `blocked` names belongs to another user."""
    listing: Sequence[Listed] = ()
    """All regular files and folders, those of programs included; empty where nobody asked."""

    @property
    def to_copy(self) -> bool:
        """Whether it has to be copied, to get inodes that nobody else can write to."""
        return self.foreign or self.reading.linked


def survey(
    root: Path, uid: int, names: Names, devices: Devices | None = None, *, listed: bool = False
) -> Survey:
    """Surveys a tree, without the files that programs leave there for themselves.

    `uid` is the user that we act as. `devices`: also checks whether a file is open for writing,
    until one is; the cache may serve several trees that are surveyed at about the same time.
    `listed`: with the list of its files and folders. Raises FileNotFoundError where the root does
    not exist.
    """
    full, content = hashlib.blake2b(digest_size=20), hashlib.blake2b(digest_size=20)
    files = size = 0
    linked = foreign = top_foreign = is_folder = blocked_foreign = False
    blocked: bytes | None = None
    unfinished: str | None = None
    fault: str | None = None
    written = False
    listing: list[Listed] = []
    inside = _Inside(names)
    for entry in walk(root):
        status, path = entry.status, entry.path
        own = status.st_uid == uid
        if listed and (entry.is_file or entry.is_folder):
            mode = stat.S_IMODE(status.st_mode)
            listing.append(Listed(path, entry.is_file, mode, status.st_size))
        if devices is not None and entry.is_file and not written:
            written = _is_written(entry, devices)
        foreign = foreign or not own
        if blocked is None and not _free(entry, own):
            blocked, blocked_foreign = path, not own
        if inside.is_left_over(entry):
            continue
        mark = b"%s\0%d %d %o " % (path, status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode))
        full.update(
            b"%s%d %d %d %d\0"
            % (mark, status.st_size, status.st_blocks, status.st_mtime_ns, status.st_ctime_ns)
        )
        content.update(mark)
        if entry.is_file:
            content.update(b"%d %d" % (status.st_size, status.st_mtime_ns))
            files += 1
            size += status.st_size
            linked = linked or status.st_nlink > 1
        content.update(b"\0")
        if not path:
            is_folder, top_foreign = entry.is_folder, not own
        elif inside.is_unfinished(entry) and unfinished is None:
            unfinished = f"'{shown(path)}'"
        fault = fault or fault_of(entry)
    return Survey(
        reading=Reading(
            fingerprint=full.hexdigest(),
            files=files,
            linked=linked,
            unfinished=unfinished,
            fault=fault,
            written=written,
        ),
        content=content.hexdigest(),
        size=size,
        is_folder=is_folder,
        foreign=foreign,
        top_foreign=top_foreign,
        blocked=blocked,
        blocked_foreign=blocked_foreign,
        listing=listing,
    )


def superseded(
    name: bytes, status: os.stat_result, names: Names, sibling: Callable[[bytes], os.stat_result]
) -> bytes | None:
    """Returns the name of the whole file that replaced a part of a broken transfer, or None.

    `name` and `status` are those of the part. `sibling` returns the status of another name in its
    folder, without following a link.
    """
    final = names.final(name)
    if final is None:
        return None
    try:
        whole = sibling(final)
    except OSError:
        return None
    came_later = whole.st_ctime_ns > status.st_ctime_ns and whole.st_size >= status.st_size
    return final if stat.S_ISREG(whole.st_mode) and came_later else None


class _Inside:
    """Classifies the names in a walked tree; that of a folder counts for all that is in it."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._left_over = self._unfinished = b"/"  # the beginning of no path

    def is_left_over(self, entry: Entry) -> bool:
        """Whether a program created it for itself, or it is a part that a whole file replaced."""
        if not entry.path:
            return False
        if entry.path.startswith(self._left_over):
            return True
        if self._names.leftover(entry.name) is None:
            return entry.is_file and self._is_superseded(entry)
        if entry.is_folder:
            self._left_over = entry.path + b"/"
        return True

    def _is_superseded(self, entry: Entry) -> bool:
        def sibling(name: bytes) -> os.stat_result:
            return os.stat(name, dir_fd=entry.folder, follow_symlinks=False)

        return superseded(entry.name, entry.status, self._names, sibling) is not None

    def is_unfinished(self, entry: Entry) -> bool:
        """Whether it is a file that is still being written, or lies in a folder for such files."""
        if entry.path.startswith(self._unfinished):
            return not entry.is_folder
        if self._names.unfinished(entry.name) is None:
            return False
        if entry.is_folder:
            self._unfinished = entry.path + b"/"
        return not entry.is_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyor:
    """Surveys trees with the permissions of the user that we act as."""

    uid: int
    names: Names

    def at(
        self, folder: Path, path: bytes, devices: Devices | None = None, *, listed: bool = False
    ) -> Survey:
        """Surveys an entry below a folder; `devices` and `listed` as in `survey`.

        Raises FileNotFoundError, NotADirectoryError.
        """
        with placed(folder, path) as entry:
            return self.tree(entry, devices, listed=listed)

    def tree(self, root: Path, devices: Devices | None = None, *, listed: bool = False) -> Survey:
        """Surveys one tree. Raises FileNotFoundError."""
        return survey(root, self.uid, self.names, devices, listed=listed)

    def all(
        self,
        folder: Path,
        paths: Sequence[bytes],
        devices: Devices | None = None,
        *,
        listed: bool = False,
    ) -> Survey:
        """Surveys several entries of a folder as one; those that are gone are left out.

        `devices` and `listed` as in `survey`. Raises FileNotFoundError where all are gone.
        """
        found = []
        for path in paths:
            try:
                found.append((path, self.at(folder, path, devices, listed=listed)))
            except (FileNotFoundError, NotADirectoryError):
                continue
        if not found:
            raise FileNotFoundError(folder)
        return combined(found)


def combined(found: Iterable[tuple[bytes, Survey]]) -> Survey:
    """Combines surveys of several entries into one; `found`: paths below a folder, and surveys.

    The list is that of their files and folders, without the folders between.
    """
    full, content = hashlib.blake2b(digest_size=20), hashlib.blake2b(digest_size=20)
    files = size = 0
    linked = foreign = blocked_foreign = written = False
    blocked: bytes | None = None
    fault: str | None = None
    listing: list[Listed] = []
    for path, one in sorted(found, key=lambda pair: pair[0]):
        full.update(b"%s\0%s\0" % (path, one.reading.fingerprint.encode()))
        content.update(b"%s\0%s\0" % (path, one.content.encode()))
        files += one.reading.files
        size += one.size
        linked = linked or one.reading.linked
        foreign = foreign or one.foreign
        fault = fault or one.reading.fault
        written = written or one.reading.written
        for inner in one.listing:
            listing.append(inner._replace(path=path + b"/" + inner.path if inner.path else path))
        if blocked is None and one.blocked is not None:
            blocked, blocked_foreign = path + b"/" + one.blocked, one.blocked_foreign
    reading = Reading(
        fingerprint=full.hexdigest(),
        files=files,
        linked=linked,
        unfinished=None,
        fault=fault,
        written=written,
    )
    return Survey(
        reading=reading,
        content=content.hexdigest(),
        size=size,
        is_folder=True,
        foreign=foreign,
        top_foreign=False,
        blocked=blocked,
        blocked_foreign=blocked_foreign,
        listing=listing,
    )


def fault_of(entry: Entry) -> str | None:
    """Returns why a file or folder prevents its whole item from ever becoming a job, or None."""
    if not (entry.is_file or entry.is_folder):
        quoted = f"'{shown(entry.path or entry.name)}'"
        kind = _KINDS.get(stat.S_IFMT(entry.status.st_mode), "no regular file")
        instead = (
            "put the file itself in its place"
            if stat.S_ISLNK(entry.status.st_mode)
            else "remove it"
        )
        return f"{quoted} is {kind}, which is never taken; {instead}"
    if entry.too_deep:
        return too_deep_fault(entry.path)
    return name_fault(entry.path or entry.name, folder=entry.is_folder)


def too_deep_fault(path: bytes) -> str:
    """Returns the text that a path lies too deep to be taken."""
    return f"'{shown(path)[:200]}'... lies more than {MAX_DEPTH} folders deep; use fewer folders"


def name_fault(name: bytes, *, folder: bool = False) -> str | None:
    """Returns why no job can be made of an entry of this name, or None."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return f"the name '{shown(name)}' is not UTF-8; rename it"
    if folder:
        return None
    try:
        normalise(f"input/{text}")
    except InvalidFileNameError as error:
        return str(error)
    return None


def _free(entry: Entry, own: bool) -> bool:
    """Whether we can read an entry and, if it has to be copied, remove it afterwards."""
    if entry.is_folder:
        if entry.unreadable:
            return False
        if own:
            return True
        if entry.status.st_mode & stat.S_ISVTX and os.geteuid() != 0:
            return False
        return _may(entry, os.W_OK | os.X_OK)
    return not entry.is_file or _may(entry, os.R_OK)


def _may(entry: Entry, access: int) -> bool:
    return os.access(
        entry.name, access, dir_fd=entry.folder, effective_ids=True, follow_symlinks=False
    )


def _is_written(entry: Entry, devices: Devices) -> bool:
    try:
        return bool(has_writer(entry.name, entry.folder, devices))
    except FileNotFoundError:
        if not entry.path:
            raise
        return False
