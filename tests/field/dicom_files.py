"""DICOM files, byte by byte: what toolkits refuse to write and devices do. Values are not real."""

from __future__ import annotations

import os
import struct

from claraedge.inbox.inspection.dicom import Identity, Unidentified, identify

UNDEFINED = 0xFFFFFFFF
EXPLICIT = b"1.2.840.10008.1.2.1\0"
IMPLICIT = b"1.2.840.10008.1.2\0"
BIG = b"1.2.840.10008.1.2.2\0"
DEFLATED = b"1.2.840.10008.1.2.1.99"
CT_CLASS = b"1.2.840.10008.5.1.4.1.1.2\0"

STUDY, SERIES, INSTANCE = b"1.2.3.4", b"1.2.3.4.5", b"1.2.3.4.5.6"
WHOLE = Identity(study=STUDY, series=SERIES, instance=INSTANCE)
_OTHER = b"9.9.9\0"


def short(tag: int, representation: bytes, value: bytes, order: str = "<") -> bytes:
    """With a representation, and a length of 16 bits."""
    head = struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, representation, len(value))
    return head + value


def long(
    tag: int, representation: bytes, value: bytes, length: int | None = None, order: str = "<"
) -> bytes:
    """With a representation, and a length of 32 bits."""
    size = len(value) if length is None else length
    return (
        struct.pack(order + "HH2sHI", tag >> 16, tag & 0xFFFF, representation, 0, size) + value
    )  # fmt: skip


def bare(tag: int, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    """Without a representation; an item or a delimiter."""
    size = len(value) if length is None else length
    return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, size) + value


def item(content: bytes, length: int | None = None, order: str = "<") -> bytes:
    return bare(0xFFFEE000, content, length, order)


ITEM_END, SEQUENCE_END = bare(0xFFFEE00D, b""), bare(0xFFFEE0DD, b"")


def meta(
    syntax: bytes = EXPLICIT, *, length: int | None = None, sop_class: bytes = CT_CLASS
) -> bytes:
    """Preamble and file meta group."""
    content = short(0x00020002, b"UI", sop_class) + short(0x00020010, b"UI", syntax)
    size = len(content) if length is None else length
    return bytes(128) + b"DICM" + short(0x00020000, b"UL", struct.pack("<I", size)) + content


def padded(uid: bytes) -> bytes:
    return uid + b"\0" * (len(uid) % 2)


#: What is before anything odd, and after it.
HEAD = short(0x00080005, b"CS", b"ISO_IR 100") + short(0x00080018, b"UI", padded(INSTANCE))
TAIL = (
    short(0x00100010, b"PN", b"A^B ")
    + short(0x0020000D, b"UI", padded(STUDY))
    + short(0x0020000E, b"UI", padded(SERIES))
    + short(0x00280010, b"US", b"\2\0")
    + long(0x7FE00010, b"OW", bytes(512))
)
IMPLICIT_HEAD = bare(0x00080005, b"ISO_IR 100") + bare(0x00080018, padded(INSTANCE))
IMPLICIT_TAIL = (
    bare(0x00100010, b"A^B ")
    + bare(0x0020000D, padded(STUDY))
    + bare(0x0020000E, padded(SERIES))
    + bare(0x00280010, b"\2\0")
    + bare(0x7FE00010, bytes(512))
)
OWNER = short(0x00090010, b"LO", b"SOME DEVICE ")
#: In an item of a sequence: another study's.
INNER = (
    short(0x00081150, b"UI", b"1.2\0")
    + short(0x0020000D, b"UI", _OTHER)
    + short(0x0020000E, b"UI", _OTHER)
)
IMPLICIT_INNER = (
    bare(0x00081150, b"1.2\0") + bare(0x0020000D, _OTHER) + bare(0x0020000E, _OTHER)
)  # fmt: skip


def with_odd(odd: bytes) -> bytes:
    """An explicit file with this between its instance and its patient."""
    return meta() + HEAD + odd + TAIL


def read(content: bytes) -> Identity | Unidentified:
    descriptor = os.memfd_create("file")
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        return identify(descriptor)
    finally:
        os.close(descriptor)
