"""Writes the chunks of a stream to files: in threads, in large pieces, while more chunks come."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from claraedge import memory
from claraedge.blocking import CancelFlag, in_cancellable_thread, wait_out
from claraedge.fs import files
from claraedge.fs.syncing import begin_sync

#: Chunks, in the order in which they came.
Chunks: TypeAlias = Sequence[bytes | bytearray]

#: Bytes of a piece, which one thread writes at once.
_PIECE = 1 << 20
#: Bytes that all streams together collect and write; one stream alone uses two pieces. Where more
#: would be needed, a stream waits until its chunk is written.
_ROOM = memory.Budget(3 << 20)
#: Chunks of fewer bytes are joined; larger ones are written without a copy.
_SMALL = 16 << 10
#: Files of a piece. Each of them uses memory, however few bytes it has.
_FILES = 4096
#: Seconds after which a stream may have paused: then it keeps no thread, no open file, and fewer
#: bytes than these.
_PAUSE, _KEPT = 0.1, 64 << 10
#: Bytes of a file that are written until their way to the disk begins.
_UNSYNCED = 8 << 20


class _Piece:
    """Chunks that are written together."""

    def __init__(self) -> None:
        self.files: dict[int, list[bytes | bytearray]] = {}
        self.size = 0
        self.kept = 0
        """Bytes that count for the memory of the call."""
        self.room = 0
        """Bytes that count for what all streams collect."""

    def add(self, number: int, data: bytes) -> None:
        chunks = self.files.setdefault(number, [])
        self.size += len(data)
        if len(data) >= _SMALL:
            chunks.append(data)
        elif chunks and isinstance(chunks[-1], bytearray):
            chunks[-1] += data
        else:
            chunks.append(bytearray(data))


class ChunkWriter:
    """Appends chunks to numbered files in a folder. Use it on the event loop.

    One piece is written while the next one is collected. Large files go to the disk while more
    comes, so that an fsync at the end has little to wait for. Only the file of the last chunk stays
    open: a stream may contain more files than a process may open. `stop` and `close` must be called
    at the end.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._piece = _Piece()
        self._room = memory.Share(_ROOM)
        self._writing: asyncio.Task[None] | None = None
        """Writes the newest piece that is complete; those before it are written."""
        self._timer: asyncio.TimerHandle | None = None
        self._number = -1
        """The file that is open; -1: none."""
        self._descriptor = -1
        self._unsynced = 0

    async def write(self, number: int, data: bytes) -> None:
        """Appends to a file; creates it where it is missing. Raises OSError, also that of a chunk
        before.
        """
        piece, size = self._piece, len(data)
        kept, room = memory.try_take(size), self._room.grow(size)
        piece.kept += size * kept
        piece.room += size * room
        piece.add(number, data)
        low = not (kept and room)
        if low or piece.size >= _PIECE or len(piece.files) >= _FILES:
            await self.written()
            self._begin(last=False)
            if low:
                await self.written()
        elif self._timer is None:
            self._expect_pause()

    async def written(self) -> None:
        """Waits until all complete pieces are written. Raises OSError."""
        while (writing := self._writing) is not None:
            await asyncio.shield(writing)
            if writing is self._writing:  # a pause may have begun another one meanwhile
                return

    async def rest(self) -> Mapping[int, Chunks]:
        """Waits until all complete pieces are written; returns the last chunks of files, which the
        caller has to write. Raises OSError.
        """
        await self.written()
        self._expect_no_pause()
        piece, self._piece = self._piece, _Piece()
        return piece.files

    async def stop(self) -> None:
        """Ends the work as soon as possible; what is not written yet is dropped."""
        self._expect_no_pause()
        try:
            if self._writing is not None:
                self._writing.cancel()
                await wait_out(self._writing)
        finally:
            self._room.close()

    def close(self) -> None:
        """Closes the file that is open, if any; blocks. Call it after `stop`."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        self._number = -1

    def _expect_pause(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_PAUSE, self._pause)

    def _expect_no_pause(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pause(self) -> None:
        self._timer = None
        if self._writing is not None and not self._writing.done():
            self._expect_pause()
        elif self._writing is not None and (self._writing.cancelled() or self._writing.exception()):
            return  # the next chunk fails
        elif self._descriptor >= 0 or self._piece.size >= _KEPT:
            self._begin(last=True)

    def _begin(self, *, last: bool) -> None:
        self._expect_no_pause()
        piece, self._piece = self._piece, _Piece()
        self._writing = asyncio.create_task(self._write_piece(piece, last))
        if not last:
            self._expect_pause()

    async def _write_piece(self, piece: _Piece, last: bool) -> None:
        try:
            await in_cancellable_thread(self._write, piece, last)
        finally:
            memory.give_back(piece.kept)
            self._room.grow(-piece.room)

    def _write(self, flag: CancelFlag, piece: _Piece, last: bool) -> None:
        for number, chunks in piece.files.items():
            flag.check()
            if number != self._number:
                self.close()
                self._descriptor = files.open_to_append(self._folder / str(number))
                self._number, self._unsynced = number, 0
            files.write_chunks(self._descriptor, chunks)
            self._unsynced += sum(map(len, chunks))
            if self._unsynced >= _UNSYNCED:
                begin_sync(self._descriptor)
                self._unsynced = 0
        if last:
            self.close()
