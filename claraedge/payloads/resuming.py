"""Continues an upload in one call: appends bytes, compares their checksum, and finishes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread, wait_out
from claraedge.errors import UploadOffsetError, UploadSizeError
from claraedge.fs import files
from claraedge.payloads.checksums import Checksum, Comparison
from claraedge.payloads.chunks import Chunks, ChunkWriter
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.records import ANY, Condition
from claraedge.payloads.resumable import Open, ResumableUploads

#: Bytes after which an upload is synced: a power cut loses about as many at most.
_SYNCED = 64 << 20


@asynccontextmanager
async def continued(
    uploads: ResumableUploads, upload: str, offset: int, checksum: Checksum | None = None
) -> AsyncGenerator[Continuation, None]:
    """Continues an upload at its offset. What arrives is kept, however the context ends; with a
    checksum only if `end` or `finish` has compared it.

    Raises UploadNotFoundError, UploadOffsetError if the offset is another one or a later call
    continues the upload, what `Destination.refuse_ended` raises, and StorageFullError.
    """
    async with uploads.turn(upload) as one:
        await uploads.refuse_ended(one)
        if offset != one.offset:
            raise UploadOffsetError(
                f"the upload {upload} is at the offset {one.offset}, and not at {offset}; continue"
                f" at {one.offset}"
            )
        continuation = Continuation(uploads, one, checksum)
        try:
            await continuation.begin()
            yield continuation
        finally:
            await wait_out(asyncio.create_task(continuation.close()))


class Continuation:
    """Appends to an upload while its turn lasts."""

    def __init__(self, uploads: ResumableUploads, one: Open, checksum: Checksum | None) -> None:
        self._uploads = uploads
        self._one = one
        self._start = self._offset = one.offset
        self._writer = ChunkWriter(one.folder)
        self._comparison = Comparison(checksum)
        self._checked = checksum is None
        self._ended = False

    async def begin(self) -> None:
        """Prepares the upload for more bytes. Raises UploadOffsetError if the disk has others."""
        one, boot = self._one, self._uploads.boot
        size = await in_thread(_size, one.data)
        if size != one.offset:  # bytes after a gap, or twice, would be wrong data
            one.offset = self._start = self._offset = size
            raise UploadOffsetError(f"the upload {one.id} is at the offset {size}; continue there")
        if one.record.boot != boot:  # what was cut at the start is synced, and more comes now
            one.record = msgspec.structs.replace(one.record, boot=boot, synced=one.offset)
            await in_thread(one.save)
        if not self._checked:
            await in_thread(one.begin_unchecked, self._start)

    async def write(self, data: bytes) -> None:
        """Appends bytes.

        Raises UploadSizeError beyond the declared size, StorageFullError while the disk is low, and
        OSError.
        """
        self._uploads.refuse_blocked()
        size = self._one.record.size
        if size is not None and self._offset + len(data) > size:
            raise UploadSizeError(
                f"the upload {self._one.id} was declared with {size} bytes, and more than that"
                " arrived; start one with the right size"
            )
        self._comparison.update(data)
        if data:
            await self._writer.write(0, data)
        self._offset += len(data)
        if self._checked:
            self._one.offset = self._offset
            if self._offset - self._one.record.synced >= _SYNCED:
                await self._sync()

    async def end(self) -> int:
        """Writes what is still in memory, and compares the checksum; returns the offset.

        Raises UploadChecksumError: then all bytes of this call are dropped; and OSError.
        """
        if self._ended:
            return self._one.offset
        rest = await self._writer.rest()
        await in_cancellable_thread(_append, self._one.data, rest.get(0, ()))
        self._comparison.refuse_other()
        if not self._checked:
            self._checked = True
            await in_thread(self._one.end_unchecked, self._start, drop=False)
        self._ended = True
        self._one.offset = self._offset
        if self._offset - self._one.record.synced >= _SYNCED:
            await self._sync()
        return self._offset

    async def finish(self, condition: Condition = ANY) -> tuple[PayloadFile, bool]:
        """Ends the upload, and makes its file visible; returns it, and whether it has replaced
        another one.

        Raises what `end` and `ResumableUploads.finish` raise, and UploadSizeError where bytes are
        missing.
        """
        offset, size = await self.end(), self._one.record.size
        if size is not None and offset != size:
            raise UploadSizeError(
                f"the upload {self._one.id} has {offset} of the {size} bytes that were declared;"
                " send the rest before its end"
            )
        await in_thread(self._writer.close)
        return await self._uploads.finish(self._one, condition)

    async def close(self) -> None:
        """Keeps what arrived; drops what lacks its checksum."""
        try:
            with contextlib.suppress(OSError):  # its client has that error, or is gone
                if self._checked and not self._ended:
                    await self.end()
        finally:
            await self._settled()

    async def _settled(self) -> None:
        """Leaves the upload as the disk has it."""
        await self._writer.stop()
        with contextlib.suppress(FileNotFoundError):  # it is over
            self._one.offset = await in_thread(self._settle)

    async def _sync(self) -> None:
        await self._writer.written()
        await in_cancellable_thread(self._save_synced)

    # --- in threads --------------------------------------------------------------------------

    def _save_synced(self, _: CancelFlag) -> None:
        one = self._one
        size = one.data.stat().st_size
        files.sync_file(one.data)
        one.record = msgspec.structs.replace(one.record, synced=size)
        one.save()

    def _settle(self) -> int:
        self._writer.close()
        if not self._checked:
            self._one.end_unchecked(self._start, drop=True)
        return _size(self._one.data)


def _append(_: CancelFlag, path: Path, chunks: Chunks) -> None:
    files.append(path, chunks)


def _size(path: Path) -> int:
    return path.stat().st_size
