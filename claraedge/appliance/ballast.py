"""A reserve file that is removed when the disk is full, so that the state can still be recorded.

Its disk blocks are really allocated (it is not sparse), so that its removal frees all of them.
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
    """The reserve file in the state folder. Methods block and may be called from any thread."""

    def __init__(self, state: Path, size: int = SIZE) -> None:
        """`size` is in bytes."""
        self.path = state / "ballast"
        self.size = size

    def is_there(self) -> bool:
        """Returns whether the file exists."""
        return self.path.exists()

    def give_up(self) -> bool:
        """Removes the file; False if it does not exist or cannot be removed: no room was gained."""
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
        """Creates the file, complete or not at all; False if that is not possible now."""
        building = self.path.with_name("ballast.new")
        try:
            # No O_EXCL: a file left by a crash is reused.
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
