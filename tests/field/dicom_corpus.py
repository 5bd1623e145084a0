"""DICOM files by the programs of others: pydicom's own samples, and what toolkits make of them."""

from __future__ import annotations

import logging
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

SAMPLES = Path(pydicom.__file__).parent / "data"
#: Worklists and the like, as text for dump2dcm.
_DUMPS = Path("/usr/share/doc/dcmtk/examples")
DCMTK = shutil.which("dcmdump")
GDCM = shutil.which("gdcmconv")

#: Of many kinds: images, plans, reports, waveforms, private sequences, all codings.
_BASES = (
    "CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "rtplan.dcm", "rtstruct.dcm",
    "rtdose_1frame.dcm", "test-SR.dcm", "reportsi.dcm", "waveform_ecg.dcm", "liver_1frame.dcm",
    "examples_palette.dcm", "image_dfl.dcm", "SC_rgb_small_odd.dcm", "ExplVR_LitEndNoMeta.dcm",
)  # fmt: skip
_SYNTAXES = {"implicit": "+ti", "explicit": "+te", "big endian": "+tb", "deflated": "+td"}
_SHAPES: dict[str, Sequence[str]] = {
    "": (),
    "undefined lengths": ("-e",),
    "group lengths": ("+g",),
    "without meta": ("-F",),
    "padded": ("+p", "1024", "64"),
}


def samples() -> list[Path]:
    """What pydicom brings, good and bad, and what is no DICOM among it."""
    found = SAMPLES.rglob("*")
    return sorted(p for p in found if p.is_file() and p.suffix not in (".py", ".pyc"))


def converted(folder: Path) -> list[Path]:
    """What dcmtk, gdcm and pydicom write; what they refuse to is left out."""
    commands = list(_commands(folder))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_run, commands))
    _by_pydicom(folder)
    return sorted(path for path in folder.iterdir() if path.stat().st_size)


def _commands(folder: Path) -> Iterator[Sequence[str]]:
    for name in _BASES:
        source = SAMPLES / "test_files" / name
        for syntax, option in _SYNTAXES.items():
            for shape, options in _SHAPES.items():
                if option != "+td" or shape != "without meta":
                    target = folder / f"dcmconv {syntax} {shape} {name}"
                    yield "dcmconv", option, *options, str(source), str(target)
        for program in ("dcmcrle", "dcmcjpeg", "dcmcjpls"):
            yield program, str(source), str(folder / f"{program} {name}")
        for option in ("--raw", "--implicit", "--explicit", "--deflated", "--j2k", "--jpegls"):
            yield "gdcmconv", option, str(source), str(folder / f"gdcmconv {option} {name}")
    for text in sorted(_DUMPS.rglob("*.dump")):
        yield "dump2dcm", str(text), str(folder / f"dump2dcm {text.stem}")


def _run(command: Sequence[str]) -> None:
    if shutil.which(command[0]) is not None:
        ended = subprocess.run(command, capture_output=True, timeout=60)
        if ended.returncode:
            Path(command[-1]).unlink(missing_ok=True)


def _by_pydicom(folder: Path) -> None:
    for name in _BASES:
        for implicit in (True, False):
            made = _read_by_pydicom(SAMPLES / "test_files" / name)
            for element in made.iterall():
                if element.VR == "SQ":
                    element.is_undefined_length = True
            coding = "implicit" if implicit else "explicit"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made.save_as(
                    folder / f"pydicom {coding} {name}",
                    implicit_vr=implicit, little_endian=True, force_encoding=True,
                )  # fmt: skip


def _read_by_pydicom(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
        return pydicom.dcmread(path, force=True, stop_before_pixels=True)


def study_by_pydicom(path: Path) -> bytes | None:
    """Empty: it has none. None: pydicom cannot read it."""
    try:
        return str(_read_by_pydicom(path).get("StudyInstanceUID") or "").encode()
    except Exception:  # noqa: BLE001 - it raises whatever comes of a bad file
        return None


def study_by_dcmdump(path: Path) -> bytes | None:
    """Empty: it has none. None: dcmdump cannot read it."""
    ended = subprocess.run(
        ["dcmdump", "-q", "+p", "+P", "0020,000d", str(path)], capture_output=True, timeout=60
    )
    for line in ended.stdout.splitlines():
        if line.startswith(b"(0020,000d)"):  # of the data set itself: the path has one tag
            value = line.partition(b" UI ")[2]
            return value[1:].partition(b"]")[0] if value.startswith(b"[") else b""
    return None if ended.returncode else b""
