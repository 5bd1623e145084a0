"""Removes files and trees of any depth and content."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from claraedge.fs.trusted import opened
from claraedge.fs.walking import descend


def remove(path: Path) -> None:
    """Removes a file or a tree. It is no error if it is missing, or parts of it vanish meanwhile.

    Follows no link. Folders of ours get the owner's permission bits where these are missing. Raises
    PermissionError where another user owns something that we cannot remove: the runner's `reclaim`
    changes the owner.
    """
    with contextlib.suppress(FileNotFoundError):
        for place in descend(path, opening=True):
            with contextlib.suppress(FileNotFoundError):
                if not place.is_folder:
                    os.unlink(place.name, dir_fd=place.folder)
                elif place.left:
                    os.rmdir(place.name, dir_fd=place.folder)
                elif place.opened is None:
                    _remove_closed(place.name, place.folder)


def _remove_closed(name: bytes, folder: int) -> None:
    """Removes a folder that cannot be read, if it is empty. Raises PermissionError where not."""
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(name)) from error


def remove_link(path: Path, *, dead: bool = False) -> bool:
    """Removes a symbolic link, whose parents are no links of others. Returns whether it did.

    `dead`: removes it only if its target is missing. Anything but a link is left alone.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), opened(path.parent) as above:
        link = above / path.name
        if link.is_symlink() and not (dead and link.exists()):
            link.unlink(missing_ok=True)
            return True
    return False
