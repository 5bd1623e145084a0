"""Which study, series and instance a file belongs to: a small reader of DICOM headers.

It reads as far as the UIDs (PS3.5 chapter 7, PS3.10 chapter 7) and jumps over every value that it
does not want, so that it costs the same for a file of 5 GB. It reads what devices really write: any
transfer syntax, data sets without preamble or file meta group, sequences without a length. Work is
bounded, and no content makes it raise.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

#: Elements looked at, and bytes read or inflated, until a file is given up.
MAX_ELEMENTS = 50_000
MAX_BYTES = 8 << 20
MAX_DEPTH = 16

_BLOCK = 8192
_PREAMBLE = 128

_STUDY, _SERIES, _INSTANCE = 0x0020000D, 0x0020000E, 0x00080018
_NAMES = {_STUDY: "StudyInstanceUID", _SERIES: "SeriesInstanceUID"}
_MEDIA_STORAGE_CLASS, _TRANSFER_SYNTAX = 0x00020002, 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = 0x7FE00000
_UNDEFINED = 0xFFFFFFFF

_DICOMDIR = "1.2.840.10008.1.3.10"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
#: Explicit little endian in a raw zlib stream, and JPIP's two of the same coding (PS3.5 A.5).
_DEFLATED = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)

#: Value representations with a length of 32 bits (PS3.5 7.1.2), and all the others.
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())

#: Stricter than digits and dots: a UID names folders and jobs, where ".." would lead elsewhere.
_UID = re.compile(rb"[0-9]+(\.[0-9]+)*")
_UID_LENGTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The UIDs of a DICOM file, without padding."""

    study: str
    series: str
    """Empty where the file has none."""
    instance: str
    """SOP instance UID; empty where the file has none, or none that is valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unidentified:
    """A file that belongs to no study."""

    reason: str
    """A sentence's end, to follow the file's name: "is not a DICOM file"."""
    cut: bool = False
    """It begins as a DICOM file and ends inside its header: perhaps it is still being written."""
    other: bool = False
    """It is certainly a part of no study: no DICOM at all, or an index."""


def identify(descriptor: int) -> Identity | Unidentified:
    """Reads the header of an open regular file; its position is neither used nor moved. Blocking.

    Raises OSError where the disk says no, and for nothing else.
    """
    try:
        return _identify(_File(descriptor))
    except _RefusedError as refused:
        return Unidentified(reason=refused.reason, cut=refused.cut, other=refused.other)


class _RefusedError(Exception):
    def __init__(self, reason: str, *, cut: bool = False, other: bool = False) -> None:
        super().__init__(reason)
        self.other = other
        self.reason = reason
        self.cut = cut


def _ended() -> _RefusedError:
    return _RefusedError("ends in the middle of its DICOM header", cut=True)


def _damaged() -> _RefusedError:
    return _RefusedError("has a damaged DICOM header")


# --- bytes ------------------------------------------------------------------------------------


class _Source:
    """Bytes from first to last, of which some are jumped over."""

    def __init__(self) -> None:
        self._held = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        found = self.peek(count)
        if len(found) < count:
            raise _ended()
        self._at += count
        return found

    def peek(self, count: int) -> bytes:
        """The next bytes; fewer only at the end."""
        while len(self._held) - self._at < count:
            more = self._more()
            if not more:
                break
            self._held, self._at = self._held[self._at :] + more, 0
        return self._held[self._at : self._at + count]

    def skip(self, count: int) -> None:
        left = len(self._held) - self._at
        if count <= left:
            self._at += count
            return
        self._held, self._at = b"", 0
        self._pass(count - left)

    def _more(self) -> bytes:
        raise NotImplementedError

    def _pass(self, count: int) -> None:
        raise NotImplementedError


class _File(_Source):
    """A file; what is skipped is not read."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._next = self._read = 0
        self.size = os.fstat(descriptor).st_size

    def block(self) -> bytes:
        """All that is at hand, or the next block; empty at the end."""
        return self.take(len(self._held) - self._at or len(self.peek(_BLOCK)))

    def _more(self) -> bytes:
        if self._read > MAX_BYTES:
            raise _RefusedError(f"has no UIDs in the first {MAX_BYTES >> 20} MiB of its header")
        found = os.pread(self._descriptor, _BLOCK, self._next)
        self._next += len(found)
        self._read += len(found)
        return found

    def _pass(self, count: int) -> None:
        self._next += count
        if self._next > self.size:
            raise _ended()


class _Inflated(_Source):
    """The rest of a file, which is one raw deflate stream."""

    def __init__(self, file: _File) -> None:
        super().__init__()
        self._file = file
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._made = 0

    def _more(self) -> bytes:
        if self._made > MAX_BYTES:
            raise _RefusedError(f"has no UIDs in the first {MAX_BYTES >> 20} MiB of its header")
        while not self._inflater.eof:
            block = self._inflater.unconsumed_tail or self._file.block()
            try:
                found = self._inflater.decompress(block, _BLOCK)
            except zlib.error as error:
                raise _damaged() from error
            if found:
                self._made += len(found)
                return found
            if not block:
                break
        return b""

    def _pass(self, count: int) -> None:
        while count:
            more = self._more()
            if not more:
                raise _ended()
            if len(more) > count:
                self._held, self._at = more, count
                return
            count -= len(more)


# --- elements ---------------------------------------------------------------------------------


class _Element(NamedTuple):
    tag: int
    length: int
    unknown: bool
    """Its representation is UN: without a length, it is a sequence in implicit coding (CP 246)."""


