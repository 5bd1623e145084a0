"""Drops: a client starts one for a trigger's folder, sends its files, and finishes it.

    drops/<id>/drop.json    which folder it is for, and how far it got
    drops/<id>/files/       the files that arrived, under their names
    drops/uploads/<id>/     unfinished uploads, as those into payloads

Nothing appears before the drop is finished: a study of 500 files, of which some were seen early,
would be two jobs, or one without a part. None of this is in the database, as with uploads.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from claraedge.blocking import in_cancellable_thread, in_folder_thread, in_thread, to_its_end
from claraedge.bugs import known, words
from claraedge.clock import Clock, boot_id
from claraedge.decoding import decode_json
from claraedge.errors import (
    DropNotFoundError,
    DropStateError,
    FolderClosedError,
    InvalidRequestError,
    NameTakenError,
    TooManyUploadsError,
    TriggerNotFoundError,
)
from claraedge.formats.filenames import Names
from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.ids import NewId
from claraedge.inbox.drops import publishing
from claraedge.inbox.drops.names import checked
from claraedge.inbox.inbox import Inbox
from claraedge.inbox.model import shown
from claraedge.inbox.shares import StalledError, StillBusyError
from claraedge.inbox.triggers.naming import is_marker
from claraedge.inbox.triggers.triggers import Trigger, Triggers
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.records import Condition
from claraedge.payloads.resumable import LIFE, ResumableUploads
from claraedge.payloads.uploads import BlockedBy, refuse_blocked

_log = logging.getLogger(__name__)

#: Most drops that are unfinished, and finished ones that are remembered.
MOST = 256

_RECORD, _UPLOADS = "drop.json", "uploads"


class DropRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the disk has of a drop, besides its files."""

    folder: str
    """The trigger's folder, an absolute path."""
    begun: bool = False
    """Files may be hidden in the folder, or have appeared there."""
    mount: str = ""
    """Where the disk of the folder was mounted then; empty: unknown."""
    finished: bool = False
    files: int = 0
    size: int = 0
    """Number of its files, and their bytes; known once it is begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropState:
    """Where a drop stands."""

    id: str
    folder: str
    """The trigger's folder, as `DropFolder.name`."""
    files: int
    """Files that have arrived."""
    size: int
    """Their bytes."""
    uploads: int
    """Uploads that are not finished."""
    expires: float
    """Unix seconds at which it ends without activity."""
    finished: bool
    """Its files have appeared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropFolder:
    """A trigger's folder that files may be dropped into."""

    name: str
    """The path below the inbox; elsewhere an absolute one."""
    trigger: Trigger
    refused: str
    """Why no file can be put into it now; empty: files can."""


class _Drop:
    __slots__ = (
        "files", "folder", "id", "lock", "place", "record", "seen", "size", "touched",
    )  # fmt: skip

    def __init__(self, folder: Path, record: DropRecord, *, touched: float, seen: float) -> None:
        self.id = folder.name
        self.folder = folder
        self.record = record
        self.files, self.size = record.files, record.size
        self.touched = touched
        """Unix seconds of its last activity."""
        self.seen = seen
        """The same in BOOTTIME seconds, or when this daemon began."""
        self.lock = asyncio.Lock()
        self.place: tuple[Trigger, Triggers] | None = None
        """Its trigger, and the others; None: not read in this start yet."""

    @property
    def target(self) -> Path:
        """The trigger's folder."""
        return Path(self.record.folder)

    def save(self, record: DropRecord) -> None:
        """Writes its record durably; blocks."""
        files.replace(self.folder / _RECORD, msgspec.json.encode(record))
        self.record = record


