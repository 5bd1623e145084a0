"""The header reader agrees with pydicom; nothing that is dropped makes it guess, hang or die."""

from __future__ import annotations

import logging
import os
import random
import re
import struct
import tempfile
import threading
import warnings
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from claraedge.inbox.inspection import dicom_elements
from claraedge.inbox.inspection.dicom import Identity, Unidentified, identify, name_of
from claraedge.inbox.inspection.dicom_bytes import MAX_BYTES
from tests.rig.costs import cost

DATA = Path(pydicom.__file__).parent / "data"
SAMPLES = sorted(p for p in DATA.rglob("*") if p.is_file() and not p.name.endswith((".py", ".pyc")))
STUDY, SERIES, INSTANCE = b"1.2.3.4", b"1.2.3.4.5", b"1.2.3.4.5.6"
IDENTITY = Identity(study=STUDY, series=SERIES, instance=INSTANCE)

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


def read(path: Path) -> Identity | Unidentified:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return identify(descriptor)
    finally:
        os.close(descriptor)


def of(content: bytes) -> Identity | Unidentified:
    descriptor = os.memfd_create("sample")
    try:
        os.write(descriptor, content)
        return identify(descriptor)
    finally:
        os.close(descriptor)


def reason(content: bytes) -> str:
    found = of(content)
    assert isinstance(found, Unidentified), found
    return found.reason


def by_pydicom(path: Path) -> tuple[str, str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
        found = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        keys = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        study, series, instance = (str(found.get(key) or "") for key in keys)
        return study, series, instance


def data_set() -> Dataset:
    made = Dataset()
    made.SOPInstanceUID = INSTANCE.decode()
    made.StudyInstanceUID = STUDY.decode()
    made.SeriesInstanceUID = SERIES.decode()
    made.Rows = 2
    return made


def written(made: Dataset, syntax: str = EXPLICIT) -> bytes:
    """As a file of the given transfer syntax, by pydicom."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(syntax)
    made.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    made.file_meta.MediaStorageSOPInstanceUID = UID(INSTANCE.decode())
    with tempfile.NamedTemporaryFile() as file:
        pydicom.dcmwrite(file.name, made, enforce_file_format=True)
        return Path(file.name).read_bytes()


# --- agrees -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: str(p.relative_to(DATA)))
def test_agrees_with_pydicom(path: Path) -> None:
    study, series, instance = by_pydicom(path)
    found = read(path)
    if isinstance(found, Identity):
        said = (found.study.decode(), found.series.decode(), found.instance.decode())
        assert said == (study, series, instance)
    else:
        assert study == ""
        assert found.reason


def test_there_are_samples_of_each_kind() -> None:
    identities = [found for found in map(read, SAMPLES) if isinstance(found, Identity)]
    assert len(identities) > 140
    reasons = " ".join(f.reason for f in map(read, SAMPLES) if isinstance(f, Unidentified))
    for text in ("is not a DICOM file", "DICOMDIR", "without a StudyInstanceUID"):
        assert text in reasons


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
@pytest.mark.parametrize("without_length", [False, True])
def test_sequences_before_the_uids_are_passed(syntax: str, without_length: bool) -> None:
    made = data_set()
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "9.9.9"
    inner.StudyInstanceUID = "9.9.9"  # of another study: must not be taken for its own
    inner.SeriesInstanceUID = "9.9.9"
    outer = Dataset()
    outer.StudyInstanceUID = "9.9.9"
    outer.ReferencedImageSequence = Sequence([inner, inner])
    made.ReferencedImageSequence = Sequence([outer] * 100)
    made.add_new((0x0009, 0x0010), "LO", "PRIVATE")
    made.add_new((0x0009, 0x1001), "OB", b"x" * 100_000)
    made.add_new((0x0009, 0x1002), "SQ", Sequence([outer]))
    made.add_new((0x0009, 0x1003), "UN", b"y" * 10)
    if without_length:
        for element in made.iterall():
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
    assert of(written(made, syntax)) == IDENTITY


def long(tag: int, representation: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element with a length of 32 bits; explicit little endian."""
    size = len(value) if length is None else length
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, representation, 0, size) + value


