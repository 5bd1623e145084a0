"""Whether the user that the daemon runs as may take an entry, and what helps where it may not.

No suggested command works on the path of an entry: whoever may write to a folder above it could
redirect that path, and an administrator would run the command. `claraedge adopt` works by
descriptors instead.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from claraedge.fs.adopting import Thing
from claraedge.inbox.inspection.survey import Survey

#: What `claraedge adopt` has to give to the daemon's user: the entry, or the folder it lies in.
What: TypeAlias = Literal["entry", "folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Free:
    """The entry can be taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """The entry is blocked: it cannot be taken yet."""

    reason: str
    remedy: str = ""
    adopt: What | None = None
    """What has to be given to the daemon's user; None: that would not help."""
    thing: Thing | None = None
    """The same as an exact place, where `claraedge adopt` can give it."""

    def remedy_of(self, item: str) -> str:
        """Returns the command that removes the cause, for the item of this id, or ''."""
        return self.remedy if self.thing is None else f"sudo claraedge adopt {item}"


def judge(found: Survey, user: str, *, folder_open: bool) -> Free | Blocked:
    """Decides, before the first step of a claim, whether all of them are permitted. Pure.

    `folder_open`: we may move entries out of the folder that it lies in. `user`: the name of the
    user that we act as.
    """
    if not folder_open:
        return Blocked(
            reason=f"the user {user} cannot move it out of its folder: the folder belongs to"
            " another user, and does not let others write, or has the sticky bit",
            adopt="folder",
        )
    if found.reading.fault is not None:
        if found.is_folder and found.top_foreign and found.blocked == b"":
            return Blocked(
                reason=f"{found.reading.fault}; and it cannot be moved: the folder is another"
                " user's",
                adopt="entry",
            )
        return Free()
    if found.blocked is None:
        return Free()
    what = repr(os.fsdecode(found.blocked)) + " in it" if found.blocked else "it"
    if not found.blocked_foreign:
        return Blocked(
            reason=f"{what} cannot be read: its permissions do not allow it", adopt="entry"
        )
    return Blocked(
        reason=f"{what} belongs to another user, and claraedge cannot read or remove it",
        adopt="entry",
    )


def located(blocked: Blocked, entry: Path) -> Blocked:
    """Adds to a blocked entry what `claraedge adopt` can give, or advice where it cannot. Blocking.

    `entry` must lie in a folder that `placed` opened, or in one of ours.
    """
    folder = Path(os.path.realpath(entry.parent))
    if blocked.adopt is None:
        return blocked
    at = folder if blocked.adopt == "folder" else folder / entry.name
    if not any(one.stat().st_uid == os.geteuid() for one in at.parents):
        return replace(
            blocked,
            reason=f"{blocked.reason}; let its owner open it to a group of claraedge's user, or"
            " drop into a folder that claraedge's user owns",
        )
    status = entry.parent.stat() if blocked.adopt == "folder" else entry.lstat()
    thing = Thing(
        path=os.fsencode(at),
        device=status.st_dev,
        inode=status.st_ino,
        alone=blocked.adopt == "folder",
    )
    return replace(blocked, thing=thing)


def folder_is_open(folder: Path, entry_foreign: bool, uid: int) -> bool:
    """Whether we may rename an entry of this folder: by its mode, owner and sticky bit."""
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        return False
    status = folder.stat()
    sticky = status.st_mode & stat.S_ISVTX and os.geteuid() != 0
    return not (sticky and entry_foreign and status.st_uid != uid)
