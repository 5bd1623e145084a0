"""The only way to write, replace and move files, so that a power cut leaves the old or the new."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from claraedge.blocking import CancelFlag
from claraedge.fs import extras
from claraedge.fs.syncing import LACKS, sync
from claraedge.fs.walking import Place, descend
from claraedge.ids import new_id

_FICLONE = 0x40049409
_renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
_renameat2.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_COPY_STEP = 8 * 1024 * 1024
_READ_STEP = 1024 * 1024
#: IOV_MAX of Linux.
_CHUNKS = 1024


def is_full(error: OSError) -> bool:
    """Whether an error says that the disk, its file table or the user's quota has no room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable, where its file system supports that."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(paths: Iterable[Path]) -> None:
    """Makes the names in several folders durable."""
    for path in paths:
        sync_folder(path)


def sync_file(path: Path) -> None:
    """Makes the bytes of a file durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Makes every regular file and folder below `root`, and `root` itself, durable.

    The content of a folder comes before the folder. Raises PermissionError at an unreadable folder.
    """
    for place in descend(root):
        if place.is_file:
            _sync_entry(place)
        elif place.left and place.opened is not None:
            sync(place.opened)
        elif place.is_folder and place.opened is None:
            raise _closed(place)


def _sync_entry(place: Place) -> None:
    descriptor = os.open(place.name, _READ, dir_fd=place.folder)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(path: Path, mode: int = 0o700) -> None:
    """Creates a folder and its parents, each durable in its own parent; existing ones are kept.

    Raises FileExistsError where something else has that name.
    """
    sync_folders(new_folders(path, mode))


def new_folders(path: Path, mode: int = 0o700) -> list[Path]:
    """Creates a folder and its parents; existing ones are kept.

    Returns the folders to sync, to make the new ones durable. Raises FileExistsError where
    something else has that name.
    """
    unsynced: list[Path] = []
    missing = [path]
    while missing:
        try:
            missing[-1].mkdir(mode=mode)
            unsynced.append(missing.pop().parent)
        except FileNotFoundError:
            missing.append(missing[-1].parent)
        except OSError:  # for an existing folder, the kernel may report other errors than EEXIST
            if not missing.pop().is_dir():
                raise
    return unsynced