def short(tag: int, representation: bytes, value: bytes) -> bytes:
    return (
        struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, representation, len(value)) + value
    )  # fmt: skip


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, size) + value


UNDEFINED = 0xFFFFFFFF
CHARACTER_SET = short(0x00080005, b"CS", b"ISO_IR 100")
UIDS = short(0x0020000D, b"UI", b"1.2.3.4\0") + short(0x0020000E, b"UI", b"1.2.3.4.5\0")
FOUND = Identity(study=STUDY, series=SERIES, instance=b"")


def test_an_unknown_element_without_length_is_an_implicit_sequence() -> None:
    item = implicit(0xFFFEE000, implicit(0x0020000D, b"9.9\0"), UNDEFINED)
    sequence = item + implicit(0xFFFEE00D, b"") + implicit(0xFFFEE0DD, b"")
    content = CHARACTER_SET + long(0x00091001, b"UN", sequence, UNDEFINED) + UIDS
    assert of(content) == FOUND


def test_single_implicit_elements_in_an_explicit_file_are_passed() -> None:
    assert of(CHARACTER_SET + implicit(0x00091001, b"ab") + UIDS) == FOUND


def test_uids_out_of_order_are_found() -> None:
    late = short(0x00280010, b"US", b"\1\0")
    series, study = UIDS[16:], UIDS[:16]
    assert of(CHARACTER_SET + late + series + study) == FOUND
    assert of(CHARACTER_SET + series + late + study) == FOUND


def test_padding_of_uids_is_taken_off() -> None:
    padded = short(0x0020000D, b"UI", b"1.2.3.4 ") + short(0x0020000E, b"UI", b"1.2.3.4.5\0\0\0")
    assert of(CHARACTER_SET + padded) == FOUND


def test_a_file_without_a_series_is_of_its_study() -> None:
    content = CHARACTER_SET + UIDS[:16] + short(0x00280010, b"US", b"\1\0")
    assert of(content) == Identity(study=STUDY, series=b"", instance=b"")


def test_the_position_of_the_descriptor_stays() -> None:
    with (DATA / "test_files/CT_small.dcm").open("rb") as file:
        file.seek(77)
        assert isinstance(identify(file.fileno()), Identity)
        assert file.tell() == 77


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", [b"1.2.3.4", b"1.02.003", b"1" * 65, b"1." * 63 + b"12"])
def test_a_uid_of_digits_and_dots_is_its_own_name(uid: bytes) -> None:
    assert name_of(uid) == uid.decode()


ODD_UIDS = [
    b"..", b".", b"1..2", b"1.2.", b".1", b"1.2a", b"1.2A", b"1\\2", b"1/2", b"/etc", b"\xff\xff",
    b"\xfe\xff", b"1 2", b"1\n2", b"1\x002", b"-1", b"Thumbs.db", b"a.part", b"1" * 129, b"1" * 130,
    "Größe".encode(), b"CON", b"1.2\x1b[31m",
]  # fmt: skip


@pytest.mark.parametrize("uid", ODD_UIDS)
def test_any_other_uid_has_a_name_that_is_safe(uid: bytes) -> None:
    name = name_of(uid)
    assert re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.-]{0,90}-[0-9a-f]{16}", name)
    assert name_of(uid) == name


def test_no_two_uids_have_one_name() -> None:
    names = {name_of(uid).lower() for uid in [*ODD_UIDS, b"1.2", b"1.02"]}
    assert len(names) == len(ODD_UIDS) + 2


@pytest.mark.parametrize(
    "value", [b"1.02.003", b"1.2a", b"..", b"1/2", b"1 2", b"1" * 200, b"x\xff"]
)
def test_uids_are_what_the_file_says(value: bytes) -> None:
    content = short(0x0020000D, b"UI", value) + short(0x0020000E, b"UI", value + b"1")
    assert of(CHARACTER_SET + content) == Identity(study=value, series=value + b"1", instance=b"")


