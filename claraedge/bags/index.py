"""Reads the index at the end of a bag. A bag that has one is whole.

Source: http://wiki.ros.org/Bags/Format/2.0.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"#ROSBAG V2.0\n"
_HEADER, _CHUNK_INFO, _CONNECTION = b"\x03", b"\x06", b"\x07"
#: Bytes of one header or one data of a record in an index.
_LARGEST = 16 * 1024 * 1024
#: Records of an index. A chunk has 768 KB, so this is more than a bag of 700 GB has.
_MOST = 1_000_000
#: Messages that are counted: a bag may say any number.
_LIMIT = 2**53


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

    Raises NoBagError for a file that is no whole bag, and OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        try:
            return _read(file)
        except (struct.error, ValueError, OverflowError) as error:
            raise NoBagError(f"its index cannot be read ({error})") from error


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
    file.seek(at)
    for _ in range(connections):
        fields, _ = _record(file)
        if fields.get("op") != _CONNECTION:
            raise NoBagError("its index lacks connections")
    starts, ends, messages = [], [], 0
    for _ in range(chunks):
        fields, data = _record(file)
        if fields.get("op") != _CHUNK_INFO:
            raise NoBagError("its index lacks chunks")
        counts = struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
        messages += sum(counts[1::2])
        starts.append(_time(fields.get("start_time", b"")))
        ends.append(_time(fields.get("end_time", b"")))
    messages = min(messages, _LIMIT)
    return BagIndex(
        started=min(starts, default=None), ended=max(ends, default=None), messages=messages
    )


def _record(file: io.BufferedReader) -> tuple[Mapping[str, bytes], bytes]:
    """Returns the fields and the data of the next record."""
    header = _sized(file)
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
    return fields, _sized(file)


def _sized(file: io.BufferedReader) -> bytes:
    (size,) = struct.unpack("<I", file.read(4))
    if size > _LARGEST:
        raise NoBagError("a record of its index is too large")
    content = file.read(size)
    if len(content) < size:
        raise NoBagError("it ends too early")
    return content


def _time(value: bytes) -> float:
    seconds, nanoseconds = struct.unpack("<II", value)
    return float(seconds + nanoseconds / 1e9)
