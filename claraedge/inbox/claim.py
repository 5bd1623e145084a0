"""Takes an entry out of the inbox, so that it ends in inodes that the daemon owns.

The claim is in the rows before this begins. Every step is found again on the disk, so that `secure`
may be called anew after a crash at any of them:

    in the inbox -> raw (one rename) -> own (copies, where others could write to it)
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from claraedge import files
from claraedge.blocking import CancelFlag
from claraedge.delivery.spool import Spool
from claraedge.delivery.trees import copy_tree, remove
from claraedge.inbox.model import Claimed
from claraedge.inbox.survey import Survey, name_fault, survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """It can be taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """It cannot be taken yet."""

    reason: str
    mend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """It was never taken, and is changed or gone: the claim is void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """Somebody wrote to it while it was taken; it lies in the spool and has to settle there."""

    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulty:
    """It can never become a job."""

    reason: str
    path: Path
    """Where it lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """It is ours and durable."""

    path: Path


Progress: TypeAlias = Held | Gone | Unsettled | Faulty | Secured


def judge(found: Survey, source: Path, user: str, *, folder_open: bool) -> Free | Held:
    """Whether all steps of a claim are permitted, looked at before the first of them. Pure.

    `folder_open`: entries of the folder that `source` lies in may be moved out by us. `user`: the
    name of the one that we act as, for the command that mends.
    """
    shown = shlex.quote(os.fsencode(source).decode("utf-8", "replace"))
    if not folder_open:
        where = shlex.quote(str(source.parent))
        return Held(
            reason="entries of its folder cannot be moved: the folder is another user's, and either"
            " we may not write to it or it is sticky",
            mend=f"sudo chown {shlex.quote(user)}: {where}",
        )
    if found.look.fault is not None:
        if found.is_folder and found.top_foreign and found.blocked == b"":
            return Held(
                reason=f"{found.look.fault}; and it cannot be moved: it is another user's folder",
                mend=f"sudo chown -R {shlex.quote(user)}: {shown}",
            )
        return Free()
    if found.blocked is None:
        return Free()
    what = repr(os.fsdecode(found.blocked)) + " in it" if found.blocked else "it"
    if not found.blocked_foreign:
        return Held(reason=f"{what} may not be read by its owner", mend=f"chmod -R u+rwX {shown}")
    return Held(
        reason=f"{what} belongs to another user and may not be read, or not be removed",
        mend=f"sudo chown -R {shlex.quote(user)}: {shown}",
    )


def folder_is_open(folder: Path, entry_foreign: bool, uid: int) -> bool:
    """Whether an entry of this folder may be renamed by us."""
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return False
    status = folder.stat()
    sticky = status.st_mode & stat.S_ISVTX and os.geteuid() != 0
    return not (sticky and entry_foreign and status.st_uid != uid)


def secure(
    flag: CancelFlag,
    item: Claimed,
    spool: Spool,
    uid: int,
    failpoint: Callable[[str], None],
) -> Progress:
    """Takes the steps that are left, and returns how far it came. Blocking.

    Raises OSError where the disk says no; nothing is lost then, and it may be called again.
    """
    own = spool.own(item.id, item.name)
    if os.path.lexists(own):
        files.sync_folder(own.parent.parent)
        _drop_raw(item, spool)
        return Secured(path=own)
    raw = _raw(item, spool)
    if raw is None:
        raw = _take(item, spool, uid, failpoint)
        if raw is None:
            return Gone()
    # Both must be durable before a job is: or a power cut shows the entry in the inbox again.
    files.sync_folder(raw.parent)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # then it shows nothing
        files.sync_folder(item.folder)
    failpoint("claim: taken")
    found = survey(raw, uid)
    # The item's own name: on another file system the entry has a hidden one by now.
    fault = found.look.fault or name_fault(item.name, folder=found.is_folder)
    if fault is not None:
        return Faulty(reason=fault, path=raw)
    if found.content != item.content:
        return Unsettled(content=found.content)
    if found.blocked is not None:  # it changed hands between the look and the rename
        return _held_in_spool(found, raw)
    if not found.to_copy and raw.parent != item.folder:
        files.sync_tree(raw) if found.is_folder else files.sync_file(raw)
        failpoint("claim: synced")
        return Secured(path=raw)
    new = spool.new(item.id, item.name)
    remove(new.parent)
    files.make_folders(new.parent)
    failpoint("claim: before copy")
    copy_tree(raw, new, link_own=uid, flag=flag)
    failpoint("claim: copied")
    after = survey(raw, uid)
    if after.content != found.content:
        return Unsettled(content=after.content)
    new.parent.rename(own.parent)
    files.sync_folder(own.parent.parent)
    failpoint("claim: own")
    _drop_raw(item, spool)
    failpoint("claim: raw removed")
    return Secured(path=own)


def _raw(item: Claimed, spool: Spool) -> Path | None:
    for raw in (spool.raw(item.id, item.name), spool.hidden(item.id, item.folder)):
        if os.path.lexists(raw):
            return raw
    return None


def _take(item: Claimed, spool: Spool, uid: int, failpoint: Callable[[str], None]) -> Path | None:
    """Moves the entry out of everybody's way, by one rename; None where it is not as it was."""
    source = item.source
    try:
        found = survey(source, uid)
    except FileNotFoundError:
        return None
    if found.look.fingerprint != item.fingerprint:
        return None
    raw = spool.raw(item.id, item.name)
    files.make_folders(raw.parent)
    failpoint("claim: before rename")
    if found.closed:
        source.chmod(stat.S_IMODE(source.lstat().st_mode) | stat.S_IRWXU)
    try:
        source.rename(raw)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raw = spool.hidden(item.id, item.folder)
        source.rename(raw)
    failpoint("claim: renamed")
    return raw


def _drop_raw(item: Claimed, spool: Spool) -> None:
    raw = _raw(item, spool)
    if raw is not None:
        remove(raw)
        files.sync_folder(raw.parent)


def _held_in_spool(found: Survey, raw: Path) -> Held:
    held = judge(found, raw, str(os.geteuid()), folder_open=True)
    assert isinstance(held, Held)
    return held
