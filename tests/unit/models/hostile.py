"""Archives as an attacker, or a careless tool, would make them."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Iterable

CONFIG = b'name: "m"\n'
Entry = tuple[str | zipfile.ZipInfo, bytes]


def sound(*more: Entry) -> list[Entry]:
    return [("m/config.pbtxt", CONFIG), ("m/1/model.onnx", b"weights"), *more]


def zipped(entries: Iterable[Entry], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in entries:
            made.writestr(name, content, method)
    return out.getvalue()


def special(name: str, mode: int, content: bytes = b"/etc/passwd") -> Entry:
    """An entry that Unix would make something else of than a file."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info, content


def link(name: str) -> Entry:
    return special(name, stat.S_IFLNK | 0o777)


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    """Other bytes of the same length, wherever they stand: in the headers as in the directory."""
    assert len(old) == len(new)
    assert old in data
    return data.replace(old, new)


def directory(data: bytes) -> Iterable[int]:
    """Where each entry of the directory begins."""
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        yield at
        at = data.find(b"PK\x01\x02", at + 1)


def claiming(data: bytes, entry: int, *, size: int | None = None, flags: int = 0) -> bytes:
    """The archive with another unpacked size, or other flags, in both places of an entry."""
    made = bytearray(data)
    at = list(directory(data))[entry]
    (local,) = struct.unpack_from("<I", made, at + 42)
    if size is not None:
        struct.pack_into("<I", made, at + 24, size)
        struct.pack_into("<I", made, local + 22, size)
    for place in (at + 8, local + 6):
        (before,) = struct.unpack_from("<H", made, place)
        struct.pack_into("<H", made, place, before | flags)
    return bytes(made)
