"""What the one-file binary needs to live as one thing: it runs as two processes and from a folder.

The process that the user starts unpacks the program to `<temp>/_MEIxxxxxx`, starts itself again
from there, waits, and removes the folder. Killed, it leaves a child that nobody watches and a
folder that nobody removes. The folder form and a run from source have neither: no-ops there.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import stat
import sys
import tempfile
from pathlib import Path

_PREFIX = "_MEI"
_MARKER = ".claraedge"
_PR_SET_PDEATHSIG = 1

_held: list[int] = []  # descriptors whose locks last as long as the process


def extraction() -> Path | None:
    """The folder that this process was unpacked to, or None in the other forms."""
    folder = getattr(sys, "_MEIPASS", None)
    if not getattr(sys, "frozen", False) or folder is None:
        return None
    path = Path(folder)
    return path if path.name.startswith(_PREFIX) else None


def die_with_parent() -> None:
    """Asks the kernel for SIGTERM when the unpacking parent ends, however it ends.

    Must be called on the main thread, early. A parent that ended before the call is found by what
    the parent now is: the unpacker runs the same file as this process.
    """
    if extraction() is None:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    if not runs_our_program(os.getppid()):
        os.kill(os.getpid(), signal.SIGTERM)


def runs_our_program(process: int) -> bool:
    """Whether `process` lives and runs the same file as this process."""
    try:
        theirs = Path(f"/proc/{process}/exe").stat()
    except OSError:
        return False
    ours = Path("/proc/self/exe").stat()
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def hold_extraction(folder: Path | None = None) -> None:
    """Marks `folder` (default: our extraction) as in use until this process ends.

    The lock is on the folder itself: systemd-tmpfiles leaves a locked folder alone (tmpfiles.d(5)),
    so that a daemon that runs for weeks keeps its files. The marker comes after the lock: a marked
    folder without a lock has no process any more.
    """
    folder = folder or extraction()
    if folder is None or _held:
        return
    descriptor = _open_folder(folder)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    (folder / _MARKER).touch()
    _held.append(descriptor)


def remove_stale_extractions(temporary: Path | None = None) -> list[Path]:
    """Removes what killed one-file processes left behind, and returns what it removed.

    Only folders in `temporary` (default: beside our own extraction) that belong to this user, carry
    our marker and are locked by nobody; other users' and other programs' folders stay. A folder
    whose removal fails is kept for the next start.
    """
    if temporary is None:
        ours = extraction()
        temporary = ours.parent if ours is not None else Path(tempfile.gettempdir())
    removed = []
    for folder in sorted(temporary.glob(f"{_PREFIX}*")):
        with contextlib.suppress(OSError):
            if _is_stale(folder):
                shutil.rmtree(folder)
                removed.append(folder)
    return removed


def _is_stale(folder: Path) -> bool:
    descriptor = _open_folder(folder)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return False
        marker = os.stat(_MARKER, dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISREG(marker.st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    finally:
        os.close(descriptor)


def _open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
