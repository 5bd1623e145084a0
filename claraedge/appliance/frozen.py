"""The extraction folder of the one-file form, which is removed when its process ends.

The one file is a script that unpacks the folder form at each start and then executes the program in
it (build/lib/one_file.sh). The program removes the folder when it ends; if it is killed, the next
daemon removes it. The folder form and a run from source have no such folder, so these functions do
nothing there.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import signal
import stat
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

PREFIX = "claraedge-"
#: File in each unpacked folder, from its creation.
MARKER = ".one-file"
#: File in each unpacked folder that a process has locked at some time.
_LOCKED = ".claraedge"

_locks: list[int] = []  # descriptors that keep their locks until the process ends


def extraction() -> Path | None:
    """Returns the folder that this process was unpacked to, or None in the other forms."""
    inner = getattr(sys, "_MEIPASS", None)
    if not getattr(sys, "frozen", False) or inner is None:
        return None
    folder = Path(inner).parent
    return folder if (folder / MARKER).is_file() else None


def lock_extraction(folder: Path | None = None) -> None:
    """Marks `folder` (default: our extraction) as in use until this process ends.

    The lock is on the folder itself: systemd-tmpfiles skips a locked folder (tmpfiles.d(5)), so
    that a daemon that runs for weeks keeps its files. The marker is created after the lock: a
    marked folder without a lock belongs to no running process.
    """
    folder = folder or extraction()
    if folder is None or _locks:
        return
    descriptor = _open_folder(folder)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    (folder / _LOCKED).touch()
    _locks.append(descriptor)


def remove_at_end() -> None:
    """Removes our extraction folder when this process ends, also by a signal that can be caught.

    Call it first, on the main thread: `atexit` runs the function that was registered first last.
    """
    folder = extraction()
    if folder is None:
        return
    process = os.getpid()

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)  # noqa: TID251 its own program

    atexit.register(remove)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def remove_stale_extractions(temporary: Path | None = None) -> list[Path]:
    """Removes the extraction folders of killed one-file processes; returns the removed folders.

    It removes only folders in `temporary` (default: next to our own extraction) that belong to this
    user, contain our marker and are not locked. Folders of other users and programs stay. A folder
    whose removal fails is left for the next start.
    """
    if temporary is None:
        ours = extraction()
        temporary = ours.parent if ours is not None else Path(tempfile.gettempdir())
    removed = []
    for folder in sorted(temporary.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            if _is_stale(folder):
                shutil.rmtree(folder)  # noqa: TID251 its own program
                removed.append(folder)
    return removed


def _is_stale(folder: Path) -> bool:
    descriptor = _open_folder(folder)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return False
        marker = os.stat(_LOCKED, dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISREG(marker.st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    finally:
        os.close(descriptor)


def _open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
