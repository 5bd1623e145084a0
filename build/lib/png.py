"""Decodes a PNG to the last byte, with nothing but zlib: whether a picture really is one."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}

# (first column, first row, step across, step down) of each pass; 1 is Adam7.
_PASSES = {
    0: ((0, 0, 1, 1),),
    1: (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2),
    ),
}  # fmt: skip


class PngError(ValueError):
    """The file is no PNG that a viewer would show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    width: int
    height: int
    depth: int
    """Bits a channel."""
    rows: tuple[bytes, ...]
    """Unfiltered scan lines, packed and in passes as in the file."""


def decode(path: Path) -> Picture:
    """The picture in a PNG; PngError says what is wrong with it (PNG, third edition)."""
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise PngError(f"{path}: no PNG signature")
    header, data, ended, offset = b"", bytearray(), False, 8
    while offset < len(content) and not ended:
        if offset + 12 > len(content):
            raise PngError(f"{path}: cut off in a chunk at byte {offset}")
        length, kind = struct.unpack_from(">I4s", content, offset)
        body = content[offset + 8 : offset + 8 + length]
        checksum = content[offset + 8 + length : offset + 12 + length]
        if zlib.crc32(kind + body).to_bytes(4, "big") != checksum:
            raise PngError(f"{path}: wrong checksum of {kind!r} at byte {offset}")
        header = body if kind == b"IHDR" and not header else header
        data += body if kind == b"IDAT" else b""
        ended = kind == b"IEND"
        offset += 12 + length
    if not ended or len(header) != 13:
        raise PngError(f"{path}: no header, or no end")
    width, height, depth, colour, packing, filtering, interlace = struct.unpack(">IIBBBBB", header)
    if depth not in _DEPTHS.get(colour, ()) or packing or filtering or interlace not in _PASSES:
        raise PngError(f"{path}: unknown form {header.hex()}")
    if not width or not height:
        raise PngError(f"{path}: {width} x {height} pixels")
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(bytes(data)) + inflater.flush()
    except zlib.error as error:
        raise PngError(f"{path}: {error}") from error
    bits, rows, used = _CHANNELS[colour] * depth, [], 0
    for left, top, across, down in _PASSES[interlace]:
        columns, lines = -((left - width) // across), -((top - height) // down)
        if columns <= 0 or lines <= 0:
            continue
        stride = (columns * bits + 7) // 8
        block = plain[used : used + lines * (stride + 1)]
        used += len(block)
        if len(block) != lines * (stride + 1):
            raise PngError(f"{path}: the pixels end after {len(plain)} bytes")
        rows += _unfilter(path, block, stride, max(1, bits // 8))
    if not inflater.eof or used != len(plain):
        raise PngError(f"{path}: {len(plain)} bytes of scan lines, not {used}")
    return Picture(width=width, height=height, depth=depth, rows=tuple(rows))


def _unfilter(path: Path, plain: bytes, stride: int, pixel: int) -> list[bytes]:
    rows: list[bytes] = []
    above = bytes(stride)
    for start in range(0, len(plain), stride + 1):
        kind, row = plain[start], bytearray(plain[start + 1 : start + 1 + stride])
        if kind > 4:
            raise PngError(f"{path}: unknown filter {kind}")
        for i in range(stride):
            left = row[i - pixel] if i >= pixel else 0
            corner = above[i - pixel] if i >= pixel else 0
            up = above[i]
            guess = (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]
            row[i] = (row[i] + guess) & 0xFF
        above = bytes(row)
        rows.append(above)
    return rows


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))
