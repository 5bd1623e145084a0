"""DICOM files as devices and converters write them belong to their study, odd as they are."""

from __future__ import annotations

import os
import random
import struct
import time
import zlib
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from claraedge.inbox.inspection.dicom import Identity, identify
from tests.field.case import case
from tests.field.dicom_files import (
    BIG,
    DEFLATED,
    HEAD,
    IMPLICIT,
    IMPLICIT_HEAD,
    IMPLICIT_INNER,
    IMPLICIT_TAIL,
    INNER,
    ITEM_END,
    OWNER,
    SEQUENCE_END,
    TAIL,
    UNDEFINED,
    WHOLE,
    bare,
    item,
    long,
    meta,
    read,
    short,
    with_odd,
)

#: Before the UIDs of the file itself; in its items are those of other studies.
SEQUENCE = 0x00081250
NOISE = random.Random(20).randbytes


def device(name: str, content: bytes, source: str) -> ParameterSet:
    """A file in the field."""
    mark = case(8, name, source=source, outcome="The file belongs to its study.")
    return pytest.param(content, marks=mark, id=name)


def _implicit_zero_signs() -> bytes:
    tags = {0x00080018: b"1.2.3.4.5.6\0", 0x0020000D: b"1.2.3.4\0", 0x0020000E: b"1.2.3.4.5\0"}
    return b"".join(short(tag, b"\0\0", value) for tag, value in tags.items())


REPRESENTATIONS = [
    device(
        "two question marks for a representation",
        with_odd(OWNER + short(0x00091001, b"??", b"AB")),
        "pydicom/pydicom#1305",
    ),
    device(
        "two spaces for a representation",
        with_odd(OWNER + short(0x00091001, b"  ", b"AB")),
        "fo-dicom/fo-dicom#1847",
    ),
    device(
        "zeros for all representations",
        meta() + _implicit_zero_signs() + short(0x00280010, b"\0\0", b"\1\0"),
        "pydicom/pydicom#1706",
    ),
    device(
        "zeros for the representation of a sequence",
        with_odd(
            long(0x00081032, b"\0\0", b"")
            + long(0x00081111, b"\0\0", item(INNER))
            + short(0x00082111, b"\0\0", b"text")
        ),
        "pydicom/pydicom#1706",
    ),
    device(
        "single elements without a representation",
        with_odd(OWNER + bare(0x00091001, b"AB") + bare(0x00091002, b"CDEF")),
        "fo-dicom/fo-dicom#47",
    ),
    device(
        "a length with the bytes of two letters",
        with_odd(OWNER + bare(0x00091004, bytes(0x4C42))),
        "pydicom/pydicom#1305",
    ),
    device(
        "a length with the bytes of a representation",
        with_odd(OWNER + bare(0x00091004, bytes(0x4F4C))),
        "pydicom/pydicom#1067",
    ),
    device(
        "representations in small letters",
        with_odd(OWNER + short(0x00091001, b"xs", b"AB") + long(0x00091002, b"ox", b"ABCD")),
        "DCMTK, dcvr.h",
    ),
    device(
        "a representation of a device's own",
        with_odd(short(0x00080068, b"UK", b"FOR PRESENTATION")),
        "dcm4che/dcm4che#918",
    ),
    device(
        "a length of 16 bits where 32 belong",
        with_odd(short(0x00091001, b"UV", bytes(8)) + short(0x00091002, b"UN", b"abcd")),
        "fo-dicom/fo-dicom#1386",
    ),
    device(
        "a length of 32 bits where 16 belong",
        with_odd(OWNER + long(0x00091001, b"UI", b"1.2.3.4.")),
        "PS3.5, 7.1.2",
    ),
    device(
        "new representations with 64 bits",
        with_odd(OWNER + long(0x00091001, b"OV", bytes(8)) + long(0x00091002, b"SV", bytes(8))),
        "cornerstonejs/dicomParser#284",
    ),
    device(
        "a group length that is called unknown",
        meta() + long(0x00080000, b"UN", struct.pack("<I", 20)) + HEAD + TAIL,
        "fo-dicom/fo-dicom#1941",
    ),
    device(
        "a group length without a representation",
        meta() + bare(0x00080000, struct.pack("<I", 20)) + HEAD + TAIL,
        "pydicom/pydicom#820",
    ),
    device(
        "an odd length",
        with_odd(OWNER + short(0x00091001, b"LO", b"abc")),
        "suyashkumar/dicom#65",
    ),
    device(
        "an odd length whose padding is not counted",
        with_odd(OWNER + short(0x00091001, b"LO", b"abc") + b" "),
        "DCMTK, dcmdump --assume-even-length",
    ),
]

