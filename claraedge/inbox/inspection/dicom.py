"""Reads the UIDs in the header of a DICOM file: which study, series and instance it belongs to.

It reads as far as the UIDs, whatever encoding the file declares, and skips every other value: it
costs the same for a file of 5 GB. Work and memory are bounded, and no content makes it raise. UIDs
are compared as they are: that some devices write UIDs which the standard does not allow is no
reason to separate the files of a study.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from claraedge.inbox.inspection.dicom_bytes import (
    MAX_BYTES,
    ByteSource,
    FileBytes,
    InflatedBytes,
    TooLongError,
)
from claraedge.inbox.inspection.dicom_elements import (
    REPRESENTATIONS,
    UNDEFINED,
    WITHOUT_PRIVATE,
    Elements,
    UnreadableError,
    begins_at,
    shown,
)
from claraedge.inbox.inspection.dicom_end import cut_off

_PREAMBLE = 128
_MAGIC = b"DICM"

_STUDY, _SERIES, _INSTANCE = 0x0020000D, 0x0020000E, 0x00080018
_NAMES = {_STUDY: "StudyInstanceUID", _SERIES: "SeriesInstanceUID", _INSTANCE: "SOPInstanceUID"}
_META_GROUP, _MEDIA_STORAGE_CLASS = 0x0002, 0x00020002
#: What identifies a DICOMDIR: its class, and the elements of its records (PS3.3 F.3).
_DIRECTORY_CLASS, _DIRECTORY = b"1.2.840.10008.1.3.10", range(0x00041130, 0x00041601)

#: Most bytes of a UID (the standard allows 64): a longer one means that its length is damaged.
_MAX_UID = 1024
#: Characters that devices pad a UID with; the standard has one NUL.
_PADDING = b"\0 \t\r\n"

#: UIDs that are used as names unchanged. Longer or other ones may be invalid names of folders.
_NAME = re.compile(rb"[0-9]+(\.[0-9]+)*")
_MAX_NAME = 128

#: Why a file without a series belongs to no group by series; follows the file's name.
NO_SERIES = (
    f"is a DICOM file without a {_NAMES[_SERIES]} (0020,000E): have it sent or exported again with"
    ' one, or let its trigger group by study (grouping = "dicom-study")'
)

#: First bytes of other files that people drop -> what they are, and what to do.
_OTHERS: Mapping[bytes, str] = {
    b"PK\x03\x04": "a ZIP archive, not a DICOM file: unpack it, and drop what is in it",
    b"\x1f\x8b": "a gzip archive, not a DICOM file: unpack it, and drop what is in it",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive, not a DICOM file: unpack it, and drop what is in it",
    b"Rar!\x1a\x07": "a RAR archive, not a DICOM file: unpack it, and drop what is in it",
    b"\xff\xd8\xff": "a JPEG picture, not a DICOM file: export the study as DICOM",
    b"\x89PNG\r\n": "a PNG picture, not a DICOM file: export the study as DICOM",
    b"%PDF-": "a PDF document, not a DICOM file: export the study as DICOM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The UIDs of a DICOM file: bytes as in the file, without padding."""

    study: bytes
    series: bytes
    """Empty where the file has none."""
    instance: bytes
    """SOP instance UID; empty where the file has none."""
    cut: str = field(default="", compare=False)
    """What is missing at its end; follows the file's name. Empty: nothing that can be detected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unidentified:
    """A file whose study cannot be read."""

    reason: str
    """The rest of a sentence that begins with the file's name: "is not a DICOM file: ...". It says
    what to do."""
    cut: bool = False
    """It begins as a DICOM file and ends inside its header: perhaps it is still being written."""
    other: bool = False
    """It is certainly no file of a study: no DICOM file at all, or an index."""


def identify(descriptor: int) -> Identity | Unidentified:
    """Reads the header of an open regular file; its position is neither used nor moved. Blocking.

    Raises OSError where the disk fails, and no other error.
    """
    file = FileBytes(descriptor)
    try:
        return _uids(*_data_set(file))
    except UnreadableError as error:
        return Unidentified(reason=error.reason, cut=error.cut, other=error.other)
    except TooLongError:
        return Unidentified(
            reason=f"does not have all its UIDs in the first {MAX_BYTES >> 20} MiB of its DICOM"
            f" header: {WITHOUT_PRIVATE}"
        )


def name_of(uid: bytes) -> str:
    """Returns a text for a UID that is a safe name of a folder or a job, and unique to this UID.

    It is the UID itself where that consists of digits and dots.
    """
    if len(uid) <= _MAX_NAME and _NAME.fullmatch(uid):
        return uid.decode("ascii")
    plain = re.sub(rb"[^0-9A-Za-z.]+", b"-", uid)[:64].strip(b".-").decode("ascii")
    return f"{plain or 'uid'}-{hashlib.sha256(uid).hexdigest()[:16]}"


def _data_set(file: FileBytes) -> tuple[ByteSource, int]:
    """Returns the bytes that contain the data set, and its offset in them.

    Raises UnreadableError where there is no data set.
    """
    place = _start(file)
    # The file meta group ends where another begins: its length (0002,0000) is often wrong.
    for element in Elements(file, place):
        place = element.place
        if element.tag >> 16 != _META_GROUP:
            break
        if element.length == UNDEFINED:
            continue
        if element.tag == _MEDIA_STORAGE_CLASS and (
            _uid(file, element.start, element.length) == _DIRECTORY_CLASS
        ):
            raise _directory()
        place = element.start + element.length
        if file.at(place, 2) not in (b"\2\0", b"\0\2"):
            break  # the data set begins here, perhaps in another coding
    if begins_at(file, place) or file.at(place, 6)[4:] in REPRESENTATIONS:
        return file, place
    # Whether the data set is deflated (PS3.5 A.5) is tried: what the file declares may be wrong.
    inflated = InflatedBytes(file, place)
    is_cut = len(inflated.at(0, 8)) < 8 and not inflated.damaged
    return (inflated, 0) if is_cut or begins_at(inflated, 0) else (file, place)


def _start(file: FileBytes) -> int:
    """Returns the offset of the first element: after the preamble and magic word, if it has them.

    Raises UnreadableError for what is no DICOM file.
    """
    start = file.at(0, _PREAMBLE + len(_MAGIC))
    after_magic = [
        place + len(_MAGIC)
        for place in (_PREAMBLE, 0)
        if start[place : place + len(_MAGIC)] == _MAGIC
    ]
    # The magic word may be part of a value: it decides only where `begins_at` finds none.
    for place in (*after_magic, 0, _PREAMBLE):
        if begins_at(file, place):
            return place
    if after_magic:
        return after_magic[0]
    if not start:
        raise UnreadableError("is empty: send or copy it again", cut=True)
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise UnreadableError(f"is {what}", other=True)
    if _MAGIC.startswith(start.strip(b"\0")):
        raise UnreadableError(
            "has no more than an empty preamble at its beginning: if it is to be a DICOM file, its"
            " transfer did not end; send or copy it again",
            cut=True,
        )
    raise UnreadableError("is not a DICOM file: export it as DICOM, or remove it", other=True)


def _uids(source: ByteSource, place: int) -> Identity | Unidentified:
    found: dict[int, bytes] = {}
    last = 0
    # The order of tags is relied on only to conclude that an element is missing.
    data_set = Elements(source, place)
    elements = iter(data_set)
    for element in elements:
        place = element.place
        if element.tag in _NAMES:
            if not element.followed:  # its length is damaged, and so its value is too
                raise data_set.broken(element.tag, element.start + element.length)
            if not found.get(element.tag):
                found[element.tag] = _uid(source, element.start, element.length)
        elif element.tag in _DIRECTORY:
            raise _directory()
        last = max(last, element.tag)
        if found.get(_STUDY) and (found.get(_SERIES) or last > _SERIES):
            break
    study, series = found.get(_STUDY, b""), found.get(_SERIES, b"")
    if study and (series or last > _SERIES):
        if isinstance(source, FileBytes):
            cut = cut_off(source, place, elements)
        elif isinstance(source, InflatedBytes) and source.is_cut():
            cut = "ends in its deflated data: its transfer did not end; copy it here again"
        else:
            cut = ""
        instance = found.get(_INSTANCE, b"")
        return Identity(study=study, series=series, instance=instance, cut=cut)
    name = f"{_NAMES[_STUDY]} {shown(_STUDY)}"
    again = "have it sent or exported again with one"
    if _STUDY not in found and data_set.lost is not None:
        raise data_set.broken(*data_set.lost)
    if last <= _SERIES and not series:
        after = f" after {shown(last)}" if last else ""
        return Unidentified(
            reason=f"is a DICOM file that ends{after}, before the place of its {_NAMES[_SERIES]}:"
            f" copy it again, or {again}",
            cut=True,
        )
    if _STUDY in found:
        return Unidentified(reason=f"is a DICOM file whose {name} is empty: {again}")
    return Unidentified(reason=f"is a DICOM file without a {name}: {again}")


def _uid(source: ByteSource, start: int, length: int) -> bytes:
    if length > _MAX_UID:
        what = "no length" if length == UNDEFINED else f"{length} bytes"
        raise UnreadableError(
            f"has a damaged DICOM header: a UID of {what}; have it sent or exported again"
        )
    # Bytes after a NUL are remains of the device's memory.
    return source.at(start, length).strip(_PADDING).partition(b"\0")[0].rstrip(_PADDING)


def _directory() -> UnreadableError:
    return UnreadableError(
        "is a DICOMDIR, the index of a CD or another medium, and belongs to no study: its images"
        " are taken without it",
        other=True,
    )
