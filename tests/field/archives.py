"""Zip archives as other programs write them, byte by byte where no program for that is here."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import inflate64

CONFIG = b'name: "lung"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 0\n'
WEIGHTS = b"not a real network\n" * 100

STORED, DEFLATED, DEFLATED64 = 0, 8, 9
UTF8, ENCRYPTED, DESCRIPTOR = 0x800, 0x1, 0x8
#: "Version made by", its upper byte: the system whose attributes an entry has.
DOS, UNIX, NTFS, MACOS = 0, 3, 10, 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file, or a folder where `content` is None."""

    name: bytes
    content: bytes | None
    method: int = DEFLATED
    flags: int = UTF8
    system: int = DOS
    mode: int = 0
    extra: bytes = b""
    crc: int | None = None
    """Another one than the content's."""


def model(method: int = DEFLATED, separator: bytes = b"/", top: bytes = b"lung") -> list[Entry]:
    """The model `lung`."""
    return [
        Entry(name=separator.join((top, b"config.pbtxt")), content=CONFIG, method=method),
        Entry(name=separator.join((top, b"1", b"model.onnx")), content=WEIGHTS, method=method),
    ]


def zipped(
    entries: list[Entry], *, disk: int = 0, comment: bytes = b"", zip64: bool = False
) -> bytes:
    """The archive. `disk`: the number of the part that it says it is; `zip64`: with its records."""
    body, directory = b"", b""
    for entry in entries:
        data = _packed(entry.content or b"", 0 if entry.content is None else entry.method)
        method = 0 if entry.content is None else entry.method
        crc = zlib.crc32(entry.content or b"") if entry.crc is None else entry.crc
        sizes = struct.pack("<II", len(data), len(entry.content or b""))
        sums = struct.pack("<I", crc) + sizes
        when = struct.pack("<HH", 0, 0x5921)
        behind = bool(entry.flags & DESCRIPTOR)
        head = struct.pack("<HHH", 21 if method == DEFLATED64 else 20, entry.flags, method) + when
        attributes = (entry.mode << 16) | (0x10 if entry.content is None else 0x20)
        own64 = struct.pack("<HHQQ", 1, 16, len(entry.content or b""), len(data)) if zip64 else b""
        sizes_here = struct.pack("<III", crc, 0xFFFFFFFF, 0xFFFFFFFF) if zip64 else sums
        extra = own64 + entry.extra
        directory += (
            b"PK\1\2" + struct.pack("<BB", 63, entry.system) + head + sizes_here
            + struct.pack("<HHHHH", len(entry.name), len(extra), 0, 0, 0)
            + struct.pack("<II", attributes, len(body)) + entry.name + extra
        )  # fmt: skip
        body += (
            b"PK\3\4" + head + (bytes(12) if behind else sizes_here)
            + struct.pack("<HH", len(entry.name), len(extra)) + entry.name + extra + data
            + (b"PK\7\x08" + sums if behind else b"")
        )  # fmt: skip
    count = len(entries)
    records = b""
    if zip64:
        records = (
            b"PK\6\6" + struct.pack("<QHHII", 44, 45, 45, 0, 0)
            + struct.pack("<QQQQ", count, count, len(directory), len(body))
            + b"PK\6\7" + struct.pack("<IQI", 0, len(body) + len(directory), 1)
        )  # fmt: skip
    end = b"PK\5\6" + struct.pack(
        "<HHHHIIH", disk, disk, count, count, len(directory), len(body), len(comment)
    )
    return body + directory + records + end + comment


def _packed(content: bytes, method: int) -> bytes:
    if method == DEFLATED64:
        packer64 = inflate64.Deflater()
        return bytes(packer64.deflate(content) + packer64.flush())
    if method == DEFLATED:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        return packer.compress(content) + packer.flush()
    return content
