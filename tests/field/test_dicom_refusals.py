"""A file that belongs to no study is refused with a reason that is true and says what to do."""

from __future__ import annotations

import gzip
import zlib

import pytest

from claraedge.inbox.inspection.dicom import Unidentified
from tests.field.case import case
from tests.field.dicom_files import (
    CT_CLASS,
    DEFLATED,
    HEAD,
    INNER,
    OWNER,
    TAIL,
    UNDEFINED,
    bare,
    item,
    long,
    meta,
    read,
    short,
    with_odd,
)

DIRECTORY_CLASS = b"1.2.840.10008.1.3.10"
WITHOUT_STUDY = HEAD + short(0x0020000E, b"UI", b"1.2.3.4.5\0") + short(0x00280010, b"US", b"\1\0")


def reason(content: bytes) -> str:
    found = read(content)
    assert isinstance(found, Unidentified), found
    return found.reason


@case(
    8,
    "the DICOMDIR of a CD next to the images",
    source="commontk/CTK#332",
    outcome="It is no image of a study, and its reason says so.",
)
@pytest.mark.parametrize(
    "content",
    [
        meta(sop_class=DIRECTORY_CLASS) + short(0x00041130, b"CS", b"MEDIUM"),
        meta(sop_class=CT_CLASS) + long(0x00041220, b"SQ", item(INNER)),
        short(0x00041130, b"CS", b"MEDIUM") + long(0x00041220, b"SQ", item(INNER)),
        bare(0x00041130, b"MEDIUM") + bare(0x00041220, item(INNER)),
    ],
)
def test_an_index_of_a_medium(content: bytes) -> None:
    assert reason(content) == (
        "is a DICOMDIR, the index of a CD or another medium, and belongs to no study: its images"
        " are taken without it"
    )


@case(
    8,
    "a file without a study",
    source="microsoft/dicom-server#456",
    outcome="It is refused alone, with the UID that it lacks.",
)
def test_no_study() -> None:
    again = "have it sent or exported again with one"
    assert reason(meta() + WITHOUT_STUDY) == (
        f"is a DICOM file without a StudyInstanceUID (0020,000D): {again}"
    )
    empty = short(0x0020000D, b"UI", b"") + TAIL[TAIL.index(b"\x20\0\x0e\0") :]
    assert reason(meta() + HEAD + empty) == (
        f"is a DICOM file whose StudyInstanceUID (0020,000D) is empty: {again}"
    )


@case(
    8,
    "an element that is there twice",
    source="dicom/ruby-dicom, samples/duplicates.dcm",
    outcome="A file without a study is not called damaged for it.",
)
def test_duplicates_are_no_damage() -> None:
    twice = bare(0x00100010, b"A^B ") * 2 + bare(0x00080060, b"OT") + bare(0x00280010, b"\1\0")
    assert "is a DICOM file without a StudyInstanceUID" in reason(bare(0x00080005, b"") + twice)


@case(
    8,
    "only a sequence names a study",
    source="PS3.3, Related Series Sequence",
    outcome="The study of another file is never taken for its own.",
)
def test_a_study_in_a_sequence() -> None:
    related = long(0x00081250, b"SQ", item(INNER))
    assert "without a StudyInstanceUID" in reason(meta() + related + WITHOUT_STUDY)


@case(
    8,
    "a transfer that stopped in the header",
    source="exini/dicom-streams-js#41",
    outcome="Its reason says where it ends, and that it may be cut off.",
)
def test_a_file_that_is_cut() -> None:
    whole = with_odd(OWNER + long(0x00091010, b"OB", bytes(1000)))
    value = whole.index(b"OB") - 4
    assert reason(whole[: value + 12 + 400]) == (
        f"ends in the value of (0009,1010) at byte {value}, of whose 1000 bytes 400 are there:"
        " it was cut off, or is damaged; send or copy it again"
    )
    assert reason(whole[:value]) == (
        "is a DICOM file that ends after (0009,0010), before the place of its SeriesInstanceUID:"
        " copy it again, or have it sent or exported again with one"
    )
    sequence = with_odd(long(0x00081250, b"SQ", item(INNER, UNDEFINED), UNDEFINED))
    end = sequence.index(b"1.2\0", len(meta())) + 4
    assert reason(sequence[:end]) == (
        "ends inside its sequence (0008,1250): it was cut off, or is damaged; send or copy it again"
    )


@case(
    8,
    "a transfer that reserved its room stopped",
    source="files of rsync --preallocate and of SMB clients",
    outcome="Its reason says from where on it holds nothing but zeros.",
)
def test_a_file_of_zeros() -> None:
    begun = meta() + HEAD
    assert reason(begun + bytes(5000)) == (
        f"has nothing but zeros where its DICOM header should continue, at byte {len(begun)}: its"
        " transfer did not end; send or copy it again"
    )
    assert (
        reason(bytes(5000))
        == reason(bytes(128) + b"DI")
        == (
            "has no more than an empty preamble at its beginning: if it is to be a DICOM file, its"
            " transfer did not end; send or copy it again"
        )
    )


