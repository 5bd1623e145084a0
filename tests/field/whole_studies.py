"""Small synthetic DICOM files."""

from __future__ import annotations

import array
import hashlib
import io
import random
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian

#: Of the examples of the standard: no machine has it.
_ROOT = "1.2.826.0.1.3680043.8.498"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    uid: str
    files: Mapping[str, bytes]
    """Name -> content; names are the instances' UIDs, with `.dcm`."""


def study(number: int, slices: int, *, size: int = 64, seed: int = 0) -> Study:
    """The same for the same arguments. `size`: of a slice's side, in pixels."""
    uid = f"{_ROOT}.{seed}.{number}"
    files = {}
    for n in range(1, slices + 1):
        instance = f"{uid}.1.{n}"
        files[f"{instance}.dcm"] = _slice(uid, instance, n, size, random.Random(f"{instance}"))
    return Study(uid=uid, files=files)


def identity(content: bytes) -> str:
    """Of an instance: a receiver writes file meta information of its own, and perhaps other byte
    order, but the data set stays.
    """
    data = dcmread(io.BytesIO(content))
    words = array.array("H", data.PixelData)
    if data.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        words.byteswap()
    return f"{data.SOPInstanceUID} {hashlib.sha256(words).hexdigest()}"


def _slice(study: str, instance: str, number: int, size: int, chance: random.Random) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = Dataset()
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = instance
    data.StudyDate = "20240507"
    data.Modality = "CT"
    data.PatientName = "FIELD^TEST"
    data.PatientID = study.rpartition(".")[2]
    data.StudyInstanceUID = study
    data.SeriesInstanceUID = f"{study}.1"
    data.InstanceNumber = number
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows = data.Columns = size
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelRepresentation = 0
    data.PixelData = chance.randbytes(2 * size * size)
    written = FileDataset(None, data, file_meta=meta, preamble=b"\0" * 128)
    buffer = io.BytesIO()
    written.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
