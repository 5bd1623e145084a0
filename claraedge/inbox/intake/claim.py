"""Moves an entry out of the inbox into the spool, so that only the daemon can write to its inodes.

The claim is recorded in the database before this begins. Each step can be recognised on the disk,
so that `secure` may be called again after a crash at any of them:

    in the inbox -> raw (a rename of each entry) -> own (copies, where others could write to it)

The entries of a group are gathered in one folder. Once the first of them is moved, the claim is not
undone any more: a change of the others is detected afterwards, and the group settles in the spool.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from claraedge import failpoints
from claraedge.blocking import CancelFlag
from claraedge.fs import extras, files
from claraedge.fs.mounts import mount_of
from claraedge.fs.removal import remove
from claraedge.fs.trees import copy_tree
from claraedge.fs.trusted import open_folder, opened
from claraedge.fs.walking import placed
from claraedge.inbox.inspection.permissions import Blocked, judge, located
from claraedge.inbox.inspection.survey import Survey, Surveyor, name_fault
from claraedge.inbox.inspection.writers import Devices
from claraedge.inbox.intake.results import Faulty, Gone, ItemResult, Unsettled
from claraedge.inbox.intake.unsynced import Unsynced
from claraedge.inbox.model import Claimed, shown
from claraedge.spool.spool import Spool

#: Most folders of one group that are kept open while it is gathered.
_FOLDERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """The entry belongs to the daemon alone, and lies at `path` in the spool."""

    path: Path
    survey: Survey
    """What it consists of, with its list of files."""


def secure(
    flag: CancelFlag,
    item: Claimed,
    spool: Spool,
    unsynced: Unsynced,
    surveyor: Surveyor,
    *,
    devices: Devices,
) -> Secured | ItemResult:
    """Does the remaining steps of a claim, and returns how far it got. Blocking.

    The folder of the raw entry exists, and is durable. What is secured is durable, except for what
    is noted in `unsynced`. Sync that before the job is recorded, or the entry may be in the inbox
    again after a power cut. Raises OSError where the disk fails; nothing is lost then, and the call
    may be repeated.
    """
    own = spool.own(item.id, item.name)
    if os.path.lexists(own):
        return _own(item, spool, surveyor)
    raw = _raw(item, spool)
    if raw is None and (unmounted := _unmounted(item, spool)) is not None:
        return unmounted
    if raw is None or item.members:
        raw = _move_from_inbox(item, raw, spool, surveyor)
        if raw is None:
            return Gone()
    if raw.parent != item.folder:
        unsynced.add(raw.parent, spool.root)
    failpoints.reach("claim: taken")
    found = survey_moved(item, raw, surveyor, devices, listed=True)
    # Checks the item's own name: on another file system the entry has a hidden name by now.
    fault = (
        item.options.fault or found.reading.fault or name_fault(item.name, folder=found.is_folder)
    )
    if not fault and not item.options.lenient:
        fault = missing_members(item, raw)
    if fault:
        unsynced.sync(flag)
        return Faulty(reason=fault, path=raw)
    if found.content != item.content or found.reading.written:
        return Unsettled(content=found.content)
    if found.blocked is not None:  # its owner or mode changed between inspection and rename
        return _blocked_in_spool(found, raw)
    if not found.to_copy and raw.parent != item.folder:
        unsynced.add_tree(raw, found.listing)
        failpoints.reach("claim: checked")
        return Secured(path=raw, survey=found)
    if item.members and raw.parent == item.folder:
        files.sync_tree(raw)  # in this thread: a dead share blocks no other item
    elif item.members:
        unsynced.add_tree(raw, found.listing)
    unsynced.sync(flag)  # before the copy exists, which marks the raw entry as done
    new = spool.new(item.id, item.name)
    remove(new.parent)
    files.make_folders(new.parent)
    failpoints.reach("claim: before copy")
    try:
        copy_tree(raw, new, link_own=surveyor.uid, flag=flag)
    except OSError:
        with contextlib.suppress(OSError):  # a partial copy must not keep a full disk full
            remove(new.parent)
        raise
    failpoints.reach("claim: copied")
    after = survey_moved(item, raw, surveyor)
    if after.content != found.content:
        return Unsettled(content=after.content)
    new.parent.rename(own.parent)
    return _own(item, spool, surveyor)


def _own(item: Claimed, spool: Spool, surveyor: Surveyor) -> Secured:
    """Removes the raw entry, of which there is a complete copy."""
    own = spool.own(item.id, item.name)
    files.sync_folder(spool.root)
    failpoints.reach("claim: own")
    _drop_raw(item, spool)
    failpoints.reach("claim: raw removed")
    # All of it, whatever names the members of a group have here: some may have been refused.
    return Secured(path=own, survey=surveyor.tree(own, listed=True))


def survey_moved(
    item: Claimed,
    path: Path,
    surveyor: Surveyor,
    devices: Devices | None = None,
    *,
    listed: bool = False,
) -> Survey:
    """Surveys an item that lies at `path` in the spool. Raises FileNotFoundError.

    `devices` and `listed`: as in `survey`.
    """
    if item.members:
        return surveyor.all(path, item.members, devices, listed=listed)
    return surveyor.tree(path, devices, listed=listed)


def missing_members(item: Claimed, path: Path) -> str:
    """Returns a text about the members of a group that are missing at `path`, or ''."""
    gone = [one for one in item.members if not os.path.lexists(path / os.fsdecode(one))]
    if not gone:
        return ""
    more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
    return (
        f"{len(item.members) - len(gone)} of {len(item.members)} files: '{shown(gone[0])}'{more}"
        " was moved or removed before it was read"
    )


def _raw(item: Claimed, spool: Spool) -> Path | None:
    for raw in (spool.raw(item.id, item.name), spool.hidden(item.id, item.folder)):
        if os.path.lexists(raw):
            return raw
    return None


def _move_from_inbox(
    item: Claimed, raw: Path | None, spool: Spool, surveyor: Surveyor
) -> Path | None:
    """Moves the entries out of the inbox, and returns where they are; None where they changed.

    `raw`: the folder in which a group is gathered already.
    """
    if not item.members:
        return _move_single(item, spool, surveyor)
    if raw is None or not _any_in(raw, item):
        try:
            found = surveyor.all(item.folder, item.members)
        except FileNotFoundError:
            return None
        if found.reading.fingerprint != item.fingerprint:
            return None
    if raw is not None and raw.parent == item.folder:
        return _gather_hidden(item, raw, spool)
    return _gather(item, raw or spool.raw(item.id, item.name), spool)


def _move_single(item: Claimed, spool: Spool, surveyor: Surveyor) -> Path | None:
    """Moves an entry that is an item alone, as `_move_from_inbox` does."""
    try:
        with placed(item.folder, item.paths[0]) as source:
            if surveyor.tree(source).reading.fingerprint != item.fingerprint:
                return None
            failpoints.reach("claim: before rename")
            _open_up(source)
            moved = _move_out(item, source, spool.raw(item.id, item.name), spool)
    except (FileNotFoundError, NotADirectoryError):
        return None
    failpoints.reach("claim: renamed")
    return moved


def _open_up(source: Path) -> None:
    """Makes a folder of ours writable for us, since a read-only folder cannot be moved."""
    status = source.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IWUSR:
        return
    if status.st_uid == os.geteuid():
        descriptor = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            extras.set_mode(descriptor, stat.S_IMODE(status.st_mode) | stat.S_IRWXU)
        finally:
            os.close(descriptor)


def _gather(item: Claimed, into: Path, spool: Spool) -> Path | None:
    """Moves the remaining members of a group into the folder `into`, and returns that folder.

    A name that was moved already and exists again belongs to another entry. The folders that the
    entries lie in are opened first, so that nothing is missed if one is renamed meanwhile. None
    where no member is left at all.
    """
    files.make_folders(into)
    failpoints.reach("claim: before gathering")
    with _opened(item) as folders:
        for path in item.members:
            target = into / os.fsdecode(path)
            if os.path.lexists(target):
                continue
            files.make_folders(target.parent)
            folder, _, name = path.rpartition(b"/")
            try:
                if folder in folders:
                    _rename_out(Path(f"/proc/self/fd/{folders[folder]}", os.fsdecode(name)), target)
                else:
                    with placed(item.folder, path) as source:
                        _rename_out(source, target)
            except (FileNotFoundError, NotADirectoryError):
                continue  # somebody removed or renamed it again
            except OSError as error:
                hidden = spool.hidden(item.id, item.folder)
                if error.errno != errno.EXDEV or into.name == hidden.name or _any_in(into, item):
                    raise
                remove(into)
                _note_where(item, spool)
                return _gather_hidden(item, hidden, spool)
            failpoints.reach("claim: gathered one")
    if _any_in(into, item):
        return into
    remove(into)  # it may lie in the inbox, under its hidden name
    return None


def _gather_hidden(item: Claimed, hidden: Path, spool: Spool) -> Path | None:
    """Gathers a group in a hidden folder of the trigger's folder, which is kept open meanwhile."""
    with opened(item.folder) as folder:
        found = _gather(item, folder / hidden.name, spool)
    return None if found is None else hidden