def test_what_is_after_a_nul_is_no_part_of_a_uid() -> None:
    content = CHARACTER_SET + short(0x0020000D, b"UI", b"1.2.3.4\0\x17\x80") + UIDS[16:]
    assert of(content) == FOUND


# --- refuses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"", b"\0\0", b"  "])
def test_an_empty_study_is_reported(value: bytes) -> None:
    text = reason(CHARACTER_SET + short(0x0020000D, b"UI", value) + UIDS[16:])
    assert text.startswith("is a DICOM file whose StudyInstanceUID (0020,000D) is empty: ")


def test_a_uid_without_end_is_reported() -> None:
    assert "a UID of 5000 bytes" in reason(CHARACTER_SET + short(0x0020000D, b"UI", b"1" * 5000))


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04" * 100, b"x" * 128 + b"DICN"])
def test_other_files_are_not_dicom(content: bytes) -> None:
    found = of(content)
    assert isinstance(found, Unidentified)
    assert found.cut == (not content)
    assert "is empty" in found.reason or "not a DICOM file: " in found.reason


def test_a_study_in_a_sequence_is_not_the_files_own() -> None:
    made = Dataset()
    made.SOPInstanceUID = INSTANCE.decode()
    made.ReferencedImageSequence = Sequence([data_set()])
    made.Rows = 2
    assert reason(written(made)).startswith("is a DICOM file without a StudyInstanceUID")


def nested(depth: int) -> bytes:
    opening = long(0x00081140, b"SQ", b"", UNDEFINED) + implicit(0xFFFEE000, b"", UNDEFINED)
    closing = implicit(0xFFFEE00D, b"") + implicit(0xFFFEE0DD, b"")
    return CHARACTER_SET + opening * depth + closing * depth + UIDS


def test_depth_costs_nothing() -> None:
    assert of(nested(10_000)) == FOUND
    assert "in the first 200000 elements" in reason(nested(100_000))


def test_reserved_room_that_is_not_written_yet_is_a_file_that_is_cut() -> None:
    whole = written(data_set())
    for end in range(200, whole.index(b"1.2.3.4.5\0") + 10):  # also of a part of the last UID
        found = of(whole[:end] + bytes(100_000))
        assert isinstance(found, Unidentified), end
    after_meta = whole.index(b"\x08\0\x18\0UI")
    found = of(whole[:after_meta] + bytes(100_000))
    assert isinstance(found, Unidentified)
    assert found.cut


# --- truncated --------------------------------------------------------------------------------

TRUNCATED = [
    DATA / "test_files" / name
    for name in (
        "CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm",
        "ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "rtstruct.dcm", "test-SR.dcm",
        "reportsi.dcm", "JPEG2000.dcm", "badVR.dcm",
    )
]  # fmt: skip


@pytest.mark.parametrize("path", TRUNCATED, ids=lambda p: p.name)
def test_a_truncated_file_gives_the_right_uids_or_none(path: Path) -> None:
    whole, right = path.read_bytes(), read(path)
    assert isinstance(right, Identity)
    identified = 0
    with tempfile.TemporaryFile() as file:
        file.write(whole)
        file.flush()
        for end in range(min(len(whole), 4000), -1, -1):
            file.truncate(end)
            found = identify(file.fileno())
            if isinstance(found, Identity):
                assert found == right, end
                identified += 1
            elif end > 140:
                assert found.cut, (end, found)
    assert 0 < identified < min(len(whole), 4000)


def test_a_file_that_ends_in_a_value_before_the_uids_is_cut() -> None:
    content = CHARACTER_SET + long(0x00091001, b"OB", b"x" * 10, 1 << 31)
    assert of(content) == Unidentified(
        reason="ends in the value of (0009,1001) at byte 18, of whose 2147483648 bytes 10 are"
        " there: it was cut off, or is damaged; send or copy it again",
        cut=True,
    )


# --- bounded ----------------------------------------------------------------------------------


