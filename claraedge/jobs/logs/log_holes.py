"""Holes: bytes in the middle of a file that the disk gives up, while its writer goes on appending.

No name, size or offset changes, so whoever has the file open notices nothing. Source: fallocate(2),
FALLOC_FL_PUNCH_HOLE (ext4, XFS, Btrfs, tmpfs, and overlay on these); lseek(2), SEEK_DATA.
"""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from pathlib import Path

#: Holes begin and end at multiples of this many bytes: no file system in use has larger blocks
#: (pages of some arm64 kernels are as large), and of a part of a block it would keep zeros.
BLOCK = 64 * 1024

_KEEP_SIZE = 1
_PUNCH_HOLE = 2

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def punch(descriptor: int, start: int, end: int) -> None:
    """Gives the bytes from `start` to before `end` back to the disk; both are multiples of BLOCK.

    Raises OSError: EOPNOTSUPP where the file system has no such call.
    """
    if _fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, start, end - start) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def data_from(descriptor: int, position: int, end: int) -> int:
    """Where data begins at or after `position`; `end` where there is none before it."""
    try:
        return min(os.lseek(descriptor, position, os.SEEK_DATA), end)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return end
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # it knows no holes: all is data
            return position
        raise


def hole_from(descriptor: int, position: int, end: int) -> int:
    """Where a hole begins at or after `position`, at most `end`. A file's end counts as one."""
    try:
        return min(os.lseek(descriptor, position, os.SEEK_HOLE), end)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EINVAL, errno.EOPNOTSUPP):
            return end
        raise


def can_punch(folder: Path) -> bool:
    """Whether files in `folder` take holes, and tell exactly where they are. Raises OSError."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(b"x" * (3 * BLOCK))
        descriptor = file.fileno()
        try:
            punch(descriptor, BLOCK, 2 * BLOCK)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM):
                return False
            raise
        return (
            hole_from(descriptor, 0, 3 * BLOCK) == BLOCK
            and data_from(descriptor, BLOCK, 3 * BLOCK) == 2 * BLOCK
        )
