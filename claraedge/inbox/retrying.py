"""Puts the original of a failed item back into the inbox, where it is a new item."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge import files
from claraedge.blocking import CancelFlag, CancelledWorkError
from claraedge.delivery.failpoints import Failpoint, nothing
from claraedge.delivery.spool import HIDDEN
from claraedge.delivery.trees import copy_tree, remove, walk
from claraedge.errors import ItemRetryError
from claraedge.inbox.model import Claimed, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    source: Path
    target: Path


def put_back(
    flag: CancelFlag, item: Claimed, failure: Path, failpoint: Failpoint = nothing
) -> None:
    """Moves what lies in `failure/original` to where the item came from. Blocking; repeatable.

    Raises ItemRetryError where it is not there any more, or its place is taken; nothing is moved
    then.
    """
    moves = _moves(item, failure / "original" / os.fsdecode(item.name))
    left = [one for one in moves if os.path.lexists(one.source)]
    if not left:
        raise ItemRetryError(
            f"the original of {shown(item.name)} ({item.id}) is not in {failure}/original any more;"
            " drop it into the inbox again"
        )
    for one in left:
        if os.path.lexists(one.target):
            raise _taken(item, one.target)
    for one in left:
        flag.check()
        files.make_folders(one.target.parent, 0o775)
        try:
            _move(flag, item, one, failpoint)
        except FileExistsError as error:  # it came meanwhile, and perhaps is another content
            raise _taken(item, one.target) from error
        failpoint("retry: moved one")


def _taken(item: Claimed, target: Path) -> ItemRetryError:
    return ItemRetryError(
        f"{shown(os.fsencode(target))} is there already; take it away, or rename it,"
        f" and retry {item.id} again"
    )


def _move(flag: CancelFlag, item: Claimed, one: _Move, failpoint: Failpoint) -> None:
    """Raises FileExistsError; the original stays where it is then."""
    if not any(entry.is_file and entry.status.st_nlink > 1 for entry in walk(one.source)):
        try:
            files.rename_new(one.source, one.target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            files.sync_folder(one.target.parent)
            files.sync_folder(one.source.parent)
            return
    _copy(flag, item, one, failpoint)


def _copy(flag: CancelFlag, item: Claimed, one: _Move, failpoint: Failpoint) -> None:
    """In place of a move: to another file system, or since the payload has the same files."""
    building = one.target.with_name(f"{HIDDEN}retry-{item.id}")
    remove(building)  # a crash left it
    failpoint("retry: copying")
    try:
        copy_tree(one.source, building, flag=flag)
        failpoint("retry: copied")
        files.rename_new(building, one.target)
    except (OSError, CancelledWorkError):
        remove(building)
        raise
    files.sync_folder(one.target.parent)
    failpoint("retry: shown")
    remove(one.source)


def _moves(item: Claimed, original: Path) -> Sequence[_Move]:
    """Each entry; a marker comes last, as it did."""
    if not item.members:
        return [_Move(source=original, target=item.folder / os.fsdecode(item.paths[0]))]
    return [
        _Move(source=original / path, target=item.folder / path)
        for path in map(os.fsdecode, item.members)
    ]
