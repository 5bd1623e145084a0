"""The demo's own check of a picture: what a viewer would show passes, everything else does not."""

from __future__ import annotations

import importlib.util
import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest

WIDTH, HEIGHT = 13, 9


@pytest.fixture(scope="module")
def png() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / "build" / "lib" / "png.py"
    spec = importlib.util.spec_from_file_location("png", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["png"] = module  # dataclasses need their module there
    spec.loader.exec_module(module)
    return module


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def picture(lines: bytes, *, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, interlace)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )  # fmt: skip


PIXELS = [bytes((7 * x + 31 * y) & 0xFF for x in range(WIDTH)) for y in range(HEIGHT)]


def filtered(kind: int) -> bytes:
    """PIXELS with one of the five filters, written from the specification's formulas."""
    lines = b""
    for y, row in enumerate(PIXELS):
        above = PIXELS[y - 1] if y else bytes(WIDTH)
        line = bytearray()
        for x, value in enumerate(row):
            a, b, c = (row[x - 1] if x else 0), above[x], (above[x - 1] if x else 0)
            pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
            paeth = a if pa <= pb and pa <= pc else b if pb <= pc else c
            line.append((value - (0, a, b, (a + b) // 2, paeth)[kind]) & 0xFF)
        lines += bytes([kind]) + line
    return lines


@pytest.mark.parametrize("kind", range(5))
def test_every_filter_is_undone(png: ModuleType, tmp_path: Path, kind: int) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(picture(filtered(kind)))
    decoded = png.decode(file)
    assert (decoded.width, decoded.height) == (WIDTH, HEIGHT)
    assert list(decoded.rows) == PIXELS


def test_an_interlaced_picture_is_decoded(png: ModuleType, tmp_path: Path) -> None:
    steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]  # fmt: skip  # noqa: E501
    passes = [row[x::dx] for x, y, dx, dy in steps for row in PIXELS[y::dy] if row[x::dx]]
    file = tmp_path / "x.png"
    file.write_bytes(picture(b"".join(b"\0" + row for row in passes), interlace=1))
    assert list(png.decode(file).rows) == passes


GOOD = picture(filtered(4))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a" + GOOD,
        GOOD[:-5],  # cut in the last chunk
        GOOD[:60],  # cut in the pixels
        GOOD[:45] + bytes([GOOD[45] ^ 1]) + GOOD[46:],  # one bit turned
        picture(filtered(0)[:-1]),  # one pixel short
        picture(filtered(0) + b"\0"),  # one byte long
        picture(bytes([9]) + filtered(0)[1:]),  # no such filter
        picture(filtered(0), interlace=2),
    ],
)
def test_what_no_viewer_would_show_is_refused(
    png: ModuleType, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(content)
    with pytest.raises(png.PngError):
        png.decode(file)
