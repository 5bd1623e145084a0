"""What not every file system has: modes, times, symbolic links, pipes.

On a share whose files belong to another owner (CIFS without `uid=`, NFS with `all_squash`), on FAT
and exFAT and behind many FUSE programs, files can be made and written, and setting anything else of
them is refused. Bytes that arrived have arrived: what is refused here is reported once for each
file system, and is never a reason to fail or to try again. How it went elsewhere:
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

#: How file systems say that they have no such thing, or not for us.
REFUSALS = frozenset(
    {
        errno.EPERM,  # another owner's; FAT; no links there
        errno.EACCES,  # SMB servers
        errno.EOPNOTSUPP,
        errno.ENOSYS,  # a FUSE program without that call
        errno.EINVAL,
        errno.EROFS,  # bind mounts of a file alone
        errno.ENOTTY,
    }
)

_told: set[tuple[int, str]] = set()


def set_mode(made: Path | int, mode: int) -> None:
    """Gives what was just made, or is open as a descriptor, its permission bits, where they differ.

    Where that is refused, the options of the mount say who reads it.
    """
    if stat.S_IMODE(_stat(made).st_mode) != mode:
        _attempt(made, "modes", lambda: os.chmod(made, mode))  # noqa: PTH101 descriptors


def set_times(made: int, status: os.stat_result) -> None:
    """Gives an open file the times of another one; where that is refused, it keeps its own."""
    _attempt(made, "times", lambda: os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns)))


def make_link(path: Path, to: str) -> bool:
    """Makes a symbolic link; False: there are none in that file system."""
    return _attempt(path.parent, "symbolic links", lambda: path.symlink_to(to))


def make_pipe(path: Path) -> bool:
    """Makes a named pipe; False: there are none in that file system."""
    return _attempt(path.parent, "pipes", lambda: os.mkfifo(path, 0o600))


def _attempt(place: Path | int, what: str, change: Callable[[], object]) -> bool:
    try:
        change()
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        _tell(place, what, error)
        return False
    return True


def _tell(place: Path | int, what: str, error: OSError) -> None:
    device = _stat(place).st_dev
    if (device, what) in _told:
        return
    _told.add((device, what))
    path = Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else place
    _log.warning(
        "the file system of %s refuses %s (%s): files are put there without them; where that"
        " matters, change the options of its mount, such as `uid=` and `gid=`",
        texts.shown(str(path)),
        what,
        error.strerror,
    )


def _stat(made: Path | int) -> os.stat_result:
    return os.stat(made)  # noqa: PTH116 descriptors as well
