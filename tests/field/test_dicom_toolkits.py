"""DICOM receivers and converters write studies straight into the drop folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import pytest

from tests.field.case import case
from tests.field.servers import storescp
from tests.field.site import Drop, write
from tests.field.tools import run
from tests.field.whole_studies import Study, identity, study


def makes(drop: Drop, wanted: Sequence[Study]) -> None:
    """Waits until each study is one job with exactly its instances, whatever their names."""
    drop.until("each is a job", lambda: len(drop.jobs()) >= len(wanted))
    drop.makes_no_more()
    expected = sorted(sorted(map(identity, one.files.values())) for one in wanted)
    assert sorted(sorted(map(identity, job)) for job in drop.contents()) == expected, drop.report()


RECEIVERS: Mapping[str, tuple[str, ...]] = {
    "names of storescp": (),
    "an ending": ("-fe", ".dcm"),
    "a folder for each study (-su)": ("-su", "study"),
    "a folder for each patient and time (-sp)": ("-sp",),
    "one process for each sender (--fork)": ("--fork",),
    "bit-preserving (+B)": ("+B",),
    "explicit big endian (+xb)": ("+xb",),
    "unique names (-uf, +xe)": ("-uf", "+xe"),
}


@pytest.mark.parametrize("options", RECEIVERS.values(), ids=RECEIVERS)
@case(
    8,
    "storescp writes two studies, sent by dcmsend, straight into the drop folder",
    source="commontk/CTK#254; salimkanoun/Orthanc-Tools-JS#525; fo-dicom/fo-dicom#1464",
    outcome="One job for each study with every instance, whatever the names and folders.",
    tools=["DCMTK"],
)
def test_storescp(studies: Drop, tmp_path: Path, options: tuple[str, ...]) -> None:
    wanted = [study(number, 4) for number in range(2)]
    for one in wanted:
        write(studies.source, one.files)
    with storescp(studies.folder, tmp_path / "storescp.log", *options) as port:
        run("dcmsend", "+sd", "127.0.0.1", str(port), studies.source)
        makes(studies, wanted)


@case(
    8,
    "Several modalities send their studies at once, mixed, to one receiver",
    source="fo-dicom/fo-dicom#1464; horosproject/horos#212",
    outcome="One job for each study, with exactly its instances.",
    tools=["DCMTK"],
)
def test_mixed_senders(studies: Drop, tmp_path: Path) -> None:
    wanted = [study(number, 6) for number in range(3)]
    files = [list(one.files.items()) for one in wanted]
    for number in range(2):  # each sender has some of every study
        write(studies.source / f"sender{number}", dict(chain(*(f[number::2] for f in files))))
    with storescp(studies.folder, tmp_path / "storescp.log", "--fork") as port:
        for number in range(2):
            run("dcmsend", "+sd", "127.0.0.1", str(port), studies.source / f"sender{number}")
        makes(studies, wanted)


@case(
    8,
    "A study lies in two folders, and files of a second study between them",
    source="horosproject/horos#149; commontk/CTK#797",
    outcome="One job for each study, with the files of both folders.",
    tools=["pydicom"],
)
def test_two_folders(studies: Drop) -> None:
    one, two = study(1, 6), study(2, 2)
    names = list(one.files)
    first = {f"DISK1/{name}": one.files[name] for name in names[:3]}
    rest = {f"DISK2/{name}": one.files[name] for name in names[3:]}
    between = {f"DISK1/{name}": content for name, content in two.files.items()}
    write(studies.source, {**first, **rest, **between})
    for folder in ("DISK1", "DISK2"):
        run("cp", "-r", studies.source / folder, studies.folder)
    studies.makes({**first, **rest}, between)


@pytest.mark.parametrize("program", ["gdcmconv", "dcmconv"])
@case(
    8,
    "A converter writes each file of a study straight into the drop folder",
    source="malaterre/GDCM, gdcmconv(1); dcmtk, dcmconv(1)",
    outcome="One job with every file as it was written.",
    tools=["GDCM", "DCMTK"],
)
def test_converters(studies: Drop, program: str) -> None:
    one = study(1, 5)
    write(studies.source, one.files)
    options = {"gdcmconv": ("--raw",), "dcmconv": ("+ti",)}[program]
    for name in one.files:
        run(program, *options, studies.source / name, studies.folder / name)
    makes(studies, [one])


@case(
    8,
    "dcmodify changes files of a study in the drop folder, and keeps .bak files",
    source="dcmtk, dcmodify(1), --no-backup",
    outcome="The changed files and their backups are inputs of one job: both are whole files of the"
    " study, under names that are nobody's but the user's.",
    tools=["DCMTK"],
)
def test_backups_of_dcmodify(studies: Drop) -> None:
    one = study(1, 2)
    write(studies.folder, one.files)
    name = next(iter(one.files))
    run("dcmodify", "-ma", "PatientID=CHANGED", studies.folder / name)
    changed = (studies.folder / name).read_bytes()
    assert changed != one.files[name]
    studies.makes({**one.files, name: changed, f"{name}.bak": one.files[name]})


@case(
    2,
    "Desktop files lie between the files of a study",
    source="paperless-ngx/paperless-ngx#4331; darktable-org/darktable#11225",
    outcome="One job with the images; no failed item for what a desktop has left.",
    tools=["macOS Finder", "Windows Explorer", "Synology DSM"],
)
def test_desktop_files_in_a_study(studies: Drop) -> None:
    one = study(1, 3)
    names = [f"CD/{name}" for name in one.files]
    files = dict(zip(names, one.files.values(), strict=True))
    leftovers = {f"CD/._{name}": b"\0\5\x16\7" for name in one.files}
    more = {"CD/.DS_Store": b"\0\0\0\1Bud1", "CD/Thumbs.db": b"x", "Desktop.ini": b"[x]"}
    thumbnails = {f"CD/@eaDir/{name}/SYNOFILE_THUMB_M.png": b"png" for name in one.files}
    write(studies.folder, {**leftovers, **more, **thumbnails, **files})
    studies.makes(files)


@case(
    1,
    "A folder of a study is renamed while its files arrive",
    source="ipsingh06/seedsync#110",
    outcome="One job with every file once.",
    tools=["pydicom"],
)
def test_a_renamed_folder(studies: Drop) -> None:
    one = study(1, 6)
    names = list(one.files)
    write(studies.folder / "New folder", {name: one.files[name] for name in names[:3]})
    studies.until("they are seen", lambda: studies.items())
    (studies.folder / "New folder").rename(studies.folder / "MILLER")
    write(studies.folder / "MILLER", {name: one.files[name] for name in names[3:]})
    studies.makes({f"MILLER/{name}": content for name, content in one.files.items()})