def replace(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Writes `content` to `path` atomically and durably.

    A reader, or the next boot after a power cut, sees the old file or the new one. Its mode does
    not depend on the umask.
    """
    temporary = path.with_name(f".{new_id()}.tmp")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            sync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def open_to_append(path: Path) -> int:
    """Opens a file at its end; creates it for this user only where it is missing.

    Returns the descriptor, which the caller closes. Raises OSError, also for a link.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def write_chunks(descriptor: int, chunks: Iterable[bytes | bytearray]) -> None:
    """Writes all chunks to an open file, in as few calls as possible. Not durable yet."""
    left = [memoryview(chunk) for chunk in chunks]
    while left:
        written = os.writev(descriptor, left[:_CHUNKS])
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


def append(path: Path, chunks: Iterable[bytes | bytearray]) -> None:
    """Appends chunks to a file; creates it for this user only where it is missing.

    Not durable yet.
    """
    descriptor = open_to_append(path)
    try:
        write_chunks(descriptor, chunks)
    finally:
        os.close(descriptor)


def rename_new(source: Path, target: Path) -> None:
    """Renames to a name that does not exist. Raises FileExistsError, and nothing is lost then.

    On a file system without such a rename, a file that another program creates under that name at
    the same moment is overwritten.
    """
    flags, here = 1, -100  # RENAME_NOREPLACE, AT_FDCWD
    if not _renameat2(here, os.fsencode(source), here, os.fsencode(target), flags):
        return
    code = ctypes.get_errno()
    if code not in LACKS:
        raise OSError(code, os.strerror(code), str(source), None, str(target))
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source.rename(target)


def copy_descriptor(source: int, target: int, flag: CancelFlag | None = None) -> int:
    """Copies all bytes and the times of an open file to another: by a reflink where possible.

    Returns the size in bytes. Syncs the target to the disk; preserves holes.
    """
    found = os.fstat(source)
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:  # any other problem makes the copy fail as well
        _copy_data(source, target, flag)
    extras.set_times(target, found)
    sync(target)
    return os.fstat(target).st_size


def _copy_data(source: int, target: int, flag: CancelFlag | None) -> None:
    found = os.fstat(source)
    if allocated(found) == found.st_size:
        at = 0
        while sent := _send(target, source, at, _COPY_STEP):
            at += sent
            if flag is not None:
                flag.check()
        return
    at = 0
    with contextlib.suppress(_NoDataError):
        while True:
            at = _seek_data(source, at)
            end = os.lseek(source, at, os.SEEK_HOLE)
            os.lseek(target, at, os.SEEK_SET)
            while at < end:
                sent = _send(target, source, at, min(_COPY_STEP, end - at))
                if not sent:
                    return  # the source was truncated meanwhile: the target ends here, too
                at += sent
                if flag is not None:
                    flag.check()
    os.ftruncate(target, os.fstat(source).st_size)


def _send(target: int, source: int, at: int, count: int) -> int:
    """Copies bytes to the position of `target`, also where sendfile is not supported.

    Some FUSE programs and shares do not support it. Returns the number of bytes copied.
    """
    try:
        return os.sendfile(target, source, at, count)
    except OSError as error:
        if error.errno not in LACKS:
            raise
    left = data = os.pread(source, min(count, _READ_STEP), at)
    while left:
        left = left[os.write(target, left) :]
    return len(data)


class _NoDataError(Exception):
    """No data follows in the file, only a hole."""


def _seek_data(source: int, at: int) -> int:
    try:
        return os.lseek(source, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise _NoDataError from error
        raise


def allocated(status: os.stat_result) -> int:
    """Returns the bytes of a file without its holes, which a copy of it needs on the disk."""
    return min(status.st_size, status.st_blocks * 512)


@contextlib.contextmanager
def opened_file(path: Path) -> Iterator[int]:
    """Yields a descriptor for reading of a regular file; follows no link, and waits for no pipe.

    Raises OSError, also for anything but a regular file.
    """
    descriptor = os.open(path, _READ)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def new_file(path: Path, mode: int) -> Iterator[int]:
    """Yields a descriptor for writing of a new file, which has its mode already, and is not synced.

    The file must not exist. If the block raises an error, it is removed.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        extras.set_mode(descriptor, mode)  # before an fsync, or a power cut could undo it
        yield descriptor
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # from a call by descriptor
            error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path, *, mode: int, flag: CancelFlag | None = None) -> int:
    """Copies one regular file, following no link; keeps its mtime; returns its size in bytes.

    The target must not exist. It is synced to the disk; its folder is not (callers batch that).
    Raises OSError, also where the source is no regular file.
    """
    with opened_file(source) as reader, new_file(target, mode) as writer:
        return copy_descriptor(reader, writer, flag)


def uncache(descriptor: int) -> None:
    """Drops an open file that is on the disk already from the system's page cache.

    Only a hint: where it is not supported, nothing happens.
    """
    with contextlib.suppress(OSError):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def cannot_link(error: OSError) -> bool:
    """Whether an error means that a hard link is not possible, so that a copy is needed."""
    return error.errno in LACKS | {errno.EXDEV, errno.EPERM, errno.EMLINK}


def link_or_copy(source: Path, target: Path, *, flag: CancelFlag | None = None) -> None:
    """Gives a second name to a file that nobody writes any more: by a hard link, else a copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if not cannot_link(error):
            raise
        copy_file(source, target, mode=stat.S_IMODE(source.lstat().st_mode), flag=flag)


def readable(mode: int) -> int:
    """Returns the permission bits with which all users can read a file that has these. Pure."""
    return mode & 0o777 | 0o444


def finish_tree(root: Path, mode: int, meet: Callable[[Place], object] = lambda _: None) -> None:
    """Makes a tree of ours readable for all users, and durable, in one walk.

    Each folder gets `mode`, from the top, so that all can be opened; each file what `readable`
    says. Both are set before the fsync; the content of a folder comes before the folder. `meet` is
    called with each entry before it is changed, with a folder once; what it raises ends the walk.
    Raises PermissionError at a folder of another owner that cannot be opened.
    """
    for place in descend(root, opening=True):
        if place.left and place.opened is not None:
            sync(place.opened)
            continue
        meet(place)
        if place.opened is not None:
            os.fchmod(place.opened, mode)
        elif place.is_folder:
            raise _closed(place)
        elif place.is_file:
            found = stat.S_IMODE(place.status.st_mode)
            if found != readable(found):
                os.chmod(place.name, readable(found), dir_fd=place.folder)
            _sync_entry(place)


def _closed(place: Place) -> PermissionError:
    name = os.fsdecode(place.name)
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)


def is_foreign(status: os.stat_result) -> bool:
    """Whether something belongs to another user."""
    return status.st_uid != os.geteuid()


def has_foreign(root: Path) -> bool:
    """Whether anything at or below `root` belongs to another user.

    Our own folders get the owner's permission bits where these are missing.
    """
    return any(is_foreign(place.status) for place in descend(root, opening=True))
