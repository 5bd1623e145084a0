"""The bytes of a DICOM file, at any place: those of the file, or those that it has deflated.

Both read no more than they are asked for, and MAX_BYTES in all.
"""

from __future__ import annotations

import os
import zlib

#: Read of a file, or inflated of it, until it is given up.
MAX_BYTES = 32 << 20

_BLOCK = 8192
#: Inflated at once, whatever a block holds.
_PORTION = 64 << 10
#: Inflated, and not kept, to find the end: no image that is deflated has more.
_MAX_END = 256 << 20


class TooLongError(Exception):
    """MAX_BYTES are read."""


class Source:
    """Bytes that are read where they are wanted."""

    size: int
    """There is nothing at or after this place."""
    limited = False
    """Perhaps there is, and it is not given: MAX_BYTES are read."""
    inflated = ""
    """What to say after a place where it is not one of the file."""
    damaged = False
    """It ends there because the rest cannot be inflated."""

    def at(self, place: int, count: int) -> bytes:
        """The bytes from a place on; fewer only at the end."""
        raise NotImplementedError

    def peek(self, place: int, count: int) -> bytes:
        """The same, of a place that is only looked at: what is read on is elsewhere."""
        return self.at(place, count)

    def find(self, pattern: bytes, place: int) -> int:
        """Where a pattern begins, at a place or after it; -1: nowhere."""
        before = len(pattern) - 1
        while block := self.at(place, _BLOCK):
            found = block.find(pattern)
            if found >= 0:
                return place + found
            if len(block) < _BLOCK:
                break
            place += _BLOCK - before
        return -1


class FileBytes(Source):
    """A file. Its descriptor's position is neither used nor moved."""

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


class InflatedBytes(Source):
    """What the rest of a file is when it is inflated: a raw deflate stream, or one of zlib."""

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
        """Whether the file ends before what is deflated does; False where nobody can tell.

        Nothing can be read here afterwards.
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
