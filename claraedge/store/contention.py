"""Waits while another process has a lock on the database, and names that process."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from claraedge.errors import UnavailableError

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Milliseconds after which a lock of another process is requested again, without a limit.
BUSY_MS = 500
#: Size (bytes) of the log from which `warnings` reports it: it grows while another process reads.
_WAL_IS_LONG = 128 << 20
_LOCKS = Path("/proc/locks")
_PRIMARY = 0xFF
"""The bits of SQLite's error codes that contain the primary code."""


class Contention:
    """What other processes do with one database."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._closing = False
        self._wait: str | None = None

    @property
    def waits(self) -> bool:
        """Whether the state waits for a lock of another process now."""
        return self._wait is not None

    def warnings(self) -> list[str]:
        """Returns what prevents writing the state, or lets it grow, as texts for people."""
        found = [] if self._wait is None else [self._wait]
        log = self._database.with_name(f"{self._database.name}-wal")
        with contextlib.suppress(OSError):
            if (size := log.stat().st_size) > _WAL_IS_LONG:
                found.append(
                    f"{log} has {size >> 20} MiB: {_holder(self._database, 'READ')} reads the"
                    " database all the time, so that its log only grows; end that"
                )
        return found

    def close(self) -> None:
        """Ends the waiting: from now on `patiently` raises UnavailableError instead."""
        self._closing = True

    def patiently(self, step: Callable[[], T]) -> T:
        """Runs a step, and repeats it while another process has a lock on the database.

        Raises UnavailableError where the database is being closed meanwhile.
        """
        said: str | None = None
        while True:
            try:
                result = step()
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
                if self._closing:
                    raise UnavailableError("the daemon is stopping; try again") from error
                text = (
                    f"{_holder(self._database, 'WRITE')} has a lock on {self._database}, and"
                    " nothing can be written until it ends; nobody but claraedge should open that"
                    " file"
                )
                if text != said:
                    _log.warning("the state waits: %s", text)
                self._wait = said = text
            else:
                if said is not None:
                    self._wait = None
                    _log.info("the state can be written again")
                return result


def _is_busy(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & _PRIMARY == sqlite3.SQLITE_BUSY


def _holder(database: Path, lock: str) -> str:
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
