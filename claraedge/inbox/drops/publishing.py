"""Moves the files of a drop into a trigger's folder, where each file or folder appears whole.

    files/                       what arrived, below the folder of the drop in the state
    FOLDER/.claraedge-<drop>/    the same, next to where it is to appear
    FOLDER/NAME                  each file and folder, by one rename

While `files` exists, nothing has appeared. From another file system it is copied, and then renamed
to `copied`. Each step can be recognised on the disk, so `publish` may be repeated after a crash.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from claraedge import failpoints
from claraedge.blocking import CancelFlag
from claraedge.fs import files
from claraedge.fs.mounts import mount_of
from claraedge.fs.removal import remove
from claraedge.fs.trees import copy_tree
from claraedge.fs.trusted import open_folder, opened
from claraedge.fs.walking import walk
from claraedge.inbox.model import shown
from claraedge.spool.spool import HIDDEN

_FILES, _COPIED = "files", "copied"


def tree_of(drop: Path) -> Path:
    """Returns the folder of the files that arrived, until they are moved."""
    return drop / _FILES


def is_moved(drop: Path) -> bool:
    """Whether the files have left the state, so that some may have appeared."""
    return not os.path.lexists(tree_of(drop))


def store(_: CancelFlag, drop: Path, name: str, mode: int, data: Path) -> None:
    """Makes a whole file durable under its name in the drop; blocks.

    Raises FileExistsError or NotADirectoryError where it has a file or folder of that name, or a
    file of the name of a folder above.
    """
    target = tree_of(drop) / name
    data.chmod(files.readable(mode))
    files.sync_file(data)
    files.make_folders(target.parent)
    files.rename_new(data, target)
    files.sync_folder(target.parent)


def measured(drop: Path) -> tuple[int, int]:
    """Returns the number of files that arrived and their bytes; blocks."""
    sizes = [entry.status.st_size for entry in walk(tree_of(drop)) if entry.is_file]
    return len(sizes), sum(sizes)


def closed(folder: Path) -> str:
    """Returns why no file can be put into a folder now, or an empty text; blocks."""
    try:
        descriptor = open_folder(folder)
    except FileNotFoundError:
        return "the folder does not exist; make it, and let the user of claraedge write there"
    except OSError as error:
        return f"the folder cannot be opened ({error.strerror}); let the user of claraedge read it"
    try:
        if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
            return "its disk is mounted read-only; mount it for writing"
        if not os.access(f"/proc/self/fd/{descriptor}", os.W_OK | os.X_OK):
            return "the user of claraedge may not write there; give it the right to"
    finally:
        os.close(descriptor)
    return ""


def exists(folder: Path, path: str, *, merge: bool) -> bool:
    """Whether something of a trigger's folder is in the way of a file; blocks. Raises OSError.

    `merge`: folders that are there are entered; else what counts is the first part of the path.
    """
    with opened(folder) as top:
        at = top
        for part in path.split("/"):
            at /= part
            if not os.path.lexists(at):
                return False
            if not (merge and _is_folder(at)):
                return True
        return True


def mount_point(_: CancelFlag, folder: Path) -> str:
    """Returns where the disk of a folder is mounted; empty: unknown. Raises OSError."""
    mount = mount_of(folder)
    return "" if mount is None else shown(mount.point)


def publish(
    flag: CancelFlag,
    drop: Path,
    folder: Path,
    *,
    merge: bool = False,
    is_last: Callable[[bytes], bool] = lambda _: False,
) -> None:
    """Makes all files and folders of a drop appear in `folder`; blocks, and may be repeated.

    `merge`: where the folder has a folder of the same name, what is in it appears there; for
    triggers that take files by themselves, and leave their folders. `is_last`: whether a name ends
    a group, so that it appears after the others. Raises FileExistsError with a name that is taken:
    nothing has appeared then, unless another program has created it during the call; and OSError.
    """
    source, hidden = tree_of(drop), HIDDEN + drop.name
    with opened(folder) as top:
        staged = top / hidden
        if os.path.lexists(source):
            _refuse_taken(source, top, merge)
            remove(staged)  # a copy that was interrupted
            files.finish_tree(source, 0o755)
            _stage(flag, source, staged)
            files.sync_folder(top)
            files.sync_folder(drop)
            failpoints.reach("drop: staged")
        if os.path.lexists(staged):
            _appear(staged, top, merge, is_last)
            files.sync_folder(top)


def _refuse_taken(source: Path, target: Path, merge: bool) -> None:
    for name in sorted(path.name for path in source.iterdir()):
        if not os.path.lexists(target / name):
            continue
        if not (merge and _is_folder(source / name) and _is_folder(target / name)):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        with opened(target, os.fsencode(name)) as inner:
            _refuse_taken(source / name, inner, merge)


def _appear(staged: Path, target: Path, merge: bool, is_last: Callable[[bytes], bool]) -> None:
    """Renames all that is in `staged` into `target`, and removes `staged`."""
    found = [os.fsencode(path.name) for path in staged.iterdir()]
    for raw in sorted(found, key=lambda name: (is_last(name), name)):
        name = os.fsdecode(raw)
        if merge and _is_folder(staged / name) and _is_folder(target / name):
            with opened(target, raw) as inner:
                _appear(staged / name, inner, merge, is_last)
            continue
        try:
            files.rename_new(staged / name, target / name)
        except FileExistsError as error:
            raise FileExistsError(error.errno, error.strerror, name) from error
        failpoints.reach("drop: one appeared")
    files.sync_folder(target)
    staged.rmdir()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _stage(flag: CancelFlag, source: Path, staged: Path) -> None:
    try:
        source.rename(staged)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    failpoints.reach("drop: copying")
    try:
        copy_tree(source, staged, flag=flag)
    except OSError:
        with contextlib.suppress(OSError):  # a partial copy must not keep a full disk full
            remove(staged)
        raise
    failpoints.reach("drop: copied")
    source.rename(source.with_name(_COPIED))


def discard(_: CancelFlag, drop: Path, folder: Path | None) -> None:
    """Removes a drop; blocks. `folder`: where some of its files may be hidden. Raises OSError."""
    if folder is not None:
        with contextlib.suppress(FileNotFoundError), opened(folder) as top:
            remove(top / (HIDDEN + drop.name))
    remove(drop)
