"""Who may read what is delivered: whoever may read the folder that it is put into.

The umask of a service says what its own files are like, and an outbox is for others. So the mode of
the outbox, which its administrator sets, is that of all below it, whatever the umask; its group and
its default ACL come from the kernel (setgid).
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
    """Gives a tree that nobody else can reach the permission bits that `mode` allows, top last."""
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
    """For a folder of ours: what `mode` allows, and the setgid bit that it has from above."""
    return status.st_mode & 0o7000 | mode & 0o777 | 0o700


@contextlib.contextmanager
def opened_shown(root: Path, path: bytes, mode: int) -> Iterator[Path]:
    """A path of the folder `path` below `root`, made with those above it where it is not there.

    It stays that folder, whoever else may write to `root` and swaps something meanwhile. Those
    that are there keep their mode. Raises NotADirectoryError where one of them is a link.
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
