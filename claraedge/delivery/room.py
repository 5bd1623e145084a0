"""Whether a disk has room for what is to be put there, asked before the first byte of it.

A copy that cannot fit would take what is left of the disk from those who write there meanwhile,
until it fails.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from claraedge import files
from claraedge.mounts import mount_of

_MIB = 1 << 20
#: File systems on which a copy may have the blocks of its original, so that it needs none.
_SHARING = frozenset({"bcachefs", "btrfs", "ocfs2", "xfs", "zfs"})


class NoRoomError(OSError):
    """The disk has no room; nothing was written."""


def need_room(folder: Path, size: int, *, source: int) -> None:
    """Raises NoRoomError where the disk of a folder has less than `size` bytes free.

    `source`: the device that they are copied from. What a file system does not tell is there.
    """
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if free >= size or not found.f_blocks:
        return
    mount = mount_of(folder)
    if mount is not None and mount.fstype in _SHARING and folder.stat().st_dev == source:
        return
    raise NoRoomError(
        errno.ENOSPC,
        f"{-(-size // _MIB)} MiB are needed, and {free // _MIB} MiB are free",
        str(folder) if mount is None else os.fsdecode(mount.point),
    )


def reason_of(error: Exception) -> str:
    """Why something waits that met this error, and what to do, in words."""
    if isinstance(error, OSError) and files.is_full(error):
        where = f" of {error.filename}" if error.filename is not None else ""
        return f"the disk{where} is full; free some space there: {error.strerror}"
    if isinstance(error, OSError) and error.strerror is not None:
        where = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{where}"
    return str(error)
