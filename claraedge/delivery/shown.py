"""Who may read what is delivered: whoever may read the folder that it is put into.

The umask of a service says what its own files are like, and an outbox is for others. So the mode of
the outbox, which its administrator sets, is that of all below it, whatever the umask; its group and
its default ACL come from the kernel (setgid).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from claraedge import extras, files


def show(building: Path, mode: int) -> None:
    """Gives a tree that nobody else can reach the permission bits that `mode` allows, top last."""
    for folder, _, names in os.walk(building, topdown=False):
        for name in names:
            path = Path(folder, name)
            found = path.lstat().st_mode
            if stat.S_ISREG(found):
                extras.set_mode(path, (0o666 | found & 0o111) & (mode | 0o600))
        extras.set_mode(Path(folder), folder_mode(Path(folder), mode))


def folder_mode(folder: Path, mode: int) -> int:
    """For a folder of ours: what `mode` allows, and the setgid bit that it has from above."""
    return folder.lstat().st_mode & 0o7000 | mode & 0o777 | 0o700


def make_shown(folder: Path, mode: int) -> None:
    """Makes a folder and its parents, durable; those that are there stay as they are."""
    if not folder.is_dir():
        make_shown(folder.parent, mode)
        folder.mkdir(0o777)
        extras.set_mode(folder, folder_mode(folder, mode))
        files.sync_folder(folder.parent)
