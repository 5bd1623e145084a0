"""Recognises by its first bytes a file that is not what its name says. Pure."""

from __future__ import annotations

#: Number of bytes from a file's beginning that are needed for that.
HEAD = 512

#: (offset, bytes, description of such a file): the magic numbers that `file` and libarchive know.
_ARCHIVES = (
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\x1f\x8b", "a gzip file, as tar.gz is"),
    (0, b"BZh", "a bzip2 file, as tar.bz2 is"),
    (0, b"\xfd7zXZ\x00", "an xz file, as tar.xz is"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file, as tar.zst is"),
    (257, b"ustar", "a tar archive"),
    (0, b"MZ", "a Windows program, as a self-extracting archive is"),
)
_SPLIT = b"PK\x07\x08"
_ENTRY = b"PK\x03\x04"
#: Git LFS, docs/spec.md: a pointer is UTF-8 text whose first line is the version.
_POINTERS = (
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
)
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body")
_REFUSAL = b"<error>"

_SEND_FOLDER = "unpack it, and send the folder: claraedge create model -p FOLDER -t TYPE"


def not_content(head: bytes) -> str | None:
    """Returns what a file is that replaces the content of a model, and what to do; else None.

    The text follows the file's name, as in all functions here.
    """
    if head.startswith(_POINTERS):
        return (
            "is a Git LFS pointer, a few lines of text in place of the file: run `git lfs pull` in"
            " the clone that it comes from, or take it from the web page by its download button"
        )
    if head.startswith(b"/annex/objects/"):
        return (
            "is a git-annex pointer, a line of text in place of the file: run `git annex get` in"
            " the clone that it comes from"
        )
    if is_page(head):
        return (
            "is a web page, saved in place of the file: download it again by the page's download"
            " button, logged in where the site asks for it"
        )
    return None


def is_page(head: bytes) -> bool:
    """Whether a file is HTML, or the XML with which object stores refuse a download."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<?xml"):
        text = text.partition(b"?>")[2].lstrip()
        return text.startswith((_REFUSAL, *_PAGES))
    return text.startswith(_PAGES)


def not_a_zip(head: bytes) -> str:
    """Returns what a file is that should be a zip archive but cannot be read, and what to do."""
    if not head:
        return "is empty: copy or download it again"
    for offset, magic, what in _ARCHIVES:
        if head[offset:].startswith(magic):
            return f"is {what}, not a zip archive: {_SEND_FOLDER}"
    if head.startswith(_SPLIT):
        return is_split()
    if head.startswith(_ENTRY):
        return (
            "is a zip archive whose end is missing: it is still being copied or downloaded, or that"
            " broke off, or it is the first part of a split one; wait, or get it again whole"
        )
    other = not_content(head)
    if other is not None:
        return other
    return (
        "is neither a folder nor a zip archive: send the model's folder, with config.pbtxt and a"
        " folder for each version in it, or a zip archive of that"
    )


def is_split() -> str:
    """Returns the text for one part of a split archive, and what to do."""
    return (
        "is one part of a split zip archive: unpack all parts together, as 7-Zip does from the"
        " first one, and send the folder: claraedge create model -p FOLDER -t TYPE"
    )


def is_of_large_mac() -> str:
    """Returns the text for an archive whose offsets lack their upper 32 bits, and what to do."""
    return (
        "is an archive of a Mac's Archive Utility of more than 4 GB, which has wrong places of"
        " its files: make it in the Terminal, zip -r model.zip FOLDER, or send the folder itself:"
        " claraedge create model -p FOLDER -t TYPE"
    )
