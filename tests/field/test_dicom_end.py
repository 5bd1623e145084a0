"""A DICOM file that a broken transfer left under its final name is no image of its study."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import pydicom
import pytest

from claraedge.inbox.inspection.dicom import Identity, Unidentified, identify
from tests.field.case import case
from tests.field.dicom_files import long, meta, padded
from tests.field.test_incomplete import STUDY, config, image, one_job, waits
from tests.rig.inbox import drop, inbox_rig

SAMPLES = Path(pydicom.__file__).parent / "data/test_files"


def read(path: Path, content: bytes) -> Identity | Unidentified:
    path.write_bytes(content)
    with path.open("rb") as file:
        return identify(file.fileno())


@case(
    1,
    "A transfer that broke off in the pixels of an image",
    source="dgobbi/vtk-dicom#149; pydicom/pydicom#1799; pydicom/pynetdicom#987",
    outcome="The file counts as cut off, and its study waits for the rest of it.",
)
async def test_a_study_waits_for_the_rest_of_an_image(tmp_path: Path) -> None:
    folder = tmp_path / "state/inbox/in"
    async with inbox_rig(config(tmp_path / "state")) as rig:
        await rig.register("ct")
        drop(folder / "IM1.dcm", image(1))
        half = drop(folder / "IM2.dcm", image(2)[:-10])
        await waits(rig, "1 of 2 files: 'IM2.dcm': it ends in its pixels, of which 54 of 64 bytes")
        half.write_bytes(image(2))
        await one_job(rig, "IM1.dcm", "IM2.dcm")


@case(
    8,
    "pydicom's own samples with their last bytes cut off",
    source="pydicom/pydicom: data/test_files",
    outcome="Whole ones are whole; of those with pixels at their end, cut ones are cut.",
)
def test_the_end_of_samples_is_known(tmp_path: Path) -> None:
    whole: list[str] = []
    cut: list[str] = []
    for path in sorted(SAMPLES.rglob("*.dcm")):
        content = path.read_bytes()
        found = read(tmp_path / "f", content)
        if not isinstance(found, Identity) or found.cut:
            if isinstance(found, Identity):
                whole.append(f"{path.name}: {found.cut}")
            continue
        # What follows the pixels (padding, signatures) may be lost without harm to them.
        shorter = read(tmp_path / "f", content[: len(content) - 200])
        if isinstance(shorter, Identity) and not shorter.cut:
            cut.append(path.name)
    # These say of themselves that their pixels end too early.
    assert [line.split(":")[0] for line in whole] == KNOWN_CUT
    assert set(cut) <= WITHOUT_AN_END, sorted(set(cut) - WITHOUT_AN_END)


KNOWN_CUT = ["MR_truncated.dcm", "rtplan_truncated.dcm"]
#: Deflated; the delimiter within the pixels; pixels that are followed by more than is cut off here.
WITHOUT_AN_END = {
    "image_dfl.dcm",
    "JPEG2000-embedded-sequence-delimiter.dcm",
    "SC_rgb_jpeg.dcm",
}


@pytest.mark.parametrize("big", [False, True], ids=["little", "big"])
def test_pixels_of_an_icon_are_not_those_of_the_image(tmp_path: Path, big: bool) -> None:
    sign = ">" if big else "<"

    def element(tag: int, vr: bytes, value: bytes) -> bytes:
        long = vr in (b"OW", b"SQ")
        length = struct.pack(sign + ("HI" if long else "H"), *((0,) if long else ()), len(value))
        return struct.pack(sign + "HH", tag >> 16, tag & 0xFFFF) + vr + length + value

    icon = element(0x7FE00010, b"OW", bytes(32))
    item = struct.pack(sign + "HHI", 0xFFFE, 0xE000, len(icon)) + icon
    data = (
        element(0x00080018, b"UI", b"1.2.3.4.5\0")
        + element(0x0020000D, b"UI", STUDY.encode().ljust(28, b"\0"))
        + element(0x0020000E, b"UI", b"1.2.3.4\0")
        + element(0x00880200, b"SQ", item)
        + element(0x7FE00010, b"OW", bytes(400))
    )
    content = bytes(128) + b"DICM" + data
    found = read(tmp_path / "f", content)
    assert isinstance(found, Identity)
    assert found.cut == ""
    found = read(tmp_path / "f", content[:-2])
    assert isinstance(found, Identity)
    assert found.cut.startswith("ends in its pixels, of which 398 of 400 bytes are there")


@case(
    8,
    "Compressed pixels without a delimiter at their end",
    source="pydicom/pydicom#1799; dgobbi/vtk-dicom#149",
    outcome="The file is whole where its last fragment is, and cut off where that is not.",
)
@pytest.mark.parametrize(
    ("end", "cut"),
    [(0, ""), (-1, ""), (-2, "inside fragment 2"), (-16, "after 1 fragments")],
)
def test_pixels_without_a_delimiter(tmp_path: Path, end: int, cut: str) -> None:
    fragments = b"".join(
        struct.pack("<HHI", 0xFFFE, 0xE000, len(data)) + data for data in (b"", bytes(12))
    )
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + fragments
    whole = image(1)
    begin = whole.index(struct.pack("<HH", 0x7FE0, 0x0010))
    content = whole[:begin] + pixels
    found = read(tmp_path / "f", content[: len(content) + end])
    assert isinstance(found, Identity)
    assert found.cut.removeprefix("ends in its pixels, ").split(":")[0] == cut


@case(
    1,
    "A transfer that broke off in a deflated image",
    source="dcm4che/dcm4che#448; exini/dicom-streams-js#41",
    outcome="The file counts as cut off, and its study waits for the rest of it.",
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_deflated_image_that_is_cut_is_known(tmp_path: Path, wrapped: bool) -> None:
    syntax = b"1.2.840.10008.1.2.1.99"
    plain = image(1)
    begin = plain.index(b"\x08\0\x16\0")
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
    noise = random.Random(1).randbytes(100_000)
    header = plain[begin : plain.index(b"\xe0\x7f\x10\0")]
    deflated = packer.compress(header + long(0x7FE00010, b"OB", noise)) + packer.flush()
    whole = meta(padded(syntax)) + deflated
    for content in (whole, whole + b"\0"):
        found = read(tmp_path / "f", content)
        assert isinstance(found, Identity)
        assert found.study == STUDY.encode()
        assert not found.cut
    for lacks in (1, 5, 50_000):
        found = read(tmp_path / "f", whole[:-lacks])
        assert isinstance(found, Identity)
        assert "its transfer did not end" in found.cut
