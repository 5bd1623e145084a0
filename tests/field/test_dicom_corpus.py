"""Every file of the toolkits is grouped as they read it, or refused with a reason that is true."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from claraedge.inbox.inspection.dicom import Identity, Unidentified, identify
from tests.field.case import case
from tests.field.dicom_corpus import (
    DCMTK,
    GDCM,
    SAMPLES,
    converted,
    samples,
    study_by_dcmdump,
    study_by_pydicom,
)

pytestmark = [
    pytest.mark.timeout(400),  # some hundred processes
    pytest.mark.skipif(
        DCMTK is None or GDCM is None, reason="dcmtk or gdcm is missing (build/test installs them)"
    ),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # pydicom's, of bad files
]


@dataclass(frozen=True, slots=True)
class Row:
    """A file, and what each reader says of its study: None where it cannot read it."""

    path: Path
    found: Identity | Unidentified
    pydicom: bytes | None
    dcmdump: bytes | None
    made_of: bytes | None
    """The study of the sample that it was made of, which says what it is where no toolkit can."""

    @property
    def study(self) -> bytes:
        return self.found.study if isinstance(self.found, Identity) else b""

    @property
    def agrees(self) -> bool:
        reported = {study for study in (self.pydicom, self.dcmdump) if study}
        return (reported or {self.made_of or b""}) == {self.study}


def row(path: Path) -> Row:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = identify(descriptor)
    finally:
        os.close(descriptor)
    base = SAMPLES / "test_files" / path.name.rpartition(" ")[2]
    made_of = study_by_pydicom(base) if " " in path.name and base.is_file() else None
    return Row(path, found, study_by_pydicom(path), study_by_dcmdump(path), made_of)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    files = [*samples(), *converted(tmp_path_factory.mktemp("corpus"))]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(row, files))


@case(
    8,
    "the files of pydicom, and what dcmtk, gdcm and pydicom make of them",
    source="pydicom/pydicom, src/pydicom/data; DCMTK, dcmconv, dump2dcm; GDCM, gdcmconv",
    outcome="Each is of the study that dcmdump and pydicom report.",
    tools=("DCMTK", "GDCM", "pydicom"),
)
def test_each_file_is_of_the_study_that_toolkits_report(corpus: list[Row]) -> None:
    kinds = Counter(r.path.name.split(" ")[0] if " " in r.path.name else "sample" for r in corpus)
    identified = [r for r in corpus if isinstance(r.found, Identity)]
    by_both = [r for r in identified if r.pydicom == r.dcmdump == r.study]
    print(f"{len(corpus)} files: {dict(kinds)}")
    print(f"{len(identified)} have a study; pydicom and dcmdump report the same for {len(by_both)}")
    print(f"by pydicom alone: {[r.path.name for r in identified if r.dcmdump != r.study]}")
    print(f"by dcmdump alone: {[r.path.name for r in identified if r.pydicom != r.study]}")
    different = [r for r in corpus if not r.agrees]
    print(f"{len(different)} have another study")
    assert different == []
    assert len(corpus) > 500
    assert len(identified) > 450


Truth = Callable[[Row], bool]
#: What a reason begins with, and when that is true.
TRUTHS: dict[str, Truth] = {
    "is not a DICOM file: ": lambda r: r.path.read_bytes()[128:132] != b"DICM",
    "is a gzip archive, ": lambda r: r.path.suffix == ".gz",
    "is empty: ": lambda r: r.path.stat().st_size == 0,
    "is a DICOMDIR, ": lambda r: "DICOMDIR" in str(r.path),
    "is a DICOM file without a StudyInstanceUID ": lambda r: not r.pydicom and not r.dcmdump,
    "is a DICOM file whose StudyInstanceUID (0020,000D) is empty": lambda r: r.dcmdump == b"",
    "is a DICOM file that ends": lambda r: not r.pydicom and not r.dcmdump,
}


def test_no_reason_is_untrue(corpus: list[Row]) -> None:
    refused = [(r, r.found.reason) for r in corpus if isinstance(r.found, Unidentified)]
    for r, reason in refused:
        print(f"{r.path.name}: it {reason}")
        truths = [is_true for text, is_true in TRUTHS.items() if reason.startswith(text)]
        assert len(truths) == 1, (r.path, reason)
        assert truths[0](r), (r.path, reason)
    assert len(refused) > 40


#: What is said of the beginning of a file, where that has no study yet.
OF_A_BEGINNING = (
    "is a DICOM file that ends", "ends ", "is empty: ", "is not a DICOM file: ",
    "has no more than an empty preamble", "is a DICOMDIR",
)  # fmt: skip


@case(
    8,
    "transfers that stop at any byte",
    source="exini/dicom-streams-js#41",
    outcome="The beginning of a file is of its study, or is refused as cut off.",
    tools=("pydicom",),
)
def test_a_beginning_is_never_of_another_study() -> None:
    counts = Counter[str]()
    for path in samples():
        whole = path.read_bytes()
        if not 400 < len(whole) < 60_000 or path.suffix not in (".dcm", ""):
            continue
        descriptor = os.memfd_create("beginning")
        try:
            os.write(descriptor, whole)
            right = identify(descriptor)
            for end in range(min(len(whole), 3000), 0, -11):
                os.ftruncate(descriptor, end)
                found = identify(descriptor)
                if isinstance(found, Identity):
                    assert found == right, (path, end)
                    counts["of its study"] += 1
                    continue
                texts = [text for text in OF_A_BEGINNING if found.reason.startswith(text)]
                assert texts or found == right, (path, end, found)
                counts[texts[0] if texts else "as the whole of it"] += 1
        finally:
            os.close(descriptor)
    print(dict(counts))
    assert counts["of its study"] > 1000
    assert counts["ends "] > 1000


def test_the_samples_are_there() -> None:
    assert len(samples()) > 190
    assert (SAMPLES / "test_files/CT_small.dcm").is_file()
