"""Whether a disk has room for what is to be put there, asked before the first byte of it.

A copy that cannot fit would take what is left of the disk from those who write there meanwhile,
until it fails.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from claraedge import texts
from claraedge.fs import files
from claraedge.fs.mounts import mount_of

_MIB = 1 << 20
#: Bytes of a file on these.
_FAT, _FAT_LIMIT = frozenset({"msdos", "vfat"}), 2**32 - 1
#: File systems on which a copy may have the blocks of its original, so that it needs none.
_SHARING = frozenset({"bcachefs", "btrfs", "ocfs2", "xfs", "zfs"})

#: What helps, by what the system says.
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
    (errno.EFBIG,): "its file system takes no file of that size (4 GiB on FAT32): use a disk with"
    " exFAT, NTFS or ext4, or another folder",
}


class NoRoomError(OSError):
    """The disk has no room; nothing was written."""


def need_room(folder: Path, size: int, *, source: int, largest: int = 0) -> None:
    """Raises NoRoomError where the disk of a folder has less than `size` bytes free.

    `source`: the device that they are copied from. What a file system does not tell is there.
    `largest`: bytes of the largest file; raises OSError where it is one too large for FAT.
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
    """Why something waits that met this error, and what to do, in words."""
    if not isinstance(error, OSError) or error.strerror is None:
        return texts.shown(str(error))
    where = None if error.filename is None else texts.shown(str(error.filename))
    if files.is_full(error):
        of = f" of {where}" if where is not None else ""
        return f"the disk{of} is full; free some space there: {error.strerror}"
    remedy = next((text for codes, text in _REMEDIES.items() if error.errno in codes), None)
    return error.strerror + (f": {where}" if where else "") + (f"; {remedy}" if remedy else "")
