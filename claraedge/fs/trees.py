"""Trees that others made: walked, copied and moved without following a link.

Folders are opened below their parent's descriptor, so that a folder that is swapped for a link
while it is looked at leads nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from claraedge import extras, files
from claraedge.blocking import CancelFlag
from claraedge.delivery.failpoints import Failpoint, nothing
from claraedge.delivery.landing import Landing, located
from claraedge.delivery.room import need_room

MAX_DEPTH = 256

remove = files.remove_tree

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing in a tree."""

    path: bytes
    """Relative to the tree's root, which is b''."""
    status: os.stat_result
    folder: int
    """Descriptor of the folder that it lies in; open until the walk goes on."""
    name: bytes
    """Its name in that folder."""
    unreadable: bool = False
    """A folder that may not be looked into."""

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def too_deep(self) -> bool:
        """Lies where `walk` looks no further."""
        return self.path.count(b"/") >= MAX_DEPTH


@contextlib.contextmanager
def placed(folder: Path, path: bytes) -> Iterator[Path]:
    """A path for an entry below a folder, that leads through no link on its way there.

    Raises FileNotFoundError, or NotADirectoryError where a folder on the way is none (any more).
    """
    parents, _, name = path.rpartition(b"/")
    if not parents:
        yield folder / os.fsdecode(name)
        return
    inner = open_folder(folder, parents)
    try:
        yield Path(f"/proc/self/fd/{inner}", os.fsdecode(name))
    finally:
        os.close(inner)


def open_folder(folder: Path, path: bytes) -> int:
    """A descriptor of a folder below another one, through no link on the way; b'' is that one.

    Raises FileNotFoundError, or NotADirectoryError where a part of the path is no folder.
    """
    inner = os.open(folder, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for part in path.split(b"/") if path else ():
            outer = inner
            inner = os.open(part, _FOLDER, dir_fd=outer)
            os.close(outer)
    except OSError as error:
        os.close(inner)
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, "is a link", error.filename) from error
        raise
    return inner