class Drops:
    """The drops of clients, which are also the destination of their uploads."""

    ended = (DropNotFoundError, DropStateError)

    def __init__(
        self,
        state: Path,
        inbox: Inbox,
        names: Names,
        clock: Clock,
        new_id: NewId,
        blocked_by: BlockedBy,
    ) -> None:
        """`blocked_by` returns why no upload may continue; None where it may."""
        self._root = state / "drops"
        self._inbox = inbox
        self._names = names
        self._clock = clock
        self._new_id = new_id
        self._blocked_by = blocked_by
        self._drops: dict[str, _Drop] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.uploads = ResumableUploads(
            self._root / _UPLOADS, self, clock, new_id, blocked_by, boot_id()
        )

    async def prepare(self) -> None:
        """Prepares the start: finds the drops of before, and their uploads."""
        for drop in await in_thread(self._found):
            self._drops[drop.id] = drop
        await self.uploads.prepare()
        await self.uploads.discard(
            {one.place for one in self.uploads.into(None)} - set(self._drops)
        )

    def _found(self) -> list[_Drop]:
        files.make_folders(self._root / _UPLOADS)
        found = []
        for folder in sorted(self._root.iterdir()):
            if folder.name == _UPLOADS:
                continue
            try:
                path = folder / _RECORD
                record = decode_json(path.read_bytes(), DropRecord)
                touched = path.stat().st_mtime
            except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
                remove(folder)  # its start was never answered
                continue
            drop = _Drop(folder, record, touched=touched, seen=self._clock.elapsed())
            if not publishing.is_moved(folder):
                drop.files, drop.size = publishing.measured(folder)
            found.append(drop)
        return found

    async def run(self) -> None:
        """Ends the drops that an earlier run began to move; then waits for its cancellation."""
        for drop in list(self._drops.values()):
            if not drop.record.finished and await in_thread(publishing.is_moved, drop.folder):
                await self._try(drop)
        await asyncio.Event().wait()

    async def _try(self, drop: _Drop) -> None:
        try:
            await to_its_end(self._finish(drop))
        except Exception as error:  # noqa: BLE001 - it fails alone
            _log.warning(
                "the drop %s, of which some files may have appeared in %s, cannot be ended (%s); it"
                " is tried again later, or when its client finishes it again",
                drop.id,
                drop.record.folder,
                words(known(error, f"the drop {drop.id}")),
            )

    # --- folders ------------------------------------------------------------------------------

    async def folders(self) -> Sequence[DropFolder]:
        """Returns the folders that files may be dropped into, ordered by name."""
        layout = await self._inbox.layout()
        named = [(_name(one, layout.root), one) for one in layout.triggers.values()]
        # At the same time: each folder of a share that is gone keeps its caller for seconds.
        refused = await asyncio.gather(*(self._refused(one.folder) for _, one in named))
        found = [
            DropFolder(name=name, trigger=one, refused=why)
            for (name, one), why in zip(named, refused, strict=True)
            if name is not None
        ]
        return sorted(found, key=lambda one: one.name)

    async def _refused(self, folder: Path) -> str:
        if (why := self._blocked_by()) is not None:
            return f"no file is taken now: {why}; free some space, or wait for it"
        try:
            return await self._inbox.shares.ask(folder, publishing.closed, folder)
        except StillBusyError:
            return ""  # the next step finds out
        except StalledError as error:
            return f"{error.strerror}"

    async def _place(self, drop: _Drop) -> tuple[Trigger, Triggers]:
        """Returns the trigger of a drop, and all of them. Raises TriggerNotFoundError."""
        if drop.place is None:
            layout = await self._inbox.layout()
            trigger = layout.triggers.get(os.fsencode(drop.target))
            if trigger is None:
                raise TriggerNotFoundError(
                    f"no trigger accepts files from {drop.record.folder} any more, so the drop"
                    f" {drop.id} cannot be finished; configure one again, or cancel the drop"
                )
            drop.place = trigger, layout
        return drop.place

    # --- drops --------------------------------------------------------------------------------

    async def start(self, folder: str) -> DropState:
        """Starts a drop into a folder, which has the name that `folders` returns.

        Raises TriggerNotFoundError, FolderClosedError, StorageFullError, and TooManyUploadsError.
        """
        await self.expire(None)
        refuse_blocked(self._blocked_by)
        layout = await self._inbox.layout()
        found = [one for one in layout.triggers.values() if _name(one, layout.root) == folder]
        if not folder or not found:
            raise TriggerNotFoundError(
                f"there is no trigger for the folder {folder!r}; Inbox.ListTriggers returns those"
                " there are"
            )
        if why := await self._refused(found[0].folder):
            raise FolderClosedError(f"the folder {folder!r} accepts no files now: {why}")
        done = [one for one in self._drops.values() if one.record.finished]
        if len(self._drops) - len(done) >= MOST:
            raise TooManyUploadsError(
                f"{MOST} drops are unfinished, which is the most at a time; finish or cancel some"
            )
        for old in done[: len(done) - MOST + 1] if len(done) >= MOST else ():
            await self._remove(old)
        drop = _Drop(
            self._root / self._new_id(),
            DropRecord(folder=str(found[0].folder)),
            touched=self._clock.now(),
            seen=self._clock.elapsed(),
        )
        drop.place = found[0], layout
        await in_thread(_make, drop)
        self._drops[drop.id] = drop
        return self._state(drop)

    def get(self, drop: str) -> DropState:
        """Returns where a drop stands, also a finished one. Raises DropNotFoundError."""
        return self._state(self._find(drop))

    async def finish(self, drop: str) -> DropState:
        """Makes all files of a drop appear in its folder; of a finished one, does nothing.

        Runs to its end, even if the caller is cancelled. Raises DropNotFoundError, DropStateError
        if a file is not whole or there is none, NameTakenError, FolderClosedError, and
        TriggerNotFoundError; OSError if the disk is full.
        """
        return await to_its_end(self._finish(self._find(drop)))

    async def _finish(self, drop: _Drop) -> DropState:
        async with drop.lock:
            self._find(drop.id)  # it may be cancelled meanwhile
            if drop.record.finished:
                return self._state(drop)
            self._touch(drop)
            if waiting := self.uploads.into(drop.id):
                raise DropStateError(
                    f"{len(waiting)} files of the drop {drop.id} are not whole, such as"
                    f" {waiting[0].name!r}; continue or cancel their uploads, then finish it"
                )
            if not drop.files:
                raise DropStateError(
                    f"the drop {drop.id} has no file; send one before its end, or cancel the drop"
                )
            trigger, _ = await self._place(drop)
            try:
                await self._publish(drop, trigger)
            except FileExistsError as error:
                raise _taken(drop, error.filename) from error
            except OSError as error:
                if files.is_full(error):
                    raise
                raise FolderClosedError(
                    f"the drop {drop.id} cannot be put into {drop.record.folder} now"
                    f" ({error.strerror or error}); see that claraedge can write there, then finish"
                    " it again"
                ) from error
        return self._state(drop)

    async def _publish(self, drop: _Drop, trigger: Trigger) -> None:
        mount = await in_folder_thread(publishing.mount_point, drop.target)
        moved = await in_thread(publishing.is_moved, drop.folder)
        if moved and drop.record.mount not in ("", mount):
            raise OSError(errno.ENODEV, f"its disk is not mounted any more at {drop.record.mount}")
        if not moved:
            record = msgspec.structs.replace(
                drop.record, begun=True, mount=mount, files=drop.files, size=drop.size
            )
            await in_thread(drop.save, record)
        await in_folder_thread(
            publishing.publish,
            drop.folder,
            drop.target,
            merge=trigger.deep,
            is_last=partial(is_marker, trigger.rule),
        )
        await in_thread(drop.save, msgspec.structs.replace(drop.record, finished=True))
        with contextlib.suppress(OSError):  # its end removes it as well
            await in_thread(_remove_copied, drop.folder)

    async def cancel(self, drop: str) -> None:
        """Ends a drop, and removes what has arrived.

        Raises DropNotFoundError, DropStateError if it is finished, and FolderClosedError if a part
        of it is hidden in its folder and cannot be removed.
        """
        one = self._find(drop)
        async with one.lock:
            self._find(drop)
            if one.record.finished:
                raise DropStateError(
                    f"the drop {drop} is finished: its files are in {one.record.folder}; take them"
                    " out there, or cancel their jobs"
                )
            try:
                await self._remove(one)
            except OSError as error:
                raise FolderClosedError(
                    f"a part of the drop {drop} is hidden in {one.record.folder} and cannot be"
                    f" removed now ({error.strerror}); try again once that folder can be written"
                ) from error

    async def expire(self, wall: float | None) -> None:
        """Removes the drops that had no activity for `LIFE`; those that have begun are ended.

        `wall`: Unix seconds now; None where that clock may be wrong.
        """
        await self.uploads.expire(wall)
        now = self._clock.elapsed()
        for drop in list(self._drops.values()):
            old = now - drop.seen >= LIFE or (wall is not None and wall - drop.touched >= LIFE)
            if not old or drop.lock.locked() or self.uploads.into(drop.id):
                continue
            task = asyncio.create_task(self._end(drop))  # its folder may not answer
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _end(self, drop: _Drop) -> None:
        if not drop.record.finished and await in_thread(publishing.is_moved, drop.folder):
            await self._try(drop)
            return
        async with drop.lock:
            with contextlib.suppress(OSError):  # the next turn tries again
                await self._remove(drop)

    async def _remove(self, drop: _Drop) -> None:
        """Removes a drop, and what of it is hidden in its folder. Raises OSError."""
        hidden = drop.target if drop.record.begun and not drop.record.finished else None
        await in_folder_thread(publishing.discard, drop.folder, hidden)
        self._drops.pop(drop.id, None)
        await self.uploads.discard({drop.id})

    # --- uploads into drops -------------------------------------------------------------------

    async def accept(self, place: str, name: str) -> str:
        """Returns the path below the drop folder under which a file will appear.

        Raises DropNotFoundError, DropStateError, InvalidFileNameError, FileNotTakenError,
        NameTakenError if the drop or its folder has that name, FolderClosedError, and
        TriggerNotFoundError.
        """
        await self.refuse_ended(place)
        drop = self._find(place)
        trigger, layout = await self._place(drop)
        stored = checked(trigger, layout, name, self._names)
        for one in self.uploads.into(place):
            if one.name == stored:
                raise NameTakenError(
                    f"the upload {one.id} sends the file {stored!r} of the drop {place} already;"
                    " continue it, or cancel it"
                )
        if await in_thread(os.path.lexists, publishing.tree_of(drop.folder) / stored):
            raise _twice(place, stored)
        with contextlib.suppress(StillBusyError):  # its end finds out
            try:
                taken = await self._inbox.shares.ask(
                    drop.target, publishing.exists, drop.target, stored, merge=trigger.deep
                )
            except StillBusyError:
                raise
            except OSError as error:
                raise FolderClosedError(
                    f"{drop.record.folder} cannot be read now ({error.strerror}); see that it is"
                    " there, then try again"
                ) from error
            if taken:
                raise _taken(drop, stored if trigger.deep else stored.partition("/")[0])
        return stored

    async def refuse_ended(self, place: str) -> None:
        """Raises DropNotFoundError, or DropStateError if the drop accepts no files any more."""
        drop = self._find(place)
        if drop.record.finished or await in_thread(publishing.is_moved, drop.folder):
            raise DropStateError(
                f"the drop {place} is finished and accepts no files any more; start another one"
            )
        self._touch(drop)

    async def publish(
        self, place: str, file: PayloadFile, data: Path, condition: Condition
    ) -> tuple[PayloadFile, bool]:
        """Stores a whole file in its drop, as `Destination.publish` says.

        Raises what `refuse_ended` raises, InvalidRequestError for the ETag of a file to replace,
        and NameTakenError.
        """
        if condition.etag:
            raise InvalidRequestError(
                f"the file {file.name!r} of the drop {place} replaces no other one; leave `if_etag`"
                " out"
            )
        drop = self._find(place)
        async with drop.lock:
            await self.refuse_ended(place)
            try:
                await in_cancellable_thread(
                    publishing.store, drop.folder, file.name, file.mode, data
                )
            except (FileExistsError, NotADirectoryError) as error:
                raise _twice(place, file.name) from error
            drop.files += 1
            drop.size += file.size
            self._touch(drop)
            with contextlib.suppress(OSError):  # a start counts its day from this time
                await in_thread(os.utime, drop.folder / _RECORD, (drop.touched, drop.touched))
        return replace(file, blob=file.name.encode()), False

    def _touch(self, drop: _Drop) -> None:
        drop.touched, drop.seen = self._clock.now(), self._clock.elapsed()

    def _find(self, drop: str) -> _Drop:
        one = self._drops.get(drop)
        if one is None:
            raise DropNotFoundError(
                f"there is no drop {drop}; it may be cancelled, or without activity for a day:"
                " start a new one"
            )
        return one

    def _state(self, drop: _Drop) -> DropState:
        root = self._inbox.root
        return DropState(
            id=drop.id,
            folder=_below(drop.target, root),
            files=drop.files,
            size=drop.size,
            uploads=len(self.uploads.into(drop.id)),
            expires=drop.touched + LIFE,
            finished=drop.record.finished,
        )


def _make(drop: _Drop) -> None:
    files.make_folders(publishing.tree_of(drop.folder))
    drop.save(drop.record)


def _remove_copied(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != _RECORD:
            remove(path)


def _below(folder: Path, root: Path) -> str:
    return str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)


def _name(trigger: Trigger, root: Path) -> str | None:
    """Returns the name of a trigger's folder; None for one that nothing can be dropped into."""
    if trigger.folder == root and not trigger.rule.pipeline:
        return None
    name = _below(trigger.folder, root)
    return name if name.isprintable() else None


def _taken(drop: _Drop, name: str) -> NameTakenError:
    return NameTakenError(
        f"{drop.record.folder} has a file or folder '{shown(os.fsencode(name))}' already, which is"
        " never replaced; wait until it is taken, move it to another place, or send yours under"
        " another name"
    )


def _twice(drop: str, name: str) -> NameTakenError:
    return NameTakenError(
        f"the drop {drop} has the file {name!r} already, or a file or folder in its way; send yours"
        " under another name"
    )
