"""Reads the index at the end of a bag. A bag that has one is whole.

Source: http://wiki.ros.org/Bags/Format/2.0.
"""

from __future__ import annotations

import errno
import io
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"#ROSBAG V2.0\n"
_HEADER, _CHUNK_INFO, _CONNECTION = b"\x03", b"\x06", b"\x07"
#: Bytes of one header, and of one data, of a record in an index; and of a whole index. A chunk has
#: 768 KB of a bag, and 8 bytes per topic in its index.
_HEADER_LIMIT, _DATA_LIMIT, _INDEX_LIMIT = 64 * 1024, 16 * 1024 * 1024, 128 * 1024 * 1024
#: Records of an index. A chunk has 768 KB, so this is more than a bag of 700 GB has.
_MOST = 1_000_000
#: Messages that are counted: a bag may say any number.
_LIMIT = 2**53
#: What the kernel answers where a disk has lost a part of a file.
_LOST = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN})


class NoBagError(Exception):
    """A file is no whole bag; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BagIndex:
    """What the index of a bag says."""

    started: float | None
    """Unix seconds of its first message; None: it has no messages."""
    ended: float | None
    """Unix seconds of its last message; None: as above."""
    messages: int


def read_index(path: Path) -> BagIndex:
    """Returns what the index of a bag says. Blocks.

    Raises NoBagError if it is no whole bag, or if the disk has lost a part of it; and OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        try:
            return _read(file)
        except (struct.error, ValueError, OverflowError) as error:
            raise NoBagError(f"its index cannot be read ({error})") from error
        except OSError as error:
            if error.errno not in _LOST:
                raise
            raise NoBagError(f"it cannot be read ({error.strerror})") from error


def _read(file: io.BufferedReader) -> BagIndex:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise NoBagError("it does not begin like a bag of version 2.0")
    fields, _ = _record(file)
    if fields.get("op") != _HEADER:
        raise NoBagError("its first record is no header of a bag")
    (at,) = struct.unpack("<Q", fields.get("index_pos", b""))
    connections, chunks = (
        struct.unpack("<i", fields.get(name, b""))[0] for name in ("conn_count", "chunk_count")
    )
    if at == 0:
        raise NoBagError("it has no index: it was not closed")
    if not (0 <= connections <= _MOST and 0 <= chunks <= _MOST):
        raise NoBagError("its index has too many records")
    if at > os.fstat(file.fileno()).st_size:  # a file system refuses to seek to some places
        raise NoBagError("its index is not in the file")
    file.seek(at)
    for _ in range(connections):
        fields, _ = _record(file)
        if fields.get("op") != _CONNECTION:
            raise NoBagError("its index lacks connections")
        _check_length(file, at)
    started, ended, messages = math.inf, -math.inf, 0
    for _ in range(chunks):
        fields, data = _record(file)
        if fields.get("op") != _CHUNK_INFO:
            raise NoBagError("its index lacks chunks")
        _check_length(file, at)
        # Pairs: a topic, and its messages; little-endian, as the machines of the daemon are.
        counts = memoryview(data)[: len(data) // 8 * 8].cast("I")
        messages += sum(counts[1::2])
        started = min(started, _time(fields.get("start_time", b"")))
        ended = max(ended, _time(fields.get("end_time", b"")))
    if chunks == 0:
        return BagIndex(started=None, ended=None, messages=0)
    return BagIndex(started=started, ended=ended, messages=min(messages, _LIMIT))


def _check_length(file: io.BufferedReader, at: int) -> None:
    """Raises NoBagError once more was read of an index than one has: holes of a file are free."""
    if file.tell() - at > _INDEX_LIMIT:
        raise NoBagError("its index is too large")


def _record(file: io.BufferedReader) -> tuple[Mapping[str, bytes], bytes]:
    """Returns the fields and the data of the next record."""
    header = _sized(file, _HEADER_LIMIT)
    fields: dict[str, bytes] = {}
    at = 0
    while at < len(header):
        (size,) = struct.unpack_from("<I", header, at)
        field = header[at + 4 : at + 4 + size]
        name, separator, value = field.partition(b"=")
        if len(field) < size or not separator:
            raise NoBagError("a record has a damaged header")
        fields[name.decode("ascii", "replace")] = value
        at += 4 + size
    return fields, _sized(file, _DATA_LIMIT)


def _sized(file: io.BufferedReader, most: int) -> bytes:
    (size,) = struct.unpack("<I", file.read(4))
    if size > most:
        raise NoBagError("a record of its index is too large")
    content = file.read(size)
    if len(content) < size:
        raise NoBagError("it ends too early")
    return content


def _time(value: bytes) -> float:
    seconds, nanoseconds = struct.unpack("<II", value)
    return float(seconds + nanoseconds / 1e9)