class _Elements:
    """The elements of a source, one after the other; the caller takes or passes each value."""

    def __init__(self, source: _Source, *, big: bool, implicit: bool) -> None:
        self.source = source
        self._implicit = implicit
        order = ">" if big else "<"
        self._long = struct.Struct(order + "HHI")
        self._short = struct.Struct(order + "HH2sH")
        self._length = struct.Struct(order + "I")
        self._seen = 0

    def element(self, *, implicit: bool = False) -> _Element:
        self._seen += 1
        if self._seen > MAX_ELEMENTS:
            raise _RefusedError(f"has no UIDs in the first {MAX_ELEMENTS} elements of its header")
        head = self.source.take(8)
        group, element, length = self._long.unpack(head)
        tag = group << 16 | element
        if implicit or self._implicit or group == 0xFFFE:
            return _Element(tag, length, unknown=False)
        representation = head[4:6]
        if representation in _LONG:
            (length,) = self._length.unpack(self.source.take(4))
            return _Element(tag, length, unknown=representation == b"UN")
        if representation.isalpha() and representation.isupper():
            return _Element(tag, self._short.unpack(head)[3], unknown=False)
        # Some devices write single elements, or whole items, in the implicit coding.
        return _Element(tag, length, unknown=False)

    def skip(self, element: _Element, *, implicit: bool = False, depth: int = 0) -> None:
        """Passes the value of an element."""
        if element.length != _UNDEFINED:
            self.source.skip(element.length)
            return
        if depth >= MAX_DEPTH:
            raise _RefusedError(f"has DICOM sequences nested deeper than {MAX_DEPTH}")
        inner_implicit = implicit or element.unknown
        while (item := self.element()).tag != _SEQUENCE_END:
            if item.tag != _ITEM:
                raise _damaged()
            if item.length != _UNDEFINED:
                self.source.skip(item.length)
                continue
            while (inner := self.element(implicit=inner_implicit)).tag != _ITEM_END:
                self.skip(inner, implicit=inner_implicit, depth=depth + 1)

    def uid(self, element: _Element) -> bytes | None:
        """The value of an element, without padding; None where it is no UID."""
        if element.length > 2 * _UID_LENGTH:
            return None
        value = self.source.take(element.length).strip(b"\0 ")
        sound = not value or (len(value) <= _UID_LENGTH and _UID.fullmatch(value))
        return value if sound else None


# --- files ------------------------------------------------------------------------------------


def _identify(file: _File) -> Identity:
    start = file.peek(_PREAMBLE + 4)
    if start[_PREAMBLE:] == b"DICM":
        file.skip(_PREAMBLE + 4)
    elif not _is_data_set(start, file.size):
        if start and len(start) < _PREAMBLE + 4 and b"DICM".startswith(start.lstrip(b"\0")):
            raise _ended()
        if start and not start.strip(b"\0"):
            raise _RefusedError("begins with zeros alone, as a file whose content was lost")
        if not start:
            raise _RefusedError("is empty, so it is no DICOM file")
        raise _RefusedError("is not a DICOM file", other=True)
    syntax = _transfer_syntax(file)
    source: _Source = _Inflated(file) if syntax in _DEFLATED else file
    first = source.peek(8)
    if len(first) < 8:
        raise _ended()
    # Which byte order a file says is believed; whether it is explicit is better looked at.
    big = syntax == _BIG_ENDIAN if syntax else first[0] == 0
    return _uids(_Elements(source, big=big, implicit=first[4:6] not in _LONG | _SHORT))


def _is_data_set(start: bytes, size: int) -> bool:
    """Whether a file without preamble begins with an element of group 0002 or 0008."""
    if len(start) < 8 or start[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        return False
    order = "<" if start[1] == 0 else ">"
    (length,) = struct.unpack_from(order + "I", start, 4)
    explicit = start[4:6] in _LONG | _SHORT
    return explicit or (order == "<" and length <= min(size, 1024))


def _transfer_syntax(file: _File) -> str:
    """Passes the file meta group, which is explicit little endian always; '' where it says none."""
    elements = _Elements(file, big=False, implicit=False)
    syntax = ""
    while file.peek(2) == b"\x02\0":
        element = elements.element()
        if element.tag not in (_TRANSFER_SYNTAX, _MEDIA_STORAGE_CLASS):
            elements.skip(element)
            continue
        uid = (elements.uid(element) or b"").decode()
        if element.tag == _TRANSFER_SYNTAX:
            syntax = uid
        elif uid == _DICOMDIR:
            raise _RefusedError(
                "is a DICOMDIR, the index of a medium, which belongs to no study", other=True
            )
    return syntax


def _uids(elements: _Elements) -> Identity:
    found: dict[int, str] = {}
    last = 0
    # The order of tags is not relied on for what is there, only for what is not.
    while not (_STUDY in found and (_SERIES in found or last > _SERIES)):
        if not elements.source.peek(1):
            if last < _SERIES:
                raise _RefusedError("ends before the place of its study and series UIDs", cut=True)
            break
        element = elements.element()
        if element.tag >= _PIXELS:
            break
        if element.tag >> 16 == 0:  # room that was reserved and is not written yet
            raise _ended() if element == (0, 0, False) else _damaged()
        last = max(last, element.tag)
        if element.tag not in (_STUDY, _SERIES, _INSTANCE):
            elements.skip(element)
            continue
        uid = elements.uid(element)
        if uid is None and element.tag != _INSTANCE:
            raise _RefusedError(f"has a {_NAMES[element.tag]} that is no valid UID")
        if uid:
            found.setdefault(element.tag, uid.decode())
    if _STUDY not in found:
        raise _RefusedError(f"is a DICOM file without a {_NAMES[_STUDY]}")
    return Identity(
        study=found[_STUDY], series=found.get(_SERIES, ""), instance=found.get(_INSTANCE, "")
    )