@contextlib.contextmanager
def _opened(item: Claimed) -> Iterator[dict[bytes, int]]:
    """Opens folders that members of a group lie in, at most _FOLDERS: path -> descriptor."""
    folders: dict[bytes, int] = {}
    try:
        for path in sorted({path.rpartition(b"/")[0] for path in item.members})[:_FOLDERS]:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                folders[path] = open_folder(item.folder, path)
        yield folders
    finally:
        for descriptor in folders.values():
            os.close(descriptor)


def _rename_out(source: Path, target: Path) -> None:
    _open_up(source)
    source.rename(target)


def _any_in(folder: Path, item: Claimed) -> bool:
    return any(os.path.lexists(folder / os.fsdecode(path)) for path in item.members)


def _move_out(item: Claimed, source: Path, target: Path, spool: Spool) -> Path:
    """Renames an entry into the spool, and returns where it is then.

    On another file system than the spool's, it gets a hidden name in the trigger's folder instead.
    """
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _note_where(item, spool)
        hidden = spool.hidden(item.id, item.folder)
        with opened(item.folder) as folder:  # by descriptor: a swapped folder has no effect
            source.rename(folder / hidden.name)
        return hidden
    return target


def _note_where(item: Claimed, spool: Spool) -> None:
    """Notes the mount point of an item's folder, before the item is hidden there.

    Its disk may not be mounted after a restart; `_unmounted` recognises that by the note.
    """
    mount = mount_of(item.folder)
    if mount is not None:
        files.replace(spool.mount_note(item.id), mount.point)
        files.sync_folder(spool.root)


