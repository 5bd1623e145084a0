"""A file that takes room while there is some, and is given up so that the state can be recorded.

Blocks are allocated for it, not only a size: its removal gives just as many back.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from claraedge.fs import files
from claraedge.fs.syncing import sync

_log = logging.getLogger(__name__)

SIZE = 16 * 1024 * 1024


class Ballast:
    """The file in the state folder. Every method blocks, and may be called from any thread."""

    def __init__(self, state: Path, size: int = SIZE) -> None:
        """`size` in bytes."""
        self.path = state / "ballast"
        self.size = size

    def is_there(self) -> bool:
        return self.path.exists()

    def give_up(self) -> bool:
        """Removes it; False where it was given up before, and nothing is gained."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            _log.warning("the reserve file %s cannot be removed: %s", self.path, error.strerror)
            return False
        _log.warning(
            "the disk is full: the reserve file was removed, so that the state can be recorded"
        )
        return True

    def make(self) -> bool:
        """Makes it, whole or not at all; False where that is not possible now."""
        building = self.path.with_name("ballast.new")
        try:
            # What a crash left is taken over.
            descriptor = os.open(
                building, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            try:
                os.posix_fallocate(descriptor, 0, self.size)
                sync(descriptor)
            finally:
                os.close(descriptor)
            building.replace(self.path)
            files.sync_folder(self.path.parent)
        except OSError as error:
            _log.warning("the reserve file %s cannot be made: %s", self.path, error.strerror)
            with contextlib.suppress(OSError):
                building.unlink(missing_ok=True)
            return False
        return True
