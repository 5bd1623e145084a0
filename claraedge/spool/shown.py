"""Permissions of delivered files: whoever may read the outbox may read what is put into it.

The umask of a service is meant for its own files, but an outbox is for others. So the mode of the
outbox, which its administrator sets, applies to everything below it, whatever the umask is. Group
and default ACL are inherited through the kernel (setgid).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from claraedge.fs import extras, files
from claraedge.fs.trusted import opened
from claraedge.fs.walking import descend

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def show(building: Path, mode: int) -> None:
    """Sets the permission bits that `mode` allows in a tree, its top last.

    Nobody else may have access to the tree before.
    """
    for place in descend(building):
        if place.is_file:
            descriptor = os.open(place.name, _READ, dir_fd=place.folder)
            try:
                found = place.status.st_mode
                extras.set_mode(descriptor, (0o666 | found & 0o111) & (mode | 0o600))
            finally:
                os.close(descriptor)
        elif place.left and place.opened is not None:
            extras.set_mode(place.opened, folder_mode(place.status, mode))


def folder_mode(status: os.stat_result, mode: int) -> int:
    """Returns the mode for a folder of ours: what `mode` allows, and its inherited setgid bit."""
    return status.st_mode & 0o7000 | mode & 0o777 | 0o700


@contextlib.contextmanager
def opened_shown(root: Path, path: bytes, mode: int) -> Iterator[Path]:
    """Yields a path of the folder `path` below `root`; creates it and its parents where missing.

    The path stays valid if others who may write to `root` swap something meanwhile. Existing
    folders keep their mode. Raises NotADirectoryError where one of them is a link.
    """
    with contextlib.ExitStack() as stack:
        at = stack.enter_context(opened(root))
        for part in path.split(b"/") if path else ():
            try:
                at = stack.enter_context(opened(at, part))
            except FileNotFoundError:
                (at / os.fsdecode(part)).mkdir(0o777)
                above, at = at, stack.enter_context(opened(at, part))
                extras.set_mode(at, folder_mode(at.stat(), mode))
                files.sync_folder(above)
        yield at
