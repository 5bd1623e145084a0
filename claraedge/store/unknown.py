"""Files of the state that no record mentions: neither as in use, nor as disposable.

They belong to a newer database, after an older one was restored. They may be somebody's data, and
so are kept.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from claraedge.fs import files
from claraedge.ids import new_id

_log = logging.getLogger(__name__)

NAME = "unknown"


class Unknown:
    """The folder `unknown` of the state. Its methods block."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.root = state / NAME

    def put(self, path: Path) -> Path:
        """Moves a file or folder of the state there, and returns its new place.

        Its path below `unknown` is the one that it had in the state.
        """
        target = self.root / path.relative_to(self._state)
        files.make_folders(target.parent)
        if os.path.lexists(target):
            target = target.with_name(f"{target.name}-{new_id()}")
        files.rename_new(path, target)
        files.sync_folder(target.parent)
        files.sync_folder(path.parent)
        _log.warning(
            "the database does not know %s: an older one was put back. It lies in %s now"
            " (docs/state.md)",
            path,
            target,
        )
        return target

    def warnings(self) -> list[str]:
        """Returns what lies there, and what to do about it, as texts for people."""
        kinds = {path.name: len(_entries(path)) for path in _entries(self.root)}
        counts = {name: count for name, count in kinds.items() if count}
        if not counts:
            return []
        what = ", ".join(f"{count} of {name}" for name, count in sorted(counts.items()))
        return [
            f"{self.root} has files that the database does not know ({what}): an older database was"
            " put back. Stop the service and put the newer one back, with these files; or copy from"
            " there what you need, and remove the folder (docs/state.md)"
        ]


def _entries(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return list(folder.iterdir())
    return []
