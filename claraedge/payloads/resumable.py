"""Uploads that their client may continue, after a lost connection or a restart of the daemon.

    resumable/<id>/upload.json          what it is, and how much of it is certainly on the disk
    resumable/<id>/0                    its bytes; their number is the offset
    resumable/<id>/unchecked-<offset>   what follows the offset was not compared with its checksum

What a killed daemon had written to a file stays there, so its size is the offset. A power cut may
lose what was not synced, or leave other bytes there: after another boot, what was synced counts.
None of this is in the database, so an upload costs no commits, and other versions ignore it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread, wait_out
from claraedge.clock import Clock
from claraedge.decoding import decode_json
from claraedge.errors import (
    ClaraedgeError,
    InvalidRequestError,
    TooManyUploadsError,
    UploadNotFoundError,
    UploadOffsetError,
)
from claraedge.fs import files
from claraedge.fs.removal import remove
from claraedge.ids import NewId
from claraedge.payloads.model import PayloadFile, stored_mode
from claraedge.payloads.records import Condition
from claraedge.payloads.uploads import BlockedBy, refuse_blocked

_log = logging.getLogger(__name__)

#: Seconds without activity after which an upload ends.
LIFE = 86_400.0
#: Most uploads that are unfinished, and finished ones that are remembered.
MOST = 1024
#: Bytes that an upload of a client may say of itself.
MAX_NOTE = 4096

_RECORD, _DATA, _UNCHECKED = "upload.json", "0", "unchecked-"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What the disk has of an upload, besides its bytes."""

    place: str = msgspec.field(name="payload")
    """Id of the payload or drop that its file goes to."""
    name: str
    """The name under which its file will be stored."""
    mode: int
    size: int | None
    """Bytes of the whole file; None where the client did not say."""
    note: str
    """Text of the client."""
    boot: str
    """The boot in which its bytes were written."""
    synced: int = 0
    """Bytes that are certainly on the disk."""


class Open:
    """An unfinished upload."""

    __slots__ = (
        "bound", "folder", "id", "is_over", "lock", "offset", "record", "seen", "touched",
    )  # fmt: skip

    def __init__(
        self, upload: str, folder: Path, record: Record, *, offset: int, touched: float, seen: float
    ) -> None:
        self.id = upload
        self.folder = folder
        self.record = record
        self.offset = offset
        self.touched = touched
        """Unix seconds of its last activity."""
        self.seen = seen
        """The same in BOOTTIME seconds, or when this daemon began."""
        self.lock = asyncio.Lock()
        self.bound: asyncio.Timeout | None = None
        """Ends the newest call that works on it; None: there is none."""
        self.is_over = False
        """Its place was removed: it is removed too, once no call works on it."""

    @property
    def data(self) -> Path:
        """The file with its bytes."""
        return self.folder / _DATA

    def save(self) -> None:
        """Writes its record durably; blocks."""
        files.replace(self.folder / _RECORD, msgspec.json.encode(self.record))

    def begin_unchecked(self, offset: int) -> None:
        """Marks what is written from now on as not compared with its checksum; blocks."""
        (self.folder / f"{_UNCHECKED}{offset}").touch()

    def end_unchecked(self, offset: int, *, drop: bool) -> None:
        """Removes the mark, and with `drop` first what was written; blocks."""
        if drop:
            os.truncate(self.data, offset)
        (self.folder / f"{_UNCHECKED}{offset}").unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadState:
    """Where an upload stands."""

    id: str
    place: str
    """Id of the payload or drop that its file goes to."""
    name: str
    offset: int
    size: int | None
    note: str
    expires: float
    """Unix seconds at which it ends without activity."""
    finished: bool = False


class Destination(Protocol):
    """Where the files of finished uploads go: places with an id, such as payloads."""

    @property
    def ended(self) -> tuple[type[ClaraedgeError], ...]:
        """The errors by which a place says that it never accepts a file again."""

    async def accept(self, place: str, name: str) -> str:
        """Returns the name under which a file will be stored. Raises why it cannot be."""

    async def refuse_ended(self, place: str) -> None:
        """Raises an error of `ended` if the place accepts no file any more."""

    async def publish(
        self, place: str, file: PayloadFile, data: Path, condition: Condition
    ) -> tuple[PayloadFile, bool]:
        """Makes a whole file durable and visible; returns it, and whether it has replaced another.

        `file`: its name, size and mode. `data`: its bytes; the caller removes what is left there.
        """