SMALL = [p for p in SAMPLES if 0 < p.stat().st_size < 50_000]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(SMALL).map(Path.read_bytes),
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 2000), st.integers(0, 50_000)),
            st.sampled_from(["flip", "cut", "insert", "remove", "repeat"]),
            st.one_of(
                st.binary(min_size=1, max_size=12),
                st.sampled_from([b"\xff" * 4, bytes(8), b"SQ\0\0\xff\xff\xff\xff", b"\xfe\xff"]),
            ),
        ),
        min_size=1,
        max_size=8,
    ),
)
@example(b"\x08\0" * 50_000, [(0, "flip", b"\x08")])
def test_no_damage_makes_it_raise_or_work_long(
    content: bytes, damage: list[tuple[int, str, bytes]]
) -> None:
    for place, kind, value in damage:
        at = place % (len(content) + 1)
        match kind:
            case "flip":
                content = content[:at] + value + content[at + len(value) :]
            case "cut":
                content = content[: max(at, 200)]
            case "insert":
                content = content[:at] + value + content[at:]
            case "remove":
                content = content[:at] + content[at + len(value) :]
            case "repeat":
                content = content[:at] + content[max(0, at - 50) :]
    found, spent = cost(lambda: of(content))
    assert isinstance(found, Identity | Unidentified)
    assert spent < 20_000


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000), st.sampled_from([b"", bytes(128) + b"DICM", CHARACTER_SET]))
def test_noise_is_never_a_crash(noise: bytes, start: bytes) -> None:
    assert isinstance(of(start + noise), Identity | Unidentified)


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(content) + packer.flush()
    meta = short(0x00020010, b"UI", DEFLATED.encode() + b"\0")
    return bytes(128) + b"DICM" + meta + packed


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(CHARACTER_SET + short(0x00091001, b"LO", b"") * 100_000, id="elements"),
        pytest.param(
            CHARACTER_SET + long(0x00081140, b"SQ", implicit(0xFFFEE000, b"") * 50_000, UNDEFINED),
            id="items",
        ),
        pytest.param(
            CHARACTER_SET + long(0x00091001, b"OB", bytes(9000)) * 5000,
            id="far apart",
        ),
        pytest.param(deflated(CHARACTER_SET + long(0x91001, b"OB", bytes(200 << 20))), id="bomb"),
        pytest.param(deflated(CHARACTER_SET + short(0x91001, b"LO", b"") * 100_000), id="bomb 2"),
        pytest.param(
            bytes(128) + b"DICM" + short(0x00020002, b"UI", b"") * 100_000, id="meta group"
        ),
    ],
)  # fmt: skip
def test_work_is_bounded(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_elements, "MAX_ELEMENTS", 20_000)
    found, spent = cost(lambda: of(content))
    assert isinstance(found, Unidentified)
    assert "in the first" in found.reason
    assert spent < 300 * 20_000


def test_a_great_value_before_the_uids_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "great.dcm"
    head = CHARACTER_SET + long(0x00091001, b"OB", b"", 3 << 30)
    with path.open("wb") as file:
        file.write(head)
        file.seek(len(head) + (3 << 30))
        file.write(UIDS)
    assert path.stat().st_size > MAX_BYTES
    found, spent = cost(lambda: read(path))
    assert found == FOUND
    assert spent < 1000


def test_a_file_that_is_written_to_meanwhile_is_no_crash() -> None:
    whole = (DATA / "test_files/image_dfl.dcm").read_bytes()
    descriptor = os.memfd_create("written")
    os.write(descriptor, whole)
    stop = threading.Event()

    def write() -> None:
        rng = random.Random(3)
        while not stop.is_set():
            os.ftruncate(descriptor, rng.randrange(len(whole)))
            os.pwrite(descriptor, whole, 0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = {type(identify(descriptor)) for _ in range(3000)}
    finally:
        stop.set()
        writer.join()
        os.close(descriptor)
    assert Identity in found


def test_a_disk_error_is_the_callers(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError):
            identify(descriptor)
    finally:
        os.close(descriptor)
