"""Changes the owner of a dropped file or folder to the user of the daemon. Runs as root.

Whoever may write to a folder can swap what lies in it while root works there. So nothing here works
by path: each folder is opened below the previous one, no link is followed, and owner and mode are
set on open descriptors. The owner of each folder is changed before its content is listed, so that
nobody else can change the content meanwhile. A file with several hard links may be anybody's: it is
refused. Known failures elsewhere: systemd-tmpfiles (CVE-2017-18078), npm and RPM scripts with
`chown -R`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from claraedge import texts
from claraedge.errors import AdoptionError
from claraedge.fs.walking import Place, descend

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: Mode of a drop folder: writable for its group; the sticky bit protects files of others.
_SHARED = 0o3770
#: Most owners in one tree, including the daemon's user: a dropper may have moved the file of
#: somebody else there.
_OWNERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A file or folder whose owner is to be changed."""

    path: bytes
    """Absolute, without links."""
    device: int
    inode: int
    """With `device`, the file or folder that was found at the path: any other is refused."""
    alone: bool = False
    """It is a folder that others drop into: only itself is changed, without its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """The numbers of files and folders whose owner was changed."""

    files: int = 0
    folders: int = 0
    size: int = 0
    """Bytes of the files."""


def adopt(thing: Thing, user: int) -> Adopted:
    """Gives a file, or a folder with its content, to a user.

    They become readable for that user, and not writable for others. What is neither file nor folder
    keeps its owner. Works only below a folder of that user.

    Raises AdoptionError, before anything is changed, where there is no such folder above it, where
    the thing is not the one that was found, contains files with several hard links or on another
    file system, or belongs to several users; OSError where the file system refuses.
    """
    with _folder_of(thing, user) as above:
        root = above / os.fsdecode(thing.path.rpartition(b"/")[2])
        try:
            return _share(root, thing, user) if thing.alone else _give(root, thing, user)
        except FileNotFoundError as error:
            raise _changed(thing) from error


@contextlib.contextmanager
def _folder_of(thing: Thing, user: int) -> Iterator[Path]:
    """Yields a path of the parent folder, which stays valid if something is swapped meanwhile."""
    parts = thing.path.split(b"/")[1:-1]
    at, ours = os.open("/", _STEP), False
    try:
        for part in parts:
            try:
                inner = os.open(part, _STEP, dir_fd=at)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise _changed(thing) from error
            os.close(at)
            at = inner
            ours = ours or os.fstat(at).st_uid == user
        if not ours:
            raise AdoptionError(
                f"{_shown(thing.path)} lies in no folder of the user {user}, as which claraedge"
                " runs: only what was dropped into its own folders is given to it"
            )
        yield Path(f"/proc/self/fd/{at}")
    finally:
        os.close(at)


def _give(root: Path, thing: Thing, user: int) -> Adopted:
    owners = {user}
    for place in descend(root):
        if not place.left:
            _check(thing, place, place.status, owners)
    given = Adopted()
    for place in descend(root):
        if place.left:
            continue
        if place.is_folder:
            if place.opened is None:
                raise PermissionError(f"{_shown(thing.path)}: a folder in it cannot be opened")
            _check(thing, place, os.fstat(place.opened), owners)
            _hand_over(place.opened, user, 0o700)
            given = Adopted(files=given.files, folders=given.folders + 1, size=given.size)
        elif place.is_file:
            size = _give_file(thing, place, user, owners)
            given = Adopted(files=given.files + 1, folders=given.folders, size=given.size + size)
    return given


def _give_file(thing: Thing, place: Place, user: int, owners: set[int]) -> int:
    descriptor = os.open(place.name, _FILE, dir_fd=place.folder)
    try:
        status = os.fstat(descriptor)
        _check(thing, place, status, owners)
        if stat.S_ISREG(status.st_mode):
            _hand_over(descriptor, user, 0o600)
        return status.st_size
    finally:
        os.close(descriptor)


def _share(root: Path, thing: Thing, user: int) -> Adopted:
    descriptor = os.open(root, _STEP)
    try:
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != (thing.device, thing.inode):
            raise _changed(thing)
        place = Path(f"/proc/self/fd/{descriptor}")
        os.chown(place, user, -1)
        place.chmod(stat.S_IMODE(status.st_mode) & 0o005 | _SHARED)
    finally:
        os.close(descriptor)
    return Adopted(folders=1)


def _hand_over(descriptor: int, user: int, least: int) -> None:
    """Sets owner and mode. The owner first: a previous owner could change the mode again."""
    place = Path(f"/proc/self/fd/{descriptor}")
    os.chown(place, user, -1)
    place.chmod(stat.S_IMODE(place.stat().st_mode) & 0o755 | least)


def _check(thing: Thing, place: Place, status: os.stat_result, owners: set[int]) -> None:
    """Raises AdoptionError where something in the tree must not change its owner.

    `owners`: all owners found so far; at most two, including the daemon's user.
    """
    if place.depth == 0 and (status.st_dev, status.st_ino) != (thing.device, thing.inode):
        raise _changed(thing)
    name = _shown(thing.path) if place.depth == 0 else f"'{_shown(place.name)}' in it"
    if status.st_dev != thing.device:
        raise AdoptionError(
            f"{name} lies on another file system than {_shown(thing.path)}; have its"
            " owner copy it to a folder there, and remove this one"
        )
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise AdoptionError(
            f"{name} has {status.st_nlink} names (hard links), of which others may lie anywhere; "
            "have its owner copy it, and remove this one"
        )
    owners.add(status.st_uid)
    if len(owners) > _OWNERS:
        raise AdoptionError(
            f"{name} belongs to the user {status.st_uid}, and the rest of {_shown(thing.path)} to"
            " another one; have each drop what is theirs"
        )


def _changed(thing: Thing) -> AdoptionError:
    return AdoptionError(
        f"{_shown(thing.path)} is not what claraedge found there any more; run `claraedge list"
        " inbox` again"
    )


def _shown(name: bytes) -> str:
    return texts.shown(os.fsdecode(name))