def walk(root: Path) -> Iterator[Entry]:
    """The root, then all that is in it, each folder before its content, by name bytes.

    Looks into no folder that is `too_deep`. Raises FileNotFoundError where there is no root; what
    vanishes while it looks is left out.
    """
    # A path alone: an inbox is watched, and its folders are not to tell of every look at them.
    chain = [os.open(root.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    todo: list[tuple[bytes, list[bytes]]] = [(b"", [os.fsencode(root.name)])]
    try:
        while todo:
            above, names = todo[-1]
            if not names:
                todo.pop()
                os.close(chain.pop())
                continue
            name = names.pop()
            is_root = len(todo) == 1
            try:
                status = os.stat(name, dir_fd=chain[-1], follow_symlinks=False)
            except FileNotFoundError:
                if is_root:
                    raise
                continue
            path = b"" if is_root else above + b"/" + name if above else name
            is_folder = stat.S_ISDIR(status.st_mode)
            inner = _open_folder(name, chain[-1]) if is_folder else None
            try:
                entry = Entry(
                    path=path,
                    status=status,
                    folder=chain[-1],
                    name=name,
                    unreadable=is_folder and inner is None,
                )
                yield entry
                if inner is not None and not entry.too_deep:
                    with os.scandir(inner) as entries:
                        found = sorted((os.fsencode(e.name) for e in entries), reverse=True)
                    chain.append(inner)
                    inner = None
                    todo.append((path, found))
            finally:
                if inner is not None:
                    os.close(inner)
    finally:
        for descriptor in chain:
            os.close(descriptor)


def _open_folder(name: bytes, parent: int) -> int | None:
    with contextlib.suppress(OSError):  # not permitted, or no folder any more: a later look tells
        inner = os.open(name, _FOLDER, dir_fd=parent)
        if os.access(".", os.R_OK | os.X_OK, dir_fd=inner, effective_ids=True):
            return inner
        os.close(inner)
    return None


def copy_tree(
    source: Path, target: Path, *, link_own: int | None = None, flag: CancelFlag | None = None
) -> None:
    """Copies a tree, durable, to a name that does not exist; what is copied is ours.

    Links and pipes are made anew as what they are, never followed; sockets and devices hold no data
    and are left out. `link_own`: the id of a user whose files that have no other name get a hard
    link instead of a copy. Raises NoRoomError before anything is made where the disk
    has too little room, and OSError also where a file changes its size meanwhile.
    """
    _need_room(source, target.parent, link_own, flag)
    folders = []
    landing = Landing(target)
    for entry in walk(source):
        if flag is not None:
            flag.check()
        if entry.too_deep or entry.unreadable:
            raise OSError(
                errno.EACCES if entry.unreadable else errno.ENAMETOOLONG,
                "cannot be copied",
                os.fsdecode(entry.path),
            )
        make = functools.partial(_copy, entry, link_own, flag)
        if not entry.path:
            make(target)
        elif not entry.is_folder:
            landing.put(entry.path, make)
        if entry.is_folder:
            folders.append((landing.folder(entry.path), entry.status.st_mode))
    for folder, mode in reversed(folders):
        files.sync_folder(folder)
        extras.set_mode(folder, stat.S_IMODE(mode) & 0o777 | 0o700)
    files.sync_folder(target.parent)


def _copy(entry: Entry, link_own: int | None, flag: CancelFlag | None, to: Path) -> None:
    if entry.is_folder:
        to.mkdir(0o700)
    elif entry.is_file:
        if entry.status.st_uid != link_own or entry.status.st_nlink > 1 or not _link(entry, to):
            _copy_file(entry, to, flag)
    elif stat.S_ISLNK(entry.status.st_mode):
        extras.make_link(to, os.fsdecode(os.readlink(entry.name, dir_fd=entry.folder)))
    elif stat.S_ISFIFO(entry.status.st_mode):
        extras.make_pipe(to)


def _need_room(source: Path, folder: Path, link_own: int | None, flag: CancelFlag | None) -> None:
    size, largest, device, here = 0, 0, 0, folder.stat().st_dev
    for entry in walk(source):
        if flag is not None:
            flag.check()
        device = device or entry.status.st_dev
        linked = entry.status.st_uid == link_own and entry.status.st_dev == here
        if entry.is_file and (entry.status.st_nlink > 1 or not linked):
            size += files.allocated(entry.status)
            largest = max(largest, entry.status.st_size)
    need_room(folder, size, source=device, largest=largest)


def _link(entry: Entry, target: Path) -> bool:
    try:
        os.link(entry.name, target, src_dir_fd=entry.folder, follow_symlinks=False)
    except OSError as error:
        if not files.cannot_link(error):
            raise
        return False
    if target.lstat().st_ino != entry.status.st_ino:
        target.unlink()
        raise OSError(errno.EAGAIN, "changed while it was read", os.fsdecode(entry.name))
    files.sync_file(target)
    return True


def _copy_file(entry: Entry, target: Path, flag: CancelFlag | None) -> None:
    reader = os.open(entry.name, _FILE, dir_fd=entry.folder)
    try:
        before = os.fstat(reader)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EAGAIN, "changed while it was read", os.fsdecode(entry.name))
        writer = os.open(target, _NEW, 0o600)
        try:
            copied = files.copy_descriptor(reader, writer, flag)
            after = os.fstat(reader)
            if (copied, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise OSError(errno.EAGAIN, "changed while it was read", os.fsdecode(entry.name))
            extras.set_mode(writer, stat.S_IMODE(before.st_mode) & 0o777 | 0o600)
            extras.set_times(writer, before)
        except BaseException as error:
            target.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:  # of a descriptor: say where
                error.filename = str(target.parent)
            raise
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def move(
    source: Path,
    target: Path,
    *,
    flag: CancelFlag | None = None,
    failpoint: Failpoint = nothing,
) -> None:
    """Moves a tree, durable, also to another file system, where it appears by one rename.

    May be repeated after a crash at any step: a target that is there is complete, and what is left
    of the source is removed. The target's folder exists; where it refuses the target's name,
    `located` finds it.
    """
    building = target.with_name(".moving" if target.name != ".moving" else ".moving-")
    if os.path.lexists(located(target.parent, os.fsencode(target.name))):
        remove(building)
        files.sync_folder(target.parent)
        remove(source)
        return
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        remove(building)
        building.mkdir(0o700)
        failpoint("move: copying")
        try:
            copy_tree(source, building / "whole", flag=flag)
        except OSError:
            with contextlib.suppress(OSError):  # a full disk must not stay full of a part
                remove(building)
            raise
        failpoint("move: copied")
        Landing(target.parent).put(os.fsencode(target.name), (building / "whole").rename)
        files.sync_folder(target.parent)
        failpoint("move: moved")
        building.rmdir()
        remove(source)
        failpoint("move: source removed")
    files.sync_folder(target.parent)
    if source.parent.exists():
        files.sync_folder(source.parent)
