"""Archives that are written as a stream, read by others' programs."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from claraedge.web.files import zips
from claraedge.web.files.zips import ZipWriter, safe


def packed(*files: tuple[str, bytes]) -> bytes:
    archive = ZipWriter()
    found = bytearray()
    for name, content in files:
        found += archive.begin(name, len(content), 0o640)
        for at in range(0, len(content), 1000):
            found += archive.data(content[at : at + 1000])
        found += archive.end()
    return bytes(found) + b"".join(archive.finish())


FILES = [("a/b.bin", os.urandom(5000)), ("empty", b""), ("ä/ö 漢.txt", b"text" * 1000)]


def test_python_reads_it() -> None:
    with zipfile.ZipFile(io.BytesIO(packed(*FILES))) as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name)) for name in archive.namelist()] == FILES
        assert archive.infolist()[0].external_attr >> 16 == 0o100640


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_reads_it(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(packed(*FILES))
    subprocess.run(["unzip", "-q", "x.zip"], cwd=tmp_path, check=True)
    assert (tmp_path / "a" / "b.bin").read_bytes() == FILES[0][1]


def test_the_same_files_give_the_same_bytes() -> None:
    assert packed(*FILES) == packed(*FILES)


def test_an_archive_without_files_is_valid() -> None:
    with zipfile.ZipFile(io.BytesIO(packed())) as archive:
        assert archive.namelist() == []


def test_large_files_and_far_offsets_use_zip64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "_LARGE", 3000)
    content = packed(*FILES, ("last", b"1"))
    monkeypatch.undo()
    # Readers recognise a number of 64 bits by 0xFFFFFFFF in its place.
    small = (3000).to_bytes(4, "little")
    assert content.count(small) > 3
    with zipfile.ZipFile(io.BytesIO(content.replace(small, b"\xff" * 4))) as archive:
        assert archive.testzip() is None
        assert [info.file_size for info in archive.infolist()] == [5000, 0, 4000, 1]


def test_many_files_use_zip64_and_little_memory() -> None:
    archive, size = ZipWriter(), 0
    parts: list[bytes] = []
    tracemalloc.start()
    for number in range(70_000):
        size += len(archive.begin(f"series/{number:06}.dcm", 0, 0o644)) + len(archive.end())
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 5 << 20, "most of the directory is compressed"
    parts = list(archive.finish())
    assert max(map(len, parts)) <= 1 << 20
    # The directory alone, after as many bytes as the files had.
    with zipfile.ZipFile(io.BytesIO(bytes(size) + b"".join(parts))) as found:
        assert len(found.namelist()) == 70_000


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b c.txt", "a/b c.txt"),
        ("..\\..\\x", "..%5C..%5Cx"),
        ("C:x", "C%3Ax"),
        ("a\nb", "a%0Ab"),
        ("100%.txt", "100%.txt"),
        ("%5C", "%255C"),
        ("%255C", "%25255C"),
        ("ä", "ä"),
    ],
)
def test_names_are_safe_to_extract_and_stay_different(name: str, expected: str) -> None:
    assert safe(name) == expected


@pytest.mark.parametrize("content", [b"12", b"1234"])
def test_a_file_of_another_size_is_an_error(content: bytes) -> None:
    archive = ZipWriter()
    archive.begin("a", 3, 0o644)
    with pytest.raises(ValueError, match="bytes"):  # noqa: PT012
        archive.data(content)
        archive.end()
