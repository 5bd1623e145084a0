"""Holes: ranges of a file whose blocks are returned to the disk while its writer appends.

No name, size or offset changes, so programs that have the file open notice nothing. Source:
fallocate(2), FALLOC_FL_PUNCH_HOLE (ext4, XFS, Btrfs, tmpfs, and overlay on these); lseek(2),
SEEK_DATA.
"""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from pathlib import Path

#: Alignment of holes in bytes: no file system in use has larger blocks (pages of some arm64 kernels
#: are this large), and a partly covered block would be kept, filled with zeros.
BLOCK = 64 * 1024

_KEEP_SIZE = 1
_PUNCH_HOLE = 2

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def punch(descriptor: int, start: int, end: int) -> None:
    """Frees the blocks from `start` up to `end`; both are offsets in multiples of BLOCK.

    Raises OSError: EOPNOTSUPP if the file system does not support it.
    """
    if _fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, start, end - start) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def data_from(descriptor: int, position: int, end: int) -> int:
    """Returns the offset of the first data at or after `position`; `end` if there is none."""
    try:
        return min(os.lseek(descriptor, position, os.SEEK_DATA), end)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return end
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # no support for holes: all is data
            return position
        raise


def hole_from(descriptor: int, position: int, end: int) -> int:
    """Returns the offset of the first hole at or after `position`, at most `end`.

    The end of a file counts as a hole.
    """
    try:
        return min(os.lseek(descriptor, position, os.SEEK_HOLE), end)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EINVAL, errno.EOPNOTSUPP):
            return end
        raise


def can_punch(folder: Path) -> bool:
    """Returns whether files in `folder` support holes and report their range. Raises OSError."""
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
