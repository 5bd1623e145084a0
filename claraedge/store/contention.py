"""Detects that another process has a lock on the database, and names that process."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

_LOCKS = Path("/proc/locks")
_PRIMARY = 0xFF
"""The bits of SQLite's error codes that contain the primary code."""


def is_busy(error: BaseException) -> bool:
    """Whether an error means that another process has a lock on the database."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & _PRIMARY == sqlite3.SQLITE_BUSY


def holder(database: Path, lock: str = "WRITE") -> str:
    """Returns a text that names the process with a lock (READ or WRITE) on a database, if known."""
    inodes = set()
    for name in (database.name, f"{database.name}-wal", f"{database.name}-shm"):
        with contextlib.suppress(OSError):
            inodes.add(str(database.with_name(name).stat().st_ino))
    with contextlib.suppress(OSError):
        # 1: POSIX  ADVISORY  WRITE 1234 fe:01:5678 120 120
        for line in _LOCKS.read_text(encoding="ascii", errors="replace").splitlines():
            words = line.split()
            if lock not in words or "->" in words:
                continue
            pid, place = words[words.index(lock) + 1 :][:2]
            if pid != str(os.getpid()) and place.rpartition(":")[2] in inodes:
                return f"the process {pid}{_name(pid)}"
    return "another process"


def _name(pid: str) -> str:
    try:
        return f" ({Path(f'/proc/{pid}/comm').read_text(errors='replace').strip()})"
    except OSError:
        return ""
