"""fsync of files and folders, where their file system supports it. The only one in this code."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from pathlib import Path

#: Errors by which file systems of shares and FUSE programs report that a call is not supported.
LACKS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = ctypes.CDLL(None).sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def begin_sync(descriptor: int) -> None:
    """Begins to send what is written in an open file to its disk, without waiting for the end.

    Only a hint, which makes a `sync` later shorter: where it is not supported, nothing happens.
    """
    _sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)  # 0, 0: the whole file


def sync(descriptor: int) -> None:
    """Makes an open file or folder durable, where its file system supports that. Raises OSError.

    Some file systems have no fsync for folders: vboxsf, SMB of older kernels, gocryptfs. Sources:
    libgit2/libgit2#5356, borgbackup/borg#1287, rfjakob/gocryptfs#587.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in LACKS:
            with contextlib.suppress(OSError):  # the path may be longer than paths can be
                error.filename = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            raise
