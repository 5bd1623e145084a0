"""The one fsync: of files and folders, as far as their file system has it."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

#: How file systems of shares and FUSE programs say that they have no such call.
LACKS = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def sync(descriptor: int) -> None:
    """Those of shares (vboxsf, SMB of older kernels, gocryptfs) have no fsync for folders.

    Sources: libgit2/libgit2#5356, borgbackup/borg#1287, rfjakob/gocryptfs#587.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in LACKS:
            with contextlib.suppress(OSError):  # longer than a path can be
                error.filename = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            raise
