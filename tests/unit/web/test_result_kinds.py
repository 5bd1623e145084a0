from __future__ import annotations

import pytest

from claraedge.web.console.results.kinds import FileKind, kind_of

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
DICOM = bytes(128) + b"DICM" + bytes(20)


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("output/a.png", PNG, FileKind.IMAGE),
        ("output/a.jpg", b"\xff\xd8\xff\xe0rest", FileKind.IMAGE),
        ("output/a.webp", b"RIFF\x10\x00\x00\x00WEBPVP8 ", FileKind.IMAGE),
        ("output/a.gif", b"GIF89a rest", FileKind.IMAGE),
        ("output/a.bmp", b"BM\x10\x00", FileKind.IMAGE),
        ("output/a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", FileKind.IMAGE),
        ("output/a.dcm", DICOM, FileKind.DICOM),
        ("output/a.dcm", b"\x08\x00\x16\x00UI", FileKind.DICOM),
        ("output/IM000001", DICOM, FileKind.DICOM),
        ("output/a.csv", b"a;b", FileKind.TABLE),
        ("output/a.TSV", b"a\tb", FileKind.TABLE),
        ("output/a.json", b"{}", FileKind.JSON),
        ("output/report.HTML", b"<p>", FileKind.REPORT),
        ("output/notes", b"text", FileKind.TEXT),
        ("output/a.pdf", b"%PDF-1.7", FileKind.OTHER),
        ("output/a.nii.gz", b"\x1f\x8b\x08", FileKind.OTHER),
        ("output/a.csv", b"", FileKind.EMPTY),
    ],
)
def test_a_file_is_shown_by_what_it_is(name: str, head: bytes, kind: FileKind) -> None:
    assert kind_of(name, head) is kind


@pytest.mark.parametrize("name", ["page.html", "data.json", "table.csv", "slice.dcm"])
def test_first_bytes_count_more_than_a_name(name: str) -> None:
    assert kind_of(name, PNG) is FileKind.IMAGE
    assert kind_of(name, b"%PDF-1.7") is FileKind.OTHER


def test_a_name_alone_makes_no_image() -> None:
    assert kind_of("a.png", b"<script>alert(1)</script>") is FileKind.TEXT
    assert kind_of("notes.txt", b"BMI of 22.4") is FileKind.TEXT
    assert kind_of("folder.html/notes", b"text") is FileKind.TEXT
