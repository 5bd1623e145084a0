"""Removes files and trees, however deep they are and whatever lies in them."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from claraedge.fs.trusted import opened
from claraedge.fs.walking import descend


def remove(path: Path) -> None:
    """Removes a file or a tree; nothing there is no error, nor what vanishes meanwhile.

    No link is followed. Folders of ours are opened where their mode is closed. Raises
    PermissionError where a foreign owner keeps something: the runner's `reclaim` changes that.
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
    """A folder that may not be looked into goes where it is empty."""
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(name)) from error


def remove_link(path: Path, *, dead: bool = False) -> bool:
    """Removes a symbolic link, through no link of others; whether it did.

    `dead`: only one that leads to nothing. What is there besides stays.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), opened(path.parent) as above:
        link = above / path.name
        if link.is_symlink() and not (dead and link.exists()):
            link.unlink(missing_ok=True)
            return True
    return False
