"""fsync of files and folders, where their file system supports it. The only one in this code."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

#: Errors by which file systems of shares and FUSE programs report that a call is not supported.
LACKS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


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
