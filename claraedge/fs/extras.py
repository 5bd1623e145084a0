"""Properties that not every file system supports: modes, times, symbolic links, pipes.

On a share whose files belong to another owner (CIFS without `uid=`, NFS with `all_squash`), on FAT
and exFAT, and with many FUSE programs, files can be created and written, but setting anything else
is refused. The content is what matters: a refusal here is logged once for each file system, and is
never a reason to fail or to retry. How other programs failed:
rclone/rclone#738, libuv/libuv#2596, sindresorhus/copy-file#41, LatentNoise/content#64.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

from claraedge import texts

_log = logging.getLogger(__name__)

#: Errors by which file systems report that a property is not supported, or not permitted to us.
REFUSALS = frozenset(
    {
        errno.EPERM,  # the file of another owner; FAT; no support for links
        errno.EACCES,  # SMB servers
        errno.EOPNOTSUPP,
        errno.ENOSYS,  # a FUSE program without that call
        errno.EINVAL,
        errno.EROFS,  # bind mounts of a single file
        errno.ENOTTY,
    }
)

_logged: set[tuple[int, str]] = set()


def set_mode(made: Path | int, mode: int) -> None:
    """Sets the permission bits of a new path, or of an open descriptor, where they differ.

    Where that is refused, the options of the mount decide who can read it.
    """
    if stat.S_IMODE(_stat(made).st_mode) != mode:
        _attempt(made, "modes", lambda: os.chmod(made, mode))  # noqa: PTH101 descriptors


def set_times(made: int, status: os.stat_result) -> None:
    """Sets the times of an open file to those of another; where refused, it keeps its own."""
    _attempt(made, "times", lambda: os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns)))


def make_link(path: Path, to: str) -> bool:
    """Creates a symbolic link; returns False where the file system does not support links."""
    return _attempt(path.parent, "symbolic links", lambda: path.symlink_to(to))


def make_pipe(path: Path) -> bool:
    """Creates a named pipe; returns False where the file system does not support pipes."""
    return _attempt(path.parent, "pipes", lambda: os.mkfifo(path, 0o600))


def _attempt(place: Path | int, what: str, change: Callable[[], object]) -> bool:
    try:
        change()
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        _log_refusal(place, what, error)
        return False
    return True


def _log_refusal(place: Path | int, what: str, error: OSError) -> None:
    device = _stat(place).st_dev
    if (device, what) in _logged:
        return
    _logged.add((device, what))
    # As people know it: also a path may lead through a descriptor.
    path = Path(f"/proc/self/fd/{place}" if isinstance(place, int) else place).resolve()
    _log.warning(
        "the file system of %s refuses %s (%s): files are put there without them; where that"
        " matters, change the options of its mount, such as `uid=` and `gid=`",
        texts.shown(str(path)),
        what,
        error.strerror,
    )


def _stat(made: Path | int) -> os.stat_result:
    return os.stat(made)  # noqa: PTH116 descriptors as well