SEQUENCES = [
    device(
        "an unknown sequence with explicit elements in it",
        with_odd(
            OWNER
            + long(0x00091002, b"UN", item(INNER + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED)
        ),
        "pydicom/pydicom#1312",
    ),
    device(
        "an unknown item of a length with explicit elements in it",
        with_odd(OWNER + long(0x00091002, b"UN", item(INNER) + SEQUENCE_END, UNDEFINED)),
        "dcm4che/dcm4che#159",
    ),
    device(
        "an unknown sequence with implicit elements in it",
        with_odd(
            OWNER
            + long(
                0x00091002,
                b"UN",
                item(IMPLICIT_INNER + ITEM_END, UNDEFINED) + SEQUENCE_END,
                UNDEFINED,
            )
        ),
        "fo-dicom/fo-dicom#177",
    ),
    device(
        "a sequence with implicit elements in an explicit file",
        with_odd(
            long(
                SEQUENCE,
                b"SQ",
                item(IMPLICIT_INNER + ITEM_END, UNDEFINED) + SEQUENCE_END,
                UNDEFINED,
            )
        ),
        "pydicom/pydicom#242",
    ),
    device(
        "an unknown sequence of little endian in a big endian file",
        meta(BIG)
        + short(0x00080018, b"UI", b"1.2.3.4.5.6\0", ">")
        + long(0x00091002, b"UN", b"", UNDEFINED, ">")
        + item(IMPLICIT_INNER + ITEM_END, UNDEFINED)
        + SEQUENCE_END
        + short(0x0020000D, b"UI", b"1.2.3.4\0", ">")
        + short(0x0020000E, b"UI", b"1.2.3.4.5\0", ">"),
        "fo-dicom/fo-dicom#177",
    ),
    device(
        "a sequence longer than its length",
        with_odd(long(SEQUENCE, b"SQ", item(INNER) + item(INNER), 16)),
        "dcm4che/dcm4che#1364",
    ),
    device(
        "a sequence of length zero with items",
        with_odd(long(SEQUENCE, b"SQ", item(INNER), 0)),
        "fo-dicom/fo-dicom#1009",
    ),
    device(
        "a sequence with a length and a delimiter",
        with_odd(long(SEQUENCE, b"SQ", item(INNER) + SEQUENCE_END, len(item(INNER)))),
        "fo-dicom/fo-dicom#64",
    ),
    device(
        "an item with a length and a delimiter",
        with_odd(long(SEQUENCE, b"SQ", item(INNER) + ITEM_END + SEQUENCE_END, UNDEFINED)),
        "cornerstonejs/dicomParser#181",
    ),
    device(
        "an item whose length is wrong",
        with_odd(long(SEQUENCE, b"SQ", item(INNER + ITEM_END, 5) + SEQUENCE_END, UNDEFINED)),
        "dgobbi/vtk-dicom#223",
    ),
    device(
        "an item of length zero with elements",
        with_odd(long(0x00081140, b"SQ", item(INNER + ITEM_END, 0) + SEQUENCE_END, UNDEFINED)),
        "PS3.5, 7.5",
    ),
    device(
        "an item without its end",
        with_odd(long(SEQUENCE, b"SQ", item(INNER, UNDEFINED) + SEQUENCE_END, UNDEFINED)),
        "fo-dicom/fo-dicom#1876",
    ),
    device(
        "a sequence without its end",
        with_odd(long(SEQUENCE, b"SQ", item(INNER), UNDEFINED)),
        "DCMTK/dcmtk#118",
    ),
    device(
        "a sequence that another element follows at once",
        with_odd(long(0x00081032, b"SQ", b"", UNDEFINED) + short(0x0008103E, b"LO", b"HEAD")),
        "cornerstonejs/dicomParser#34",
    ),
    device(
        "a sequence whose end has a length",
        with_odd(long(SEQUENCE, b"SQ", item(INNER) + bare(0xFFFEE0DD, b"", UNDEFINED), UNDEFINED)),
        "cornerstonejs/dicomParser#266",
    ),
    device(
        "bytes without a length up to a delimiter",
        with_odd(OWNER + long(0x00091010, b"OB", bytes(range(100)) + SEQUENCE_END, UNDEFINED)),
        "cornerstonejs/dicomParser#49",
    ),
    device(
        "fragments in a private element",
        with_odd(
            OWNER
            + long(
                0x00091010,
                b"OB",
                item(b"") + item(b"\xff\xd8" + NOISE(400) + b"\xff\xd9") + SEQUENCE_END,
                UNDEFINED,
            )
        ),
        "PS3.5, A.4",
    ),
    device(
        "five thousand referenced images before the study",
        with_odd(
            long(
                0x00081140,
                b"SQ",
                item(
                    short(0x00081150, b"UI", b"1.2\0")
                    + short(0x00081155, b"UI", b"1.3\0")
                    + ITEM_END,
                    UNDEFINED,
                )
                * 5000
                + SEQUENCE_END,
                UNDEFINED,
            )
        ),
        "PS3.3, Referenced Image Sequence",
    ),
]

FILES = [
    device(
        "no preamble and no file meta group",
        IMPLICIT_HEAD + IMPLICIT_TAIL,
        "pydicom/pydicom#150",
    ),
    device("an explicit data set alone", HEAD + TAIL, "ivmartel/dwv#625"),
    device("no preamble", meta()[132:] + HEAD + TAIL, "dcmjs-org/dcmjs#93"),
    device("the magic word without a preamble", meta()[128:] + HEAD + TAIL, "ivmartel/dwv#188"),
    device(
        "the magic word by chance in a file without a preamble",
        HEAD + long(0x00080050, b"UT", b"x" * (116 - len(HEAD)) + b"DICM" + b"x" * 80) + TAIL,
        "dcm4che/dcm4che, no_preamble_dicm_in_data",
    ),
    device(
        "a preamble without the magic word",
        bytes(128) + meta()[132:] + HEAD + TAIL,
        "GSTT-CSC/hazen#433",
    ),
    device("no file meta group", bytes(128) + b"DICM" + HEAD + TAIL, "pydicom/pydicom#503"),
    device(
        "an implicit file meta group",
        bytes(128) + b"DICM" + bare(0x00020010, IMPLICIT) + IMPLICIT_HEAD + IMPLICIT_TAIL,
        "pydicom/pydicom#503",
    ),
    device(
        "a file meta group in big endian",
        bytes(128) + b"DICM" + short(0x00020010, b"UI", BIG, ">") + HEAD + TAIL,
        "ivmartel/dwv#188",
    ),
    device(
        "a file meta group that is longer than it says",
        meta(length=20) + HEAD + TAIL,
        "dgobbi/vtk-dicom#158",
    ),
    device(
        "a file meta group that is shorter than it says",
        meta(length=4000) + IMPLICIT_HEAD + IMPLICIT_TAIL,
        "dgobbi/vtk-dicom#158",
    ),
    device(
        "a file meta group without its length",
        bytes(128) + b"DICM" + short(0x00020010, b"UI", IMPLICIT) + IMPLICIT_HEAD + IMPLICIT_TAIL,
        "pydicom/pydicom#109",
    ),
    device(
        "an element of the file meta group in the data set",
        meta(IMPLICIT) + bare(0x00020003, b"1.2.3\0") + IMPLICIT_HEAD + IMPLICIT_TAIL,
        "pydicom/pydicom#140",
    ),
    device(
        "an empty version in the file meta group",
        bytes(128) + b"DICM" + long(0x00020001, b"OB", b"") + meta()[144:] + HEAD + TAIL,
        "Enet4/dicom-rs#565",
    ),
    device(
        "explicit where the file says implicit",
        meta(IMPLICIT) + HEAD + TAIL,
        "pydicom/pydicom#1943",
    ),
    device(
        "implicit where the file says explicit",
        meta() + IMPLICIT_HEAD + IMPLICIT_TAIL,
        "wearemothership/dicom.ts#20",
    ),
    device(
        "little endian where the file says big endian",
        meta(BIG) + HEAD + TAIL,
        "wearemothership/dicom.ts#20",
    ),
    device(
        "a private transfer syntax",
        meta(b"1.2.840.113619.5.2") + IMPLICIT_HEAD + IMPLICIT_TAIL,
        "cornerstonejs/dicomParser#107",
    ),
    device(
        "deflated as the standard has it",
        meta(DEFLATED) + zlib.compress(HEAD + TAIL, wbits=-15),
        "Enet4/dicom-rs#350",
    ),
    device(
        "deflated with the header of zlib",
        meta(DEFLATED) + zlib.compress(HEAD + TAIL),
        "RFC 1950; PS3.5, A.5",
    ),
    device(
        "inflated where the file says deflated",
        meta(DEFLATED) + HEAD + TAIL,
        "fo-dicom/fo-dicom#1281",
    ),
    device(
        "the command that it was sent with",
        bare(0x00000000, struct.pack("<I", 14)) + bare(0x00000002, b"1.2.84") + HEAD + TAIL,
        "PS3.7, annex E",
    ),
    device(
        "ACR-NEMA 2.0 with UIDs",
        bare(0x00080000, struct.pack("<I", 20))
        + bare(0x00080001, bytes(4))
        + bare(0x00080010, b"ACR-NEMA 2.0")
        + bare(0x00080018, b"1.2.3.4.5.6\0")
        + bare(0x00200000, struct.pack("<I", 40))
        + IMPLICIT_TAIL[12:],
        "ivmartel/dwv#188",
    ),
    device(
        "elements out of order",
        meta()
        + short(0x0020000E, b"UI", b"1.2.3.4.5\0")
        + short(0x00280010, b"US", b"\1\0")
        + HEAD
        + short(0x0020000D, b"UI", b"1.2.3.4\0"),
        "knopkem/dicom-dimse-native#3",
    ),
    device("garbage at the end", meta() + HEAD + TAIL + NOISE(999), "dgobbi/vtk-dicom#201"),
    device(
        "a private value of some megabytes before the study",
        with_odd(OWNER + long(0x00091010, b"OB", NOISE(5 << 20))),
        "rordenlab/dcm2niix#104",
    ),
    device(
        "thousands of elements with odd representations",
        with_odd(
            OWNER
            + b"".join(
                short(0x00091000 + n // 250 * 0x20000 + n % 250, b"??", b"%06d" % n)
                for n in range(1, 2500)
            )
        ),
        "pydicom/pydicom#1706",
    ),
    device(
        "three thousand private elements before the study",
        with_odd(
            OWNER
            + b"".join(short(0x00091000 + n, b"LO", b"%04d" % n) for n in range(1, 3000))
        ),
        "clintools/dicom-curate#8",
    ),
]  # fmt: skip


@pytest.mark.parametrize("content", [*REPRESENTATIONS, *SEQUENCES, *FILES])
def test_it_belongs_to_its_study(content: bytes) -> None:
    assert read(content) == WHOLE


def uids(study: bytes) -> bytes:
    return (
        meta() + HEAD + short(0x0020000D, b"UI", study) + short(0x0020000E, b"UI", b"1.2.3.4.5\0")
    )


UIDS = [
    ("a UID with leading zeros", b"1.02.003", b"1.02.003", "fo-dicom/fo-dicom#1160"),
    ("a UID of 64 signs", b"1." * 31 + b"12", b"1." * 31 + b"12", "rordenlab/dcm2niix#268"),
    ("a UID that is too long", b"1." * 40, b"1." * 40, "pydicom/pynetdicom#549"),
    ("a UID with letters", b"1.2.A9f", b"1.2.A9f", "mmiv-center/DICOMAnonymizer#8"),
    ("a UID padded with a space", b"1.2.3.4 ", b"1.2.3.4", "microsoft/dicom-server#1795"),
    ("a UID padded with several NULs", b"1.2.3.4\0\0\0\0", b"1.2.3.4", "pydicom/pynetdicom#240"),
]
AS_IT_IS = "The UID counts as the file has it."


@pytest.mark.parametrize(
    ("study", "value"),
    [
        pytest.param(
            study, value, marks=case(8, name, source=source, outcome=AS_IT_IS), id=name
        )
        for name, study, value, source in UIDS
    ],
)  # fmt: skip
def test_a_uid_is_what_the_file_says(study: bytes, value: bytes) -> None:
    found = read(uids(study))
    assert isinstance(found, Identity)
    assert found.study == value


@case(
    8,
    "five gigabytes of pixels",
    source="fo-dicom/fo-dicom#1453",
    outcome="Its header alone is read, in the time of a small file.",
)
def test_a_great_file_costs_no_more_than_a_small_one(tmp_path: Path) -> None:
    path = tmp_path / "great.dcm"
    head = meta() + HEAD + TAIL[: TAIL.index(b"\xe0\x7f\x10\0")]
    with path.open("wb") as file:
        file.write(head + long(0x7FE00010, b"OW", b"", UNDEFINED - 1))
        file.truncate(5 << 30)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        began = time.thread_time()
        assert identify(descriptor) == WHOLE
        assert time.thread_time() - began < 0.05
    finally:
        os.close(descriptor)
