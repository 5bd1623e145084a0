"""Tells what a file is, by its name and its first bytes. Pure."""

from __future__ import annotations

from enum import StrEnum

#: Bytes from the beginning of a file that `kind_of` needs.
HEAD = 512


class FileKind(StrEnum):
    """What shows a file."""

    DICOM = "dicom"
    EMPTY = "empty"
    IMAGE = "image"
    JSON = "json"
    REPORT = "report"
    """A page of HTML."""
    TABLE = "table"
    TEXT = "text"
    """Text, or bytes that nothing shows: what is decoded tells them apart."""
    OTHER = "other"


_SUFFIXES = {
    "csv": FileKind.TABLE,
    "dcm": FileKind.DICOM,
    "dicom": FileKind.DICOM,
    "geojson": FileKind.JSON,
    "htm": FileKind.REPORT,
    "html": FileKind.REPORT,
    "json": FileKind.JSON,
    "svg": FileKind.IMAGE,
    "tsv": FileKind.TABLE,
}
#: First bytes of images that browsers show.
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
#: First bytes of files that are no text, although a part of them may seem so.
_OTHERS = (b"%PDF-", b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


def kind_of(name: str, head: bytes) -> FileKind:
    """Returns what shows a file.

    `head`: its first `HEAD` bytes, or all of them. What the bytes say counts more than the name.
    """
    if not head:
        return FileKind.EMPTY
    if head[128:132] == b"DICM":
        return FileKind.DICOM
    if head.startswith(_IMAGES) or _is_webp(head) or _is_bmp(name, head):
        return FileKind.IMAGE
    if head.startswith(_OTHERS):
        return FileKind.OTHER
    return _SUFFIXES.get(_suffix(name), FileKind.TEXT)


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _is_bmp(name: str, head: bytes) -> bool:
    """The mark of a bitmap has two letters, with which a text may begin as well."""
    return head[:2] == b"BM" and _suffix(name) == "bmp"


def _suffix(name: str) -> str:
    _, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return suffix.lower() if dot else ""