def _unmounted(item: Claimed, spool: Spool) -> Blocked | None:
    """Returns why an entry hidden in its folder may still exist, although it is not found there.

    That is so while the disk of the folder is not mounted. None: the entry is really gone.
    """
    note = spool.mount_note(item.id)
    try:
        known = note.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not known.startswith(b"/") or b"\0" in known:
        return Blocked(
            reason=f"{note}, which says where the disk of {item.folder} is mounted, is damaged; see"
            " that the disk is mounted, then remove that file",
            remedy=f"rm {shlex.quote(str(note))}",
        )
    try:
        mount = mount_of(item.folder)
    except (FileNotFoundError, NotADirectoryError):
        mount = None
    else:
        if mount is None or mount.point == known:
            return None
    where = os.fsdecode(known)
    return Blocked(
        reason=f"claraedge hid it in {item.folder} to copy it, and the disk of that folder is not"
        f" mounted any more (at {where}): mount it again; if that disk is lost, remove"
        f" {note}",
        remedy=f"sudo mount {shlex.quote(where)}",
    )


def _drop_raw(item: Claimed, spool: Spool) -> None:
    raw = _raw(item, spool)
    if raw is not None:
        with opened(raw.parent) as above:
            remove(above / raw.name)
            files.sync_folder(above)


def _blocked_in_spool(found: Survey, raw: Path) -> Blocked:
    verdict = judge(found, str(os.geteuid()), folder_open=True)
    assert isinstance(verdict, Blocked)
    return located(verdict, raw)
