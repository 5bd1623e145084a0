"""Removes a folder with all that is in it, however deep that is.

`shutil.rmtree` calls itself for each level, and keeps each open: what is a thousand folders deep
ends it. Here what is deep is moved up first.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from claraedge.ids import new_id

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Folders that are open at once.
_OPEN = 64


@dataclass(slots=True)
class _Level:
    descriptor: int
    name: str | Path
    """In the level above; of the first its path."""
    folders: list[str]
    """Those in it that are left."""


def remove_folder(path: Path) -> None:
    """Removes a folder; no link is followed. Folders of ours are opened where their mode is closed.

    What vanishes meanwhile is no error. Raises OSError for what may not be removed.
    """
    levels = [_enter(path, None)]
    try:
        while levels:
            level = levels[-1]
            above = levels[-2].descriptor if len(levels) > 1 else None
            if not level.folders:
                os.close(levels.pop().descriptor)
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(level.name, dir_fd=above)
                continue
            name = level.folders.pop()
            if len(levels) < _OPEN:
                with contextlib.suppress(FileNotFoundError):
                    levels.append(_enter(name, level.descriptor))
                continue
            up = f".{new_id()}"
            with contextlib.suppress(FileNotFoundError):
                _open(name, level.descriptor)  # or it cannot be moved
                os.rename(name, up, src_dir_fd=level.descriptor, dst_dir_fd=levels[0].descriptor)
                levels[0].folders.append(up)
    finally:
        for level in levels:
            os.close(level.descriptor)


def _enter(name: str | Path, above: int | None) -> _Level:
    """Opens a folder and removes all in it but folders."""
    _open(name, above)
    descriptor = os.open(name, _FOLDER, dir_fd=above)
    try:
        folders = []
        with os.scandir(descriptor) as entries:
            for entry in list(entries):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.name, dir_fd=descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return _Level(descriptor, name, folders)


def _open(name: str | Path, above: int | None) -> None:
    status = os.stat(name, dir_fd=above, follow_symlinks=False)
    if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & 0o700 != 0o700:
        with contextlib.suppress(OSError):  # a share that has no modes; what is refused comes next
            os.chmod(name, 0o700, dir_fd=above)
