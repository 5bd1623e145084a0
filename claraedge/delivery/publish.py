"""Publishes a folder of results or of a failure: complete, by one rename, and only once."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from claraedge import failpoints
from claraedge.decoding import decode_json
from claraedge.errors import ClaraedgeError, StateFolderError
from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.fs.trees import Building
from claraedge.fs.trusted import opened
from claraedge.ids import new_id
from claraedge.spool.shown import opened_shown
from claraedge.spool.slug import whole_id

#: Largest marker file in bytes: a result.json names each file.
_LARGEST = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A folder of results or of a failure."""

    path: Path
    size: int | None
    """Bytes of its files; None where an earlier attempt made it."""


def write_json(building: Building, name: str, document: Mapping[str, object]) -> None:
    """Writes a JSON document for people and programs: indented, UTF-8."""
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    building.write(name.encode(), text.encode("utf-8", "backslashreplace"))


def publish(
    root: Path, folder: str, owner: str, *, marker: str, key: str, build: Callable[[Building], None]
) -> Published:
    """Returns the folder `root/folder`; creates it with `build` if it does not exist yet.

    `build` fills an empty folder that no one else can reach. It must write a JSON file `marker`
    whose `key` is `owner`; by that file the folder is recognised after a crash. If another owner's
    folder has that name, it is left alone, and the name gets all digits of the id. The published
    folder is readable to those who may read `root`. If `build` fails, the partial folder is
    removed.

    Raises FileNotFoundError if `root` does not exist, and StateFolderError if both names belong to
    something else.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is gone; mount it again, or make it: mkdir -p '{root}'")
    found = published(root, folder, owner, marker=marker, key=key)
    if found is not None:
        files.sync_folder(found.parent)
        return Published(path=found, size=None)
    for name in (folder, whole_id(folder, owner)):
        target = root / name
        if os.path.lexists(target):
            continue
        mode = stat.S_IMODE(root.stat().st_mode)
        above = os.fsencode(target.parent.relative_to(root)) if target.parent != root else b""
        with opened(root) as top, opened_shown(root, above, mode) as place:
            size = _put(top / f".tmp-{owner}", place / target.name, target, mode, build)
        failpoints.reach("publish: synced")
        return Published(path=target, size=size)
    raise StateFolderError(
        f"{root / folder} cannot be made: folders of that name, and of that name with the whole id"
        f" {owner}, exist and have no {marker} of this job; move them to another place"
    )


def _put(
    temporary: Path, place: Path, target: Path, mode: int, build: Callable[[Building], None]
) -> int:
    """Fills a folder and renames it to `place`, which is shown to people as `target`.

    Returns the size of its files in bytes. The paths begin with descriptors. A user who may write
    to the root can replace the partial folder: then it is built in the folder that was moved, or an
    error is raised, but no path leads elsewhere.
    """
    remove(temporary)
    temporary.mkdir(0o700)
    failpoints.reach("publish: building")
    try:
        with opened(temporary.parent, os.fsencode(temporary.name)) as inside:
            made = inside.stat()
            if made.st_uid != os.geteuid() and made.st_uid != _our_uid(temporary.parent):
                raise OSError(errno.EAGAIN, "was replaced while it was made", str(target))
            try:
                building = Building(inside, mode)
                build(building)
                failpoints.reach("publish: written")
                building.finish()
            except OSError as error:
                if error.filename is not None:
                    shown = str(target.parent / temporary.name)
                    error.filename = str(error.filename).replace(str(inside), shown)
                raise
    except (OSError, ClaraedgeError):
        # A partial folder must not keep a full disk full, or remain for ever; if a share is dead,
        # it remains for the retry.
        with contextlib.suppress(OSError):
            remove(temporary)
        raise
    failpoints.reach("publish: built")
    temporary.rename(place)
    if place.lstat().st_ino != made.st_ino:
        raise OSError(errno.EAGAIN, "was replaced while it was made", str(target))
    failpoints.reach("publish: renamed")
    files.sync_folder(place.parent)
    return building.size


def _our_uid(folder: Path) -> int:
    """Returns the owner of files that we create there; a share or its mount may set another."""
    probe = folder / f".{new_id()}.tmp"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        return os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


def published(root: Path, folder: str, owner: str, *, marker: str, key: str) -> Path | None:
    """Returns the folder that `publish` made for this owner, or None."""
    for name in (folder, whole_id(folder, owner)):
        # A folder that another user replaced by a link is not the one that we made.
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            opened(root, os.fsencode(name)) as place,
        ):
            if is_owners(place / marker, key, owner):
                return root / name
    return None


def is_owners(marker: Path, key: str, owner: str) -> bool:
    """Returns whether the JSON file `marker` exists and names this owner.

    What others put in its place, such as a link or a pipe, is not read.
    """
    try:
        descriptor = os.open(marker, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        document = decode_json(os.pread(descriptor, _LARGEST, 0), dict[str, object])
    except msgspec.DecodeError:
        return False
    finally:
        os.close(descriptor)
    return document.get(key) == owner
