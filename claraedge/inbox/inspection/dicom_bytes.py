"""Random access to the bytes of a DICOM file: as they are, or inflated from its deflated part.

Both read only what they are asked for, and about MAX_BYTES in all.
"""

from __future__ import annotations

import os
import zlib

#: Bytes read or inflated of a file, after which reading is given up.
MAX_BYTES = 32 << 20

_BLOCK = 8192
#: Most bytes that are inflated in one step, whatever a block contains.
_PORTION = 64 << 10
#: Most bytes that are inflated, and not kept, to find the end: no deflated image is larger.
_MAX_END = 256 << 20


class TooLongError(Exception):
    """MAX_BYTES are read, and what was searched is not found yet."""


class ByteSource:
    """Bytes that are read at any offset, on demand."""

    size: int
    """Number of bytes; there is nothing at or after this offset."""
    limited = False
    """More bytes may follow than are readable here, because of MAX_BYTES."""
    inflated = ""
    """What error texts add to an offset that is not one of the file itself."""
    damaged = False
    """The bytes end early because the rest cannot be inflated."""

    def at(self, place: int, count: int) -> bytes:
        """Returns `count` bytes from an offset on; fewer only at the end.

        Raises TooLongError if more than MAX_BYTES would be read.
        """
        raise NotImplementedError

    def peek(self, place: int, count: int) -> bytes:
        """Returns the same for an offset that is only probed: reading continues elsewhere."""
        return self.at(place, count)

    def find(self, pattern: bytes, place: int) -> int:
        """Returns the offset of a pattern, at `place` or after it; -1 where there is none."""
        before = len(pattern) - 1
        while block := self.at(place, _BLOCK):
            found = block.find(pattern)
            if found >= 0:
                return place + found
            if len(block) < _BLOCK:
                break
            place += _BLOCK - before
        return -1


class FileBytes(ByteSource):
    """The bytes of an open file. The position of its descriptor is neither used nor moved."""

    def __init__(self, descriptor: int) -> None:
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._block = b""
        self._start = 0
        self._read = 0

    def at(self, place: int, count: int) -> bytes:
        offset = place - self._start
        if offset < 0 or offset + count > len(self._block):
            if place >= self.size:
                return b""
            if self._read > MAX_BYTES:
                raise TooLongError
            self._block = os.pread(self._descriptor, max(_BLOCK, count), place)
            self._read += len(self._block)
            self._start, offset = place, 0
        return self._block[offset : offset + count]

    def peek(self, place: int, count: int) -> bytes:
        offset = place - self._start
        if offset >= 0 and offset + count <= len(self._block):
            return self._block[offset : offset + count]
        if place >= self.size:
            return b""
        self._read += count
        return os.pread(self._descriptor, count, place)


class InflatedBytes(ByteSource):
    """The inflated rest of a file, which is a raw deflate stream or a zlib stream."""

    inflated = " of the inflated data"

    def __init__(self, file: FileBytes, start: int) -> None:
        self.size = MAX_BYTES  # until the end is known
        self.limited = True
        self._file = file
        self._next = start
        self._left = b""
        self._made = bytearray()
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.at(start, _BLOCK), 16)
        except zlib.error:
            self._inflater = zlib.decompressobj()

    def at(self, place: int, count: int) -> bytes:
        while self.limited and len(self._made) < place + count <= MAX_BYTES:
            self._inflate()
        return bytes(self._made[place : place + count])

    def is_cut(self) -> bool:
        """Whether the file ends before the deflated stream does; False where that is unknown.

        Inflates to the end: nothing can be read from this object afterwards.
        """
        made = 0
        try:
            while not self._inflater.eof and made < _MAX_END:
                block = self._left or self._file.at(self._next, _BLOCK)
                self._next += 0 if self._left else len(block)
                portion = self._inflater.decompress(block, _PORTION)
                self._left = self._inflater.unconsumed_tail
                made += len(portion)
                if not block and not portion:
                    return not self._inflater.eof
        except (zlib.error, TooLongError):
            pass
        return False

    def _inflate(self) -> None:
        if not self._left:
            self._left = self._file.at(self._next, _BLOCK)
            self._next += len(self._left)
        has_more = bool(self._left)
        try:
            self._made += self._inflater.decompress(self._left, _PORTION)
        except zlib.error:
            self.damaged, has_more = True, False
        self._left = self._inflater.unconsumed_tail
        if self._inflater.eof or not has_more:
            self.limited, self.size = False, len(self._made)