class ResumableUploads:
    """The uploads that clients may continue. Use it on the event loop."""

    def __init__(
        self,
        root: Path,
        destination: Destination,
        clock: Clock,
        new_id: NewId,
        blocked_by: BlockedBy,
        boot: str,
    ) -> None:
        """`root`: the folder that has the uploads, which exists; `boot`: id of this boot."""
        self._root = root
        self._destination = destination
        self._clock = clock
        self._new_id = new_id
        self._blocked_by = blocked_by
        self.boot = boot
        self._open: dict[str, Open] = {}
        self._finished: dict[str, UploadState] = {}
        """The last ones, for clients that did not get the answer."""

    async def prepare(self) -> None:
        """Prepares the start: finds the uploads of before. Call it once blobs without a row are
        removed.
        """
        for one, finished in await in_thread(self._found):
            if finished:
                self._remember(one)
                await in_thread(remove, one.folder)
            else:
                self._open[one.id] = one

    def _found(self) -> list[tuple[Open, bool]]:
        """Returns what the disk has, cut to what is certain; and whether it is finished."""
        found = []
        for folder in sorted(self._root.iterdir()):
            try:
                record = decode_json((folder / _RECORD).read_bytes(), Record)
                status = (folder / _DATA).stat()
                # Its content has become a blob that a row names: only its removal was missing.
                finished = status.st_nlink > 1
                end = status.st_size if finished else self._cut(folder, record, status.st_size)
            except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
                remove(folder)  # its start was never answered
                continue
            except OSError as error:
                _log.warning(
                    "an upload cannot be continued, and is left as it is",
                    extra={"folder": str(folder), "error": str(error)},
                )
                continue
            one = Open(
                folder.name,
                folder,
                record,
                offset=end,
                touched=status.st_mtime,
                seen=self._clock.elapsed(),
            )
            found.append((one, finished))
        return found

    def _cut(self, folder: Path, record: Record, size: int) -> int:
        """Cuts the bytes to those that are certain; returns how many they are."""
        (folder / _DATA).chmod(0o600)  # its end may have been interrupted
        marks = list(folder.glob(f"{_UNCHECKED}*"))
        end = min([size, *(int(mark.name.removeprefix(_UNCHECKED)) for mark in marks)])
        if record.boot != self.boot:
            end = min(end, record.synced)
        if end < size:
            os.truncate(folder / _DATA, end)
        for mark in marks:
            mark.unlink()
        return end

    async def start(
        self, place: str, name: str, *, mode: int, size: int | None, note: str
    ) -> UploadState:
        """Starts an upload of one file: of `size` bytes, or of any number.

        Raises what `Destination.accept` raises, StorageFullError, InvalidRequestError, and
        TooManyUploadsError.
        """
        await self.expire(None)
        if size is not None and size < 0:
            raise InvalidRequestError(f"{size} is no size of a file; give its bytes, or no size")
        if len(note.encode()) > MAX_NOTE:
            raise InvalidRequestError(f"the note has more than {MAX_NOTE} bytes; shorten it")
        stored = await self._destination.accept(place, name)
        refuse_blocked(self._blocked_by)
        if len(self._open) >= MOST:
            raise TooManyUploadsError(
                f"{MOST} uploads are unfinished, which is the most at a time; finish or cancel some"
            )
        upload = self._new_id()
        one = Open(
            upload,
            self._root / upload,
            Record(
                place=place,
                name=stored,
                mode=stored_mode(mode),
                size=size,
                note=note,
                boot=self.boot,
            ),
            offset=0,
            touched=self._clock.now(),
            seen=self._clock.elapsed(),
        )
        self._open[upload] = one
        try:
            await in_cancellable_thread(_make, one)
        except BaseException:
            await self._drop(one)
            raise
        return _state(one)

    def get(self, upload: str) -> UploadState:
        """Returns where an upload stands, also a finished one. Raises UploadNotFoundError."""
        finished = self._finished.get(upload)
        return finished or _state(self._find(upload))

    def has(self, upload: str) -> bool:
        """Whether an upload is one of these, finished or not."""
        return upload in self._open or upload in self._finished

    async def all(self, place: str | None = None) -> Sequence[UploadState]:
        """Returns the unfinished uploads, into one place or all, the oldest first."""
        await self.expire(None)
        return self.into(place)

    def into(self, place: str | None) -> Sequence[UploadState]:
        """Returns the same without removing those that are too old."""
        return [_state(o) for o in self._open.values() if place in (None, o.record.place)]

    async def cancel(self, upload: str) -> None:
        """Ends an upload, and removes what has arrived. Raises UploadNotFoundError."""
        async with self.turn(upload) as one:
            await self._drop(one)

    async def expire(self, wall: float | None) -> None:
        """Removes the uploads that had no activity for `LIFE`.

        `wall`: Unix seconds now; None where that clock may be wrong.
        """
        now = self._clock.elapsed()
        for one in list(self._open.values()):
            old = now - one.seen >= LIFE or (wall is not None and wall - one.touched >= LIFE)
            if old and one.bound is None:
                await self._drop(one)

    async def discard(self, places: Collection[str]) -> None:
        """Removes the uploads into places that were removed."""
        for one in list(self._open.values()):
            if one.record.place in places:
                one.is_over = True
                if one.bound is None:
                    await self._drop(one)

    @asynccontextmanager
    async def turn(self, upload: str) -> AsyncGenerator[Open, None]:
        """Works alone on an upload. A call that did so before is ended, and all it read is kept:
        often its client has lost the connection, and continues on a new one.

        Raises UploadNotFoundError, and UploadOffsetError if a later call works on it.
        """
        one = self._find(upload)
        try:
            async with asyncio.timeout(None) as bound:
                before, one.bound = one.bound, bound
                if before is not None and not before.expired():
                    before.reschedule(asyncio.get_running_loop().time())
                async with one.lock:
                    self._find(upload)  # it may be over now
                    yield one
        except TimeoutError:
            if not bound.expired():
                raise
            raise UploadOffsetError(
                f"another call continues the upload {upload}, so this one is ended; ask for its"
                " offset, and continue there"
            ) from None
        finally:
            if one.bound is bound:
                one.bound = None
                if one.is_over:
                    await self._drop(one)
            one.touched, one.seen = self._clock.now(), self._clock.elapsed()

    async def refuse_ended(self, one: Open) -> None:
        """Raises what `Destination.refuse_ended` raises, and StorageFullError while the disk is
        low.
        """
        try:
            await self._destination.refuse_ended(one.record.place)
        except self._destination.ended:
            await self._drop(one)  # it can never be finished
            raise
        refuse_blocked(self._blocked_by)

    def refuse_blocked(self) -> None:
        """Raises StorageFullError while the disk is low."""
        refuse_blocked(self._blocked_by)

    async def finish(self, one: Open, condition: Condition) -> tuple[PayloadFile, bool]:
        """Makes the file durable and visible; returns it, and whether it has replaced another one.

        Runs to its end, even if the caller is cancelled. Raises what `Destination.publish` raises.
        """
        publishing = asyncio.create_task(self._publish(one, condition))
        try:
            return await asyncio.shield(publishing)
        except asyncio.CancelledError:
            await wait_out(publishing)
            raise

    async def _publish(self, one: Open, condition: Condition) -> tuple[PayloadFile, bool]:
        of = one.record
        file = PayloadFile(name=of.name, size=one.offset, mode=of.mode, blob=b"")
        try:
            published = await self._destination.publish(of.place, file, one.data, condition)
        except self._destination.ended:
            await self._drop(one)  # it can never be finished
            raise
        except Exception:
            await in_thread(_make_private, one)
            raise
        self._remember(one)
        await self._drop(one)
        return published

    def _find(self, upload: str) -> Open:
        one = self._open.get(upload)
        if one is None:
            raise UploadNotFoundError(
                f"there is no unfinished upload {upload}; it may be finished, cancelled, or without"
                " activity for a day: start a new one"
            )
        return one

    def _remember(self, one: Open) -> None:
        """Remembers an upload as finished, instead of the oldest such one."""
        self._finished[one.id] = _state(one, finished=True)
        if len(self._finished) > MOST:
            del self._finished[next(iter(self._finished))]

    async def _drop(self, one: Open) -> None:
        """Removes an upload."""
        self._open.pop(one.id, None)
        await in_thread(remove, one.folder)


def _make_private(one: Open) -> None:
    """Undoes what an interrupted end did to the file of an upload."""
    with contextlib.suppress(FileNotFoundError):
        one.data.chmod(0o600)


def _make(_: CancelFlag, one: Open) -> None:
    one.folder.mkdir(0o700)
    one.data.touch(0o600)
    one.save()


def _state(one: Open, *, finished: bool = False) -> UploadState:
    of = one.record
    return UploadState(
        id=one.id,
        place=of.place,
        name=of.name,
        offset=one.offset,
        size=of.size,
        note=of.note,
        expires=one.touched + LIFE,
        finished=finished,
    )
