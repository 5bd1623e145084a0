"""A file lock that the kernel releases when its process ends, even after a crash."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from claraedge.errors import AlreadyRunningError


class FileLock:
    """An flock on a file that contains the pid of its owner. The file stays after the release."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Acquires the lock without waiting.

        Raises AlreadyRunningError, with the pid of the owner, if another process has locked it.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            text = f"{self.path} is locked by process {holder or '?'}"
            raise AlreadyRunningError(text) from error
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # on a full disk the lock works without the pid as well
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Releases the lock; does nothing if it was not acquired."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.truncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None
