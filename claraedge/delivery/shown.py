"""Who may read what is delivered: whoever may read the folder that it is put into.

The umask of a service says what its own files are like, and an outbox is for others. So the mode of
the outbox, which its administrator sets, is that of all below it, whatever the umask; its group and
its default ACL come from the kernel (setgid).
"""

from __future__ import annotations

import os
from pathlib import Path

from claraedge.fs import extras, files
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


def make_shown(folder: Path, mode: int) -> None:
    """Makes a folder and its parents, durable; those that are there stay as they are."""
    if not folder.is_dir():
        make_shown(folder.parent, mode)
        folder.mkdir(0o777)
        extras.set_mode(folder, folder_mode(folder.lstat(), mode))
        files.sync_folder(folder.parent)
