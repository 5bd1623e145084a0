"""Builds new trees; copies and moves trees that others created, without following a link."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from claraedge import failpoints
from claraedge.blocking import CancelFlag
from claraedge.fs import extras, files
from claraedge.fs.hashing import digest_of_open
from claraedge.fs.landing import Landing, located
from claraedge.fs.removal import remove
from claraedge.fs.room import need_room
from claraedge.fs.syncing import sync
from claraedge.fs.trusted import open_folder
from claraedge.fs.walking import Entry, walk

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltFile:
    """A file that was copied into a tree."""

    path: Path
    """Relative to the tree; where its file system refuses the wanted name, with another one."""
    size: int
    """Bytes."""
    sha256: str | None
    """Hexadecimal; None for a file with large holes, which is not read as a whole."""


class Building:
    """A new tree, which needs no walk once it is made.

    Nobody else can enter it before it is finished. Each file gets its mode and times, and is then
    synced, when it is made; the folders when the tree is finished.
    """

    def __init__(self, root: Path, mode: int) -> None:
        """`root`: an empty folder of ours that `opened` yielded. `mode`: the permission bits of
        those who may read the finished tree, whatever the umask is. Group and default ACL are
        inherited through the kernel (setgid).

        Raises OSError (EAGAIN) where something lies in the folder.
        """
        self.root = root
        self.size = 0
        """Bytes of all files."""
        self._mode = mode
        self._landing = Landing(root)
        extras.set_mode(root, folder_mode(root.stat(), 0o700))
        if any(root.iterdir()):
            raise OSError(errno.EAGAIN, "was replaced while it was made", str(root))

    def copy(
        self, path: bytes, source: Path, *, mode: int, flag: CancelFlag, drop_cache: bool = False
    ) -> BuiltFile:
        """Copies a regular file to a path of the tree, with its times, and hashes the copy.

        Creates missing folders; follows no link. `mode`: its bits for execution are kept for those
        who may read the tree. `drop_cache`: drops both files from the system's page cache. Raises
        OSError, also where the source is no regular file.
        """
        with files.opened_file(source) as reader:
            target = self._landing.put(
                path, functools.partial(_copy_open, reader, self._file_mode(mode), flag)
            )
            # Opened again: some FUSE programs let no file be written and read at the same time.
            with files.opened_file(target) as copied:
                size = os.fstat(copied).st_size
                sha256 = digest_of_open(copied, flag).sha256
                if drop_cache:
                    files.uncache(reader)
                    files.uncache(copied)
        self.size += size
        return BuiltFile(path=target.relative_to(self.root), size=size, sha256=sha256)

    def write(self, path: bytes, content: bytes) -> None:
        """Creates a file of this very name, and missing folders.

        Raises FileExistsError where something else has that name.
        """
        above, _, name = path.rpartition(b"/")
        target = self.folder(above) / os.fsdecode(name)
        with files.new_file(target, self._file_mode(0)) as writer:
            with os.fdopen(writer, "wb", closefd=False) as file:
                file.write(content)
            sync(writer)
        self.size += len(content)

    def folder(self, path: bytes) -> Path:
        """Returns the folder for a path of the tree; creates it and those above where missing."""
        return self._landing.folder(path)

    def finish(self) -> None:
        """Gives each folder its mode and makes it durable, from the bottom up."""
        for folder in reversed(self._landing.folders):
            descriptor = open_folder(folder)
            try:
                extras.set_mode(descriptor, folder_mode(os.fstat(descriptor), self._mode))
                sync(descriptor)
            finally:
                os.close(descriptor)

    def _file_mode(self, mode: int) -> int:
        return (0o666 | mode & 0o111) & (self._mode | 0o600)


def _copy_open(reader: int, mode: int, flag: CancelFlag, target: Path) -> None:
    with files.new_file(target, mode) as writer:
        files.copy_descriptor(reader, writer, flag)


def folder_mode(status: os.stat_result, mode: int) -> int:
    """Returns the mode for a folder of ours: what `mode` allows, and its inherited setgid bit."""
    return status.st_mode & 0o7000 | mode & 0o777 | 0o700


def copy_tree(
    source: Path, target: Path, *, link_own: int | None = None, flag: CancelFlag | None = None
) -> None:
    """Copies a tree to a name that does not exist, durably; the copy belongs to us.

    Links and pipes are created again as links and pipes, never followed; sockets and devices
    contain no data and are left out. `link_own`: a user id; files of that user with no other name
    are hard-linked instead of copied. Raises NoRoomError, before anything is created, where the
    disk has too little room; OSError also where a file changes meanwhile.
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
        extras.set_mode(folder, stat.S_IMODE(mode) & 0o777 | 0o700)
        files.sync_folder(folder)
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
            extras.set_mode(writer, stat.S_IMODE(before.st_mode) & 0o777 | 0o600)
            copied = files.copy_descriptor(reader, writer, flag)
            after = os.fstat(reader)
            if (copied, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise OSError(errno.EAGAIN, "changed while it was read", os.fsdecode(entry.name))
        except BaseException as error:
            target.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename is None:  # from a call by descriptor
                error.filename = str(target.parent)
            raise
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def move(source: Path, target: Path, *, flag: CancelFlag | None = None) -> None:
    """Moves a tree durably, also to another file system, where it appears by a single rename.

    May be repeated after a crash at any step: a target that exists is complete, and what is left of
    the source is removed. The target's folder must exist; where it refuses the target's name,
    `located` finds the name that was used. Raises NoRoomError and OSError as `copy_tree` does.
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
        failpoints.reach("move: copying")
        try:
            copy_tree(source, building / "whole", flag=flag)
        except OSError:
            with contextlib.suppress(OSError):  # a partial copy must not keep a full disk full
                remove(building)
            raise
        failpoints.reach("move: copied")
        Landing(target.parent).put(os.fsencode(target.name), (building / "whole").rename)
        files.sync_folder(target.parent)
        failpoints.reach("move: moved")
        building.rmdir()
        remove(source)
        failpoints.reach("move: source removed")
    files.sync_folder(target.parent)
    if source.parent.exists():
        files.sync_folder(source.parent)