@case(
    8,
    "what is no DICOM file in a folder of studies",
    source="paperless-ngx/paperless-ngx#4331",
    outcome="Its reason says what it is, where that can be seen, and what to drop instead.",
)
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty: send or copy it again"),
        (
            b"PK\x03\x04" + bytes(200),
            "is a ZIP archive, not a DICOM file: unpack it, and drop what",
        ),
        (gzip.compress(meta() + HEAD + TAIL), "is a gzip archive, not a DICOM file: unpack it,"),
        (b"\xff\xd8\xff\xe0" + bytes(200), "is a JPEG picture, not a DICOM file: export the study"),
        (b"%PDF-1.7\n" + bytes(200), "is a PDF document, not a DICOM file: export the study as"),
        (b"Patient;Name\r\n", "is not a DICOM file: export it as DICOM, or remove it"),
        (b"MZ" + bytes(500), "is not a DICOM file: export it as DICOM, or remove it"),
    ],
)
def test_other_files(content: bytes, text: str) -> None:
    assert reason(content).startswith(text)


@case(
    8,
    "a deflated file that is damaged",
    source="fo-dicom/fo-dicom#1097",
    outcome="Its reason says that it cannot be inflated, or where it is damaged.",
)
def test_a_deflated_file_that_is_damaged() -> None:
    values = b"".join(short(0x00091000 + n, b"LO", b"%06d" % n) for n in range(2000))
    packed = zlib.compress(HEAD + OWNER + values + TAIL, wbits=-15)
    for at in range(len(packed) // 4, len(packed) // 2, 7):
        text = reason(meta(DEFLATED) + packed[:at] + b"\xff" * 40 + packed[at + 40 :])
        true = ("that cannot be inflated", "that is damaged", "was cut off, or is damaged")
        assert any(part in text for part in true), text


@case(
    8,
    "bytes that were overwritten in the middle of a header",
    source="home-assistant/core#115342",
    outcome="Its reason says after which element the header is damaged.",
)
def test_a_damaged_header() -> None:
    values = b"".join(short(0x00091000 + n, b"LO", b"%06d" % n) for n in range(200))
    whole = with_odd(OWNER + values)
    at = whole.index(b"000100") + 6
    text = reason(whole[:at] + b"\xa7\xfb\x01\x93" * 700)
    assert text == (
        f"has a DICOM header that is damaged at byte {at}, after (0009,1064): its UIDs cannot"
        " be read; copy it again, or have it sent or exported again"
    )


@case(
    8,
    "a UID that leads out of the folder",
    source="pydicom/pynetdicom#823",
    outcome="The study is one job, whose name is a safe one.",
)
def test_a_uid_that_is_no_name_is_still_a_uid() -> None:
    content = meta() + HEAD + short(0x0020000D, b"UI", b"../../../etc/x")
    found = read(content + short(0x0020000E, b"UI", b"1.2"))
    assert not isinstance(found, Unidentified)
    assert found.study == b"../../../etc/x"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(with_odd(short(0x00091001, b"CS", b"") * 200_000), id="elements"),
        pytest.param(
            with_odd(long(0x00081140, b"SQ", bare(0xFFFEE000, b"") * 500_000, UNDEFINED)),
            id="items",
        ),
        pytest.param(
            with_odd(
                (long(0x00081140, b"SQ", b"", UNDEFINED) + item(b"", UNDEFINED)) * 100_000
            ),
            id="nested",
        ),
        pytest.param(with_odd(long(0x00091001, b"OB", bytes(40 << 20), UNDEFINED)), id="no end"),
    ],
)  # fmt: skip
@case(
    8,
    "a header without end",
    source="dcmjs-org/dcmjs#326",
    outcome="It is given up after a bounded part of it, and its reason says so.",
)
def test_work_is_bounded(content: bytes) -> None:
    assert reason(content).endswith(": export or send it again without private elements")


def test_the_form_of_the_standard_is_first() -> None:
    """A right file is read as it is, even where its values could be elements."""
    trap = short(0x0020000D, b"UI", b"9.9\0") + short(0x0020000E, b"UI", b"9.8\0")
    for odd in (
        OWNER + long(0x00091010, b"OB", trap * 3),
        OWNER + short(0x00091010, b"LO", trap),
        long(0x00081250, b"SQ", item(trap)),
    ):
        found = read(with_odd(odd))
        assert not isinstance(found, Unidentified)
        assert found.study == b"1.2.3.4"
