"""Checks that a disk has enough free space before the first byte is copied to it.

A copy that cannot fit would use up the free space that other writers need, until it fails.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from claraedge import texts
from claraedge.fs import files
from claraedge.fs.mounts import mount_of

_MIB = 1 << 20
#: File systems with a limit on the size of a file, and that limit in bytes.
_FAT, _FAT_LIMIT = frozenset({"msdos", "vfat"}), 2**32 - 1
#: File systems on which a copy may share the blocks of its original, and so need no space.
_SHARING = frozenset({"bcachefs", "btrfs", "ocfs2", "xfs", "zfs"})

#: Error codes -> the remedy.
_REMEDIES = {
    (
        errno.EIO,
        errno.ESTALE,
        errno.EREMOTEIO,
        errno.ENOTCONN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ETIMEDOUT,
        errno.ENXIO,
    ): "check that disk (`dmesg` may say more), or the server of that share",
    (errno.EROFS,): "it is mounted read-only: `dmesg` may say why; mount it for writing",
    (errno.EACCES, errno.EPERM): "let the user of claraedge read and write there; of a share, set"
    " that where it is mounted (`uid=`, `gid=`, `file_mode=`, `dir_mode=`)",
    (errno.EFBIG,): "its file system accepts no file of that size (4 GiB on FAT32): use a disk with"
    " exFAT, NTFS or ext4, or another folder",
}


class NoRoomError(OSError):
    """The disk has too little free space; nothing was written."""


def need_room(folder: Path, size: int, *, source: int, largest: int = 0) -> None:
    """Raises NoRoomError where the disk of a folder has less than `size` bytes free.

    `source`: the device number of the original. A file system that does not report its size counts
    as large enough. `largest`: bytes of the largest file; raises OSError where that is too large
    for FAT.
    """
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    fits = free >= size or not found.f_blocks
    if fits and largest <= _FAT_LIMIT:
        return
    mount = mount_of(folder)
    if mount is not None and mount.fstype in _FAT and largest > _FAT_LIMIT:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fsdecode(mount.point))
    if fits:
        return
    if mount is not None and mount.fstype in _SHARING and folder.stat().st_dev == source:
        return
    raise NoRoomError(
        errno.ENOSPC,
        f"{-(-size // _MIB)} MiB are needed, and {free // _MIB} MiB are free",
        str(folder) if mount is None else os.fsdecode(mount.point),
    )


def reason_of(error: Exception) -> str:
    """Returns a text that describes an error for people, with what to do about it."""
    if not isinstance(error, OSError) or error.strerror is None:
        return texts.shown(str(error))
    where = None if error.filename is None else texts.shown(str(error.filename))
    if files.is_full(error):
        of = f" of {where}" if where is not None else ""
        return f"the disk{of} is full; free some space there: {error.strerror}"
    remedy = next((text for codes, text in _REMEDIES.items() if error.errno in codes), None)
    return error.strerror + (f": {where}" if where else "") + (f"; {remedy}" if remedy else "")
