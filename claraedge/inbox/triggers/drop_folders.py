"""Creates the folders that others drop into, for their group and independent of the umask."""

from __future__ import annotations

import grp
import os
from pathlib import Path

from claraedge.appliance.state import user_name
from claraedge.fs import extras
from claraedge.fs.trusted import open_folder

#: The sticky bit prevents users from renaming or removing files of others; the setgid bit gives
#: the group of the folder to what is created in it.
MODE = 0o3775


class ForeignGroupError(PermissionError):
    """A folder cannot be given to the configured group; it is left unchanged."""


def make(folder: Path, group: str | None) -> None:
    """Creates a folder where it is missing and, if it is ours, gives it to `group`. Blocking.

    Raises ForeignGroupError where that is refused, OSError where it cannot be created.
    """
    try:
        descriptor, made = open_folder(folder), False
    except FileNotFoundError:
        descriptor, made = open_folder(folder, make=0o775), True
    try:
        if made:
            extras.set_mode(descriptor, MODE)
        status = os.fstat(descriptor)
        if group is not None and status.st_uid == os.geteuid():
            _give(descriptor, folder, group, status.st_gid)
    finally:
        os.close(descriptor)


def _give(descriptor: int, folder: Path, group: str, now: int) -> None:
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        raise ForeignGroupError(
            f"{folder} is not of the group {group} (inbox.group), which is not there: sudo groupadd"
            f" --system {group}, then restart claraedge"
        ) from None
    if number == now:
        return
    try:
        os.fchown(descriptor, -1, number)
    except PermissionError:
        user = user_name(os.geteuid())
        raise ForeignGroupError(
            f"{folder} is not of the group {group} (inbox.group), of which {user} is no member:"
            f" sudo usermod --append --groups {group} {user}, then restart the machine"
        ) from None
