"""Reads the entries of a zip archive: their description in the directory, and their content.
Blocks.
"""

from __future__ import annotations

import copy
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import inflate64

from claraedge.errors import InvalidModelError
from claraedge.formats import filetypes
from claraedge.models.layout import DEFLATED64, ArchiveEntry

#: Bytes that are read at once at most; zipfile reads an archive's whole directory, of any declared
#: size.
_MAX_READ = 2 * 1024 * 1024
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 0x1
_DOS_FOLDER = 0x10
#: Info-ZIP's Unicode path (APPNOTE.TXT, 4.6.9): the name in UTF-8, and the CRC of the other one.
_UNICODE_PATH = 0x7075
#: Packed bytes that are read at once: one byte may unpack to 26,000, however few are requested.
_PACKED_STEP = 512
_END, _END_SIZE, _MAX_COMMENT = b"PK\x05\x06", 22, 0xFFFF


class ArchiveFile(io.BufferedReader):
    """A file that refuses to read more at once than a regular archive needs."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads at most `size` bytes; all if negative.

        Raises InvalidModelError if that is more than a directory needs.
        """
        if size is None or size < 0:
            size = _MAX_READ + 1
        if size > _MAX_READ and self.peek(1):
            size = min(size, os.fstat(self.fileno()).st_size - self.tell())
            if size > _MAX_READ:
                raise InvalidModelError(
                    f"the archive's directory is larger than {_MAX_READ} bytes; a model has fewer"
                    " files, or shorter names"
                )
        return super().read(size)

    def seek(self, target: int, whence: int = 0, /) -> int:
        if whence == 0 and not 0 <= target < 2**63:
            raise zipfile.BadZipFile("an offset lies outside the archive")
        return super().seek(target, whence)


def refuse_other(source: ArchiveFile) -> None:
    """Raises InvalidModelError for a file that is no zip archive, or one part of a split one."""
    head = source.read(filetypes.HEAD)
    size = source.seek(0, os.SEEK_END)
    source.seek(max(0, size - _MAX_COMMENT - _END_SIZE))
    tail = source.read(_MAX_COMMENT + _END_SIZE)
    source.seek(0)
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_SIZE:
        raise InvalidModelError(f"the data {filetypes.not_a_zip(head)}")
    disk, directory, offset = struct.unpack_from("<H6x2I", tail, at + 4)
    if disk not in (0, 0xFFFF):
        raise InvalidModelError(f"the data {filetypes.is_split()}")
    before = size - len(tail) + at - directory - offset
    if before > 0 and before % 2**32 == 0:  # thejoshwolfe/yauzl#69
        raise InvalidModelError(f"the data {filetypes.is_of_large_mac()}")


def entry(info: zipfile.ZipInfo) -> ArchiveEntry:
    """Converts an entry of the archive's directory. Older .NET writes backslashes between the
    parts.
    """
    name = _name(info)
    path = (name or info.orig_filename).replace("\\", "/")
    if not info.file_size and not path.endswith("/") and _is_folder(info.external_attr):
        path += "/"
    return ArchiveEntry(
        name=path,
        readable=name is not None,
        size=info.file_size,
        packed=info.compress_size,
        mode=info.external_attr >> 16,
        method=info.compress_type,
        encrypted=bool(info.flag_bits & _ENCRYPTED_FLAG),
    )


def _is_folder(attributes: int) -> bool:
    return stat.S_ISDIR(attributes >> 16) or bool(attributes & _DOS_FOLDER)


class Reader(Protocol):
    """Reads the content of one entry."""

    def read(self, size: int, /) -> bytes:
        """Returns `size` bytes, or fewer only at the end, where the checksum has then
        been checked.
        """


@contextmanager
def opened(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[Reader]:
    """Opens an entry; memory use is small whatever it unpacks to."""
    if info.compress_type != DEFLATED64:
        with archive.open(info) as plain:
            yield plain
        return
    packed = copy.copy(info)  # the same bytes, still packed
    packed.compress_type = zipfile.ZIP_STORED
    packed.file_size = info.compress_size
    del packed.CRC
    with archive.open(packed) as raw:
        yield _Deflated64(raw, info)


class _Deflated64:
    def __init__(self, packed: IO[bytes], info: zipfile.ZipInfo) -> None:
        self._packed = packed
        self._info = info
        self._inflater = inflate64.Inflater()
        self._ready = bytearray()
        self._crc = 0

    def read(self, size: int, /) -> bytes:
        while len(self._ready) < size and not self._inflater.eof:
            packed = self._packed.read(_PACKED_STEP)
            if not packed:
                raise zipfile.BadZipFile(f"{self._info.filename!r} ends in the middle")
            piece = self._inflater.inflate(packed)
            self._crc = zlib.crc32(piece, self._crc)
            self._ready += piece
        if self._inflater.eof and self._crc != self._info.CRC:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {self._info.filename!r}")
        found = bytes(self._ready[:size])
        del self._ready[:size]
        return found


def _name(info: zipfile.ZipInfo) -> str | None:
    """Returns the name as it is stored, since `filename` ends at a NUL; None where it cannot be
    decoded.

    Names without the UTF-8 flag are often UTF-8 as well.
    """
    name = info.orig_filename
    if info.flag_bits & _UTF8_FLAG or name.isascii():
        return name
    raw = name.encode("cp437")
    try:
        return (_unicode_path(info.extra, zlib.crc32(raw)) or raw).decode("utf-8")
    except UnicodeError:
        return None


def _unicode_path(extra: bytes, crc: int) -> bytes | None:
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(field) > 5 and field[0] == 1:
            (of,) = struct.unpack_from("<I", field, 1)
            return field[5:] if of == crc else None
    return None
