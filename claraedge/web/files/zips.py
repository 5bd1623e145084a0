"""Writes a zip archive as a stream, with little memory. Pure.

Files are stored, not compressed: most are images that are compressed already. Sizes follow each
file (flag bit 3), as its checksum is known only then. Source: PKWARE APPNOTE 6.3.10.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_END64 = struct.Struct("<IQHHIIQQQQ")
_LOCATOR = struct.Struct("<IIQI")
#: Flags: sizes follow the file, and names are UTF-8.
_FLAGS = 1 << 3 | 1 << 11
_UNIX, _REGULAR = 3, 0o100000
#: 1980-01-01, the earliest day that the format knows: the same archive has the same bytes.
_DAY = 0x21
_LARGE, _MANY = 0xFFFFFFFF, 0xFFFF
#: What programs that extract could read as another folder or drive, or as the end of a name. A `%`
#: is encoded where it would seem to begin an encoded one, so that names stay different.
_UNSAFE = re.compile("[\\\\:\x00-\x1f\x7f]|%(?=5C|3A|25|7F|[01][0-9A-F])")
#: Bytes of the directory at the end that are made at once.
_PIECE = 64 * 1024


def safe(name: str) -> str:
    """Returns the name of an entry: relative, with `/`, and different for different names."""
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)


class ZipWriter:
    """Makes the bytes of one archive. Call `begin`, `data` for each part, `end`; then `finish`."""

    def __init__(self) -> None:
        # The directory stands at the end. Until then it is compressed: names are alike.
        self._packer = zlib.compressobj(1)
        self._packed = bytearray()
        self._count = self._offset = 0
        self._name = b""
        self._size = self._left = self._mode = self._crc = self._started = 0

    def begin(self, name: str, size: int, mode: int) -> bytes:
        """Returns what comes before the bytes of a file. `mode`: its permission bits."""
        self._name, self._mode, self._crc = safe(name).encode(), mode, 0
        self._size = self._left = size
        self._started = self._offset
        extra = struct.pack("<HHQQ", 1, 16, 0, 0) if self._is_large else b""
        sizes = _LARGE if self._is_large else 0
        return self._moved(
            _LOCAL.pack(
                0x04034B50, self._version, _FLAGS, 0, 0, _DAY, 0, sizes, sizes,
                len(self._name), len(extra),
            )
            + self._name
            + extra
        )  # fmt: skip

    def data(self, data: bytes) -> bytes:
        """Returns the next bytes of the file. Raises ValueError if they are more than its size."""
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("more bytes came than the size of the file")
        self._crc = zlib.crc32(data, self._crc)
        return self._moved(data)

    def end(self) -> bytes:
        """Returns what comes after the file. Raises ValueError if it was shorter than its size."""
        if self._left:
            raise ValueError(f"{self._left} bytes of the file are missing")
        form = "<IIQQ" if self._is_large else "<IIII"
        extra = b"".join(
            struct.pack("<Q", value) for value in (self._size, self._size)[: 2 * self._is_large]
        )
        if self._started >= _LARGE:
            extra += struct.pack("<Q", self._started)
        if extra:
            extra = struct.pack("<HH", 1, len(extra)) + extra
        size = _LARGE if self._is_large else self._size
        entry = _CENTRAL.pack(
            0x02014B50, _UNIX << 8 | 45, 45 if extra else 20, _FLAGS, 0, 0, _DAY, self._crc, size,
            size, len(self._name), len(extra), 0, 0, 0, (_REGULAR | self._mode & 0o777) << 16,
            min(self._started, _LARGE),
        )  # fmt: skip
        self._packed += self._packer.compress(entry + self._name + extra)
        self._count += 1
        return self._moved(struct.pack(form, 0x08074B50, self._crc, self._size, self._size))

    def finish(self) -> Iterator[bytes]:
        """Yields the end of the archive."""
        start, unpacker = self._offset, zlib.decompressobj()
        left = bytes(self._packed + self._packer.flush())
        while left:
            yield self._moved(unpacker.decompress(left, _PIECE))
            left = unpacker.unconsumed_tail
        size, count = self._offset - start, self._count
        if count >= _MANY or size >= _LARGE or start >= _LARGE:
            at = self._offset
            yield _END64.pack(0x06064B50, 44, 45, 45, 0, 0, count, count, size, start)
            yield _LOCATOR.pack(0x07064B50, 0, at, 1)
        few = min(count, _MANY)
        yield _END.pack(0x06054B50, 0, 0, few, few, min(size, _LARGE), min(start, _LARGE), 0)

    @property
    def _is_large(self) -> bool:
        return self._size >= _LARGE

    @property
    def _version(self) -> int:
        return 45 if self._is_large else 20

    def _moved(self, data: bytes) -> bytes:
        self._offset += len(data)
        return data
