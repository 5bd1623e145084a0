"""Detects truncated DICOM files: a broken transfer leaves a part under the final name.

FTP marks the end of a file by closing the connection; scp, SMB and exports of scanners keep what
arrived. Pixel data is not read, except for the end of the file where they have no length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from claraedge.inbox.inspection.dicom_bytes import FileBytes, TooLongError
from claraedge.inbox.inspection.dicom_elements import Element, UnreadableError

#: Bytes after the UIDs in which the pixels are searched.
_SEARCHED = 4 << 20
#: Bytes before the end of the file in which the end of pixels without a length is searched:
#: signatures and padding may follow it.
_TAIL = 64 << 10
_BLOCK = 64 << 10

_UNDEFINED = 0xFFFFFFFF
#: Bytes that may be missing at the end: the byte that pads to an even length is not always written.
_PAD = 1
#: Elements that contain pixels: integers, floats, doubles (PS3.6 chapter 6).
_PIXELS = (0x0010, 0x0008, 0x0009)
_REPRESENTATIONS = frozenset({b"OB", b"OW", b"UN", b"OF", b"OD"})


def cut_off(file: FileBytes, place: int, rest: Iterator[Element]) -> str:
    """Returns what is missing at the end of a file, as a text that follows its name.

    Empty where nothing is missing, or that is unknown. `place`: the offset of an element before
    the pixels. `rest`: the elements after it.
    """
    found = False
    try:
        while (pixels := _pixels(file, place)) is not None:
            found = True
            start, length, end = pixels
            if length == _UNDEFINED:
                return "" if _has_end(file, start, end) else _fragments(file, start, end)
            if start + length > file.size + _PAD:
                return _text(f"of which {max(0, file.size - start)} of {length} bytes are there")
            place = start + length
        if not found:
            for _ in rest:
                pass
    except UnreadableError as error:
        return error.reason if error.cut else ""
    except TooLongError:
        pass
    return ""


def _text(what: str) -> str:
    return f"ends in its pixels, {what}: its transfer did not end; send or copy it again"


def _pixels(file: FileBytes, place: int) -> tuple[int, int, bytes] | None:
    """Returns where the next pixels begin, their length, and the delimiter used without a length.

    None where no pixels are found.
    """
    last = min(file.size, place + _SEARCHED)
    while place < last:
        block = file.at(place, _BLOCK)
        for at in _hits(block):
            if (found := _header(file, place + at)) is not None:
                return found
        if len(block) < _BLOCK:
            break
        place += _BLOCK - 3
    return None


def _hits(block: bytes) -> list[int]:
    """Returns the offsets where the tag of a pixel element may be, in either byte order."""
    hits = []
    for sign in "<>":
        for element in _PIXELS:
            tag = struct.pack(sign + "HH", 0x7FE0, element)
            at = block.find(tag)
            while at >= 0:
                hits.append(at)
                at = block.find(tag, at + 1)
    return sorted(hits)


def _header(file: FileBytes, place: int) -> tuple[int, int, bytes] | None:
    """Parses the header of a pixel element; None where the tag is something else after all."""
    head = file.at(place, 12)
    if len(head) < 12:
        return None
    sign = "<" if head[:2] == b"\xe0\x7f" else ">"
    delimiter = struct.pack(sign + "HHI", 0xFFFE, 0xE0DD, 0)
    if head[4:6] in _REPRESENTATIONS:
        if head[6:8] != b"\0\0":
            return None
        (length,) = struct.unpack_from(sign + "I", head, 8)
        return place + 12, length, delimiter
    (length,) = struct.unpack_from(sign + "I", head, 4)
    # Without a representation (implicit coding) little shows that these bytes are an element: only
    # a length that leads to the end of the file, or behind it by no more than pixels may have.
    if length == _UNDEFINED or length & 1 or head[4:6].isalpha():
        return None
    return place + 8, length, delimiter


def _fragments(file: FileBytes, place: int, delimiter: bytes) -> str:
    """Returns what is missing of pixels without a length and without an end delimiter, or ''.

    Some devices never write that delimiter, so its absence alone proves nothing.
    """
    sign = "<" if delimiter[:2] == b"\xfe\xff" else ">"
    item = struct.pack(sign + "HH", 0xFFFE, 0xE000)
    count = 0
    while len(head := file.at(place, 8)) == 8 and head[:4] == item:
        (length,) = struct.unpack_from(sign + "I", head, 4)
        place += 8 + length
        count += 1
        if place > file.size + _PAD:
            return _text(f"inside fragment {count}")
    return "" if count and place >= file.size else _text(f"after {count} fragments")


def _has_end(file: FileBytes, start: int, delimiter: bytes) -> bool:
    """Whether the end delimiter of pixels without a length is near the end of the file."""
    begin = max(start, file.size - _TAIL)
    return delimiter[:4] in file.at(begin, file.size - begin)
