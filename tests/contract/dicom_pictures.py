"""DICOM files as tests of the viewer need them, and the picture that each of them shows."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

CT = UID("1.2.840.10008.5.1.4.1.1.2")
INSTANCE = UID("1.2.826.0.1.3680043.8.498.1")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A file, and what a viewer shows of it."""

    content: bytes
    grey: list[int] | None = None
    """The levels of the first frame, where it is grey."""
    colours: list[tuple[int, int, int]] | None = None
    said: str = ""
    """A part of the sentence that stands in place of a picture."""
    frames: dict[int, list[int]] = field(default_factory=dict)
    """Levels of more frames, by their number from 1."""


def made(
    pixels: bytes | None,
    *,
    syntax: UID = ExplicitVRLittleEndian,
    bare: bool = False,
    **tags: Any,
) -> bytes:
    """Returns a file. `bare`: without its beginning and its types."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, INSTANCE
    dataset.Modality = "CT"
    values = {
        "Rows": 2, "Columns": 3, "BitsAllocated": 8, "PixelRepresentation": 0,
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", **tags,
    }  # fmt: skip
    values.setdefault("BitsStored", values["BitsAllocated"])
    values.setdefault("HighBit", values["BitsStored"] - 1)
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    if pixels is not None:
        dataset.PixelData = pixels + bytes(len(pixels) % 2)
        dataset["PixelData"].VR = "OW" if values["BitsAllocated"] > 8 else "OB"
        if syntax == ExplicitVRBigEndian:
            dataset["PixelData"].VR = "OW"
        if syntax.is_compressed:
            dataset["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if bare else syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CT, INSTANCE
    file = FileDataset(
        buffer,
        dataset,
        file_meta=meta,
        preamble=bytes(128),
        is_implicit_VR=meta.TransferSyntaxUID.is_implicit_VR,
        is_little_endian=meta.TransferSyntaxUID.is_little_endian,
    )
    file.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    if bare:
        (length,) = struct.unpack_from("<I", content, 140)
        return content[144 + length :]
    return content


def words(*values: int, kind: str = "<H") -> bytes:
    return b"".join(struct.pack(kind, value) for value in values)


def linear(value: float, centre: float, width: float) -> int:
    """The formula of DICOM PS3.3 C.11.2.1.2.1."""
    if value <= centre - 0.5 - (width - 1) / 2:
        return 0
    if value > centre - 0.5 + (width - 1) / 2:
        return 255
    return round(((value - (centre - 0.5)) / (width - 1) + 0.5) * 255)


def stretched(*values: float) -> list[int]:
    low, high = min(values), max(values)
    return [round((value - low) / (high - low) * 255) for value in values]


def group(**tags: Any) -> Sequence:
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return Sequence([item])


def pictures() -> dict[str, Picture]:
    """Returns all files by their names."""
    plain = [10, 60, 110, 160, 210, 250]
    hounsfield = [-1000, -160, 0, 40, 240, 1000]
    ct = {"BitsAllocated": 16, "RescaleSlope": 1, "RescaleIntercept": -1024}
    in_window = [linear(value, 40, 400) for value in hounsfield]
    stored = [value + 1024 for value in hounsfield]
    rgb = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30), (255, 255, 255), (0, 0, 0)]
    flat = bytes(value for one in rgb for value in one)
    planes = bytes(one[plane] for plane in range(3) for one in rgb)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    window = {"WindowCenter": 40, "WindowWidth": 400}
    frames = [[0, 50, 100, 150, 200, 250], [250, 200, 150, 100, 50, 0], [0, 0, 0, 0, 0, 100]]
    bits = [[1, 0, 1, 0, 1, 0, 1, 0, 1], [0, 1, 1, 1, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0, 0, 1, 0]]
    packed = sum(bit << at for at, bit in enumerate(bit for frame in bits for bit in frame))
    palette = {
        "PhotometricInterpretation": "PALETTE COLOR",
        **{f"{name}PaletteColorLookupTableDescriptor": [4, 10, 16] for name in
           ("Red", "Green", "Blue")},
        "RedPaletteColorLookupTableData": words(0, 65535, 0, 0),
        "GreenPaletteColorLookupTableData": words(0, 0, 65535, 0),
        "BluePaletteColorLookupTableData": words(0, 0, 0, 65535),
    }  # fmt: skip
    black, red, green, blue = (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)
    luma = [(76, 85, 255), (150, 44, 21), (29, 255, 107), (0, 128, 128), (255, 128, 128)]
    whole = made(bytes(range(200)) * 50, Rows=100, Columns=100)
    return {
        "grey": Picture(content=made(bytes(plain)), grey=stretched(*plain)),
        "inverted": Picture(
            content=made(bytes(plain), PhotometricInterpretation="MONOCHROME1"),
            grey=[255 - level for level in stretched(*plain)],
        ),
        "odd": Picture(
            content=made(bytes([*plain, 10, 10, 250]), Rows=3),
            grey=stretched(*plain, 10, 10, 250),
        ),
        "overlay-bits": Picture(
            content=made(
                words(0xF000, 0x1400, 0x2800, 0xFC00, 0x8FFF, 0x0801),
                BitsAllocated=16, BitsStored=12, WindowCenter=2048, WindowWidth=4096,
            ),
            grey=[linear(one, 2048, 4096) for one in (0, 0x400, 0x800, 0xC00, 0xFFF, 0x801)],
        ),
        "shifted": Picture(
            content=made(
                words(*(value << 4 for value in range(0, 60, 10))),
                BitsAllocated=16, BitsStored=12, HighBit=15,
            ),
            grey=stretched(*range(0, 60, 10)),
        ),
        "window": Picture(content=made(words(*stored), **ct, **window), grey=in_window),
        "implicit": Picture(
            content=made(words(*stored), syntax=ImplicitVRLittleEndian, **ct, **window),
            grey=in_window,
        ),
        "bare": Picture(content=made(words(*stored), bare=True, **ct, **window), grey=in_window),
        "big-endian": Picture(
            content=made(words(*stored, kind=">H"), syntax=ExplicitVRBigEndian, **ct, **window),
            grey=in_window,
        ),
        "big-endian-bytes": Picture(
            content=made(bytes([60, 10, 160, 110, 250, 210]), syntax=ExplicitVRBigEndian),
            grey=stretched(*plain),
        ),
        "signed": Picture(
            content=made(
                words(-2000, -100, 0, 100, 200, -2000, kind="<h"),
                BitsAllocated=16, PixelRepresentation=1, PixelPaddingValue=-2000,
            ),
            grey=[0, *stretched(-100, 0, 100, 200), 0],
        ),
        "negative-slope": Picture(
            content=made(bytes(plain), RescaleSlope=-10, RescaleIntercept=3000),
            grey=[255 - level for level in stretched(*plain)],
        ),
        "empty-window": Picture(
            content=made(bytes(plain), WindowCenter="", WindowWidth=""), grey=stretched(*plain)
        ),
        "wrong-extremes": Picture(
            content=made(
                words(*(32768 + one for one in plain)), BitsAllocated=16,
                SmallestImagePixelValue=0, LargestImagePixelValue=50,
            ),
            grey=stretched(*plain),
        ),
        "one-value": Picture(content=made(bytes([7] * 6)), grey=[0] * 6),
        "dose": Picture(
            content=made(words(0, 1 << 30, 1 << 31, 3 << 30, (1 << 32) - 1, 0, kind="<I"),
                         BitsAllocated=32),
            grey=[0, 64, 128, 191, 255, 0],
        ),
        "exact": Picture(
            content=made(bytes(plain), WindowCenter=110, WindowWidth=100,
                         VOILUTFunction="LINEAR_EXACT"),
            grey=[0, 0, 128, 255, 255, 255],
        ),
        "sigmoid": Picture(
            content=made(bytes(plain), WindowCenter=110, WindowWidth=100,
                         VOILUTFunction="SIGMOID"),
            grey=[5, 30, 128, 225, 250, 254],
        ),
        "rgb": Picture(content=made(flat, **colour), colours=rgb),
        "planar": Picture(content=made(planes, **colour | {"PlanarConfiguration": 1}), colours=rgb),
        "rgb-16": Picture(
            content=made(words(*(value * 257 for value in flat)), **colour, BitsAllocated=16),
            colours=rgb,
        ),
        "rgb-big-endian": Picture(
            content=made(bytes(flat[at ^ 1] for at in range(18)), **colour,
                         syntax=ExplicitVRBigEndian),
            colours=rgb,
        ),
        "ybr": Picture(
            content=made(bytes(v for one in (*luma, luma[3]) for v in one),
                         **colour | {"PhotometricInterpretation": "YBR_FULL"}),
            colours=[red, green, blue, black, (255, 255, 255), black],
        ),
        "ybr-422": Picture(
            content=made(bytes([76, 76, 85, 255, 0, 255, 128, 128]), Columns=2,
                         **colour | {"PhotometricInterpretation": "YBR_FULL_422"}),
            colours=[red, red, black, (255, 255, 255)],
        ),
        "palette": Picture(
            content=made(bytes([0, 10, 11, 12, 13, 99]), **palette),
            colours=[black, black, red, green, blue, blue],
        ),
        "frames": Picture(
            content=made(bytes(v for one in frames for v in one), NumberOfFrames=3),
            grey=stretched(*frames[0]),
            frames={2: stretched(*frames[1]), 3: stretched(*frames[2])},
        ),
        "segmentation": Picture(
            content=made(packed.to_bytes(4, "little"), Rows=3, NumberOfFrames=3, BitsAllocated=1),
            grey=[255 * bit for bit in bits[0]],
            frames={2: [255 * bit for bit in bits[1]], 3: [255 * bit for bit in bits[2]]},
        ),
        "groups": Picture(
            content=made(
                bytes(plain * 2), NumberOfFrames=2,
                SharedFunctionalGroupsSequence=group(
                    PixelValueTransformationSequence=group(RescaleSlope=2, RescaleIntercept=0)
                ),
                PerFrameFunctionalGroupsSequence=Sequence(
                    group(FrameVOILUTSequence=group(WindowCenter=centre, WindowWidth=200))[0]
                    for centre in (200, 300)
                ),
            ),
            grey=[linear(2 * one, 200, 200) for one in plain],
            frames={2: [linear(2 * one, 300, 200) for one in plain]},
        ),
        "large-header": Picture(
            content=made(bytes(plain), EncapsulatedDocument=bytes(700_000)),
            grey=stretched(*plain),
        ),
        "cut": Picture(
            content=whole[:-5000],
            said="a part of the picture is missing",
        ),
        "fewer-frames": Picture(
            content=made(bytes(plain), NumberOfFrames=9), said="a part of the picture is missing"
        ),
        "compressed": Picture(
            content=made(encapsulate([b"\xff\xd8\xff\xd9"]), syntax=JPEGBaseline8Bit),
            said="is compressed (transfer syntax 1.2.840.10008.1.2.4.50)",
        ),
        "no-picture": Picture(
            content=made(None, Rows=None, Columns=None), said="has no picture"
        ),
        "float": Picture(content=made(None, FloatPixelData=bytes(24)), said="floating-point"),
        "huge": Picture(
            content=made(bytes(6), Rows=60000, Columns=60000), said="60000 × 60000 pixels"
        ),
        "other-colours": Picture(
            content=made(flat, **colour | {"PhotometricInterpretation": "CMYK"}), said="(CMYK)"
        ),
        "bits": Picture(content=made(bytes(12), BitsAllocated=12, BitsStored=12), said="12 bits"),
        "no-dicom": Picture(content=b"this is a text" * 100, said="is no DICOM file"),
        "tags-only-cut": Picture(content=whole[:400], said="has no picture"),
    }  # fmt: skip
