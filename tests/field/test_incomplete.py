"""A part of a study, or of another group, never passes for the whole."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset

from claraedge.config import Config
from claraedge.fs.walking import Entry
from claraedge.inbox.inspection import survey
from claraedge.inbox.model import Item, ItemState
from tests.field.case import case
from tests.rig.inbox import InboxRig, document, drop, inbox_rig, make_config, tree_of

STUDY, OTHER = "1.2.826.0.1.3680043.10.1.1", "1.2.826.0.1.3680043.10.1.2"


def image(number: int, study: str = STUDY) -> bytes:
    """A small DICOM file of a study."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = f"{study}.1.{number}"
    data.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    data.SOPInstanceUID = f"{study}.1.{number}"
    data.Modality = "OT"
    data.PatientName = "Field^Case"
    data.StudyInstanceUID = study
    data.SeriesInstanceUID = f"{study}.1"
    data.PixelData = bytes(64)
    data["PixelData"].VR = "OB"
    buffer = pydicom.filebase.DicomBytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def config(state: Path, incomplete: str | None = None, **more: Any) -> Config:
    trigger = {
        "folder": "in", "pipeline": "ct", "grouping": "dicom-study", "quiet_seconds": 0.5, **more,
    }  # fmt: skip
    if incomplete is not None:
        trigger["incomplete"] = incomplete
    return make_config(state, trigger=[trigger], settle=0.1, rescan=0.3)


async def waits(rig: InboxRig, text: str) -> list[Item]:
    """The items once one of them waits with such a reason; no job was made until then."""
    items = await rig.until(
        lambda items: any(text in i.reason for i in items if i.state is ItemState.PARKED)
    )
    assert await rig.jobs() == []
    return items


async def one_job(rig: InboxRig, *names: str) -> None:
    await rig.delivered()
    (job,) = await rig.jobs()
    assert set(rig.input_of(job)) == set(names)
    assert list(job.messages) == []


def cut(path: Path) -> None:
    drop(path, image(3)[:200])


def empty(path: Path) -> None:
    drop(path, b"")


def zeros(path: Path) -> None:
    drop(path, bytes(4096))


def link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def unreadable(path: Path) -> None:
    drop(path, image(3)).chmod(0)


def half(path: Path) -> None:
    drop(path.with_name(f".{path.name}.k3J9sd"), image(3)[:400])


def being_sent(path: Path) -> None:
    drop(path.with_name(f"{path.name}.filepart"), b"")


def web_page(path: Path) -> None:
    drop(path, b"<!DOCTYPE html><html><title>Sign in</title></html>")


def packed(path: Path) -> None:
    drop(path.with_name(f"{path.name}.gz"), gzip.compress(image(3)))


LACKING = [
    (web_page, "is not a DICOM file"),
    (packed, "is a gzip archive"),
    (cut, "ends"),
    (empty, "is empty"),
    (zeros, "empty preamble"),
    (link, "symbolic link"),
    (unreadable, "cannot be read"),
    (half, "unfinished file (rsync)"),
    (being_sent, "unfinished file (WinSCP)"),
]


@case(
    1,
    "A study of which one file is refused, unfinished or closed to us",
    source="commontk/CTK#797; pydicom/pydicom#1305; dgobbi/vtk-dicom#149",
    outcome='The study waits, says "2 of 3 files" and names the third with its reason; '
    "it is one job once that is replaced.",
)
@pytest.mark.parametrize(("lack", "text"), LACKING, ids=lambda p: getattr(p, "__name__", ""))
@pytest.mark.parametrize("below", ["", "S1/"])
async def test_a_study_waits_for_what_lacks(
    state: Path, lack: Callable[[Path], None], text: str, below: str
) -> None:
    folder = state / "inbox/in" / below
    folder.mkdir(parents=True)
    async with inbox_rig(config(state)) as rig:
        await rig.register("ct")
        drop(folder / "IM1.dcm", image(1))
        drop(folder / "IM2.dcm", image(2))
        lack(folder / "IM3.dcm")
        items = await waits(rig, "its group waits: 2 of 3 files: ")
        assert all(text in i.reason for i in items if i.reason.startswith("its group"))
        for path in folder.iterdir():
            if path.name not in ("IM1.dcm", "IM2.dcm"):
                path.unlink()
        drop(folder / "IM3.dcm", image(3))
        await one_job(rig, *(f"{below}IM{n}.dcm" for n in (1, 2, 3)))


@case(
    1,
    "A study that may run without its damaged file",
    source="pydicom/pydicom#1305; fo-dicom/fo-dicom#47",
    outcome='With incomplete = "run" the job\'s messages, `result.json` and the item say '
    '"2 of 3 files" with the reason; the damaged file goes to the failures.',
)
async def test_a_job_of_a_part_says_so_everywhere(state: Path) -> None:
    async with inbox_rig(config(state, "run")) as rig:
        await rig.register("ct")
        for number in (1, 2):
            drop(state / f"inbox/in/IM{number}.dcm", image(number))
        cut(state / "inbox/in/IM3.dcm")
        items = await rig.delivered(2)
        (job,) = await rig.jobs()
        (done,) = (i for i in items if i.state is ItemState.DELIVERED)
        (failed,) = (i for i in items if i.state is ItemState.FAILED)
        lacks = "2 of 3 files: 'IM3.dcm': it "
        assert job.messages[0].startswith(f"the input is incomplete: {lacks}")
        assert done.reason.startswith(lacks)
        result = document(Path(done.result_path or "") / "result.json")
        assert result["messages"] == list(job.messages)
        assert failed.name == "IM3.dcm"


@case(
    1,
    "A study that is to fail as a whole where a file is damaged",
    source="dgobbi/vtk-dicom#149; gacou54/pyorthanc#22 (when a study is stable)",
    outcome='With incomplete = "fail" nothing runs; all its files lie together in one failure.',
)
async def test_a_group_may_fail_as_a_whole(state: Path) -> None:
    async with inbox_rig(config(state, "fail")) as rig:
        await rig.register("ct")
        for number in (1, 2):
            drop(state / f"inbox/in/IM{number}.dcm", image(number))
        cut(state / "inbox/in/IM3.dcm")
        (item,) = await rig.delivered()
        assert await rig.jobs() == []
        assert item.reason.startswith("its group is incomplete: 2 of 3 files: 'IM3.dcm'")
        (kept,) = (Path(item.result_path or "") / "original").iterdir()
        assert set(tree_of(kept)) == {"IM1.dcm", "IM2.dcm", "IM3.dcm"}
    assert tree_of(state / "inbox/in") == {}


@case(
    1,
    "A series in a folder whose name begins with a dot",
    source="commontk/CTK#797",
    outcome="One job with the files of both folders.",
)
async def test_a_series_in_a_dot_folder_is_a_part_of_its_study(state: Path) -> None:
    async with inbox_rig(config(state)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/S1/IM1.dcm", image(1))
        drop(state / "inbox/in/.T2 SAG/IM2.dcm", image(2))
        await one_job(rig, "S1/IM1.dcm", ".T2 SAG/IM2.dcm")


@case(
    1,
    "An image under a hidden name of an unknown transfer program",
    source="proftpd/proftpd#46",
    outcome="It keeps its study waiting, since it says itself which study it is of.",
)
async def test_a_hidden_image_keeps_its_study_waiting_wherever_it_lies(state: Path) -> None:
    async with inbox_rig(config(state)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/S1/IM1.dcm", image(1))
        drop(state / "inbox/in/other/.IM2.dcm", image(2))
        drop(state / "inbox/in/S2/IM1.dcm", image(1, OTHER))
        (done,) = await rig.delivered()
        assert done.name == OTHER
        await rig.until(
            lambda items: any("1 of 2 files: 'other/.IM2.dcm'" in i.reason for i in items)
        )
        (state / "inbox/in/other/.IM2.dcm").rename(state / "inbox/in/other/IM2.dcm")
        await rig.delivered(2)
        assert {job.name: len(rig.input_of(job)) for job in await rig.jobs()} == {
            STUDY: 2,
            OTHER: 1,
        }


@case(
    1,
    "The viewer and index of a patient's disc among its images",
    source="DICOM PS3.12: a medium may hold files of other kinds",
    outcome="What is certainly no image fails alone with its reason and keeps no study waiting.",
)
async def test_what_is_no_image_keeps_no_study_waiting(state: Path) -> None:
    async with inbox_rig(config(state)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/CD/IM1.dcm", image(1))
        drop(state / "inbox/in/CD/AUTORUN.INF", b"[autorun]\r\nopen=viewer.exe\r\n")
        drop(state / "inbox/in/CD/viewer.exe", b"MZ" + bytes(1000))
        items = await rig.delivered(3)
        (job,) = await rig.jobs()
        assert set(rig.input_of(job)) == {"CD/IM1.dcm"}
        assert sorted(i.name for i in items if i.state is ItemState.FAILED) == [
            "AUTORUN.INF",
            "viewer.exe",
        ]


@case(
    1,
    "An old damaged file in the folder of a scanner that writes everything side by side",
    source="trimble-oss/dba-dash#2073 (one bad file kept all later ones waiting)",
    outcome="It keeps those studies waiting that came at its time, and none of later days.",
)
async def test_an_old_damaged_file_holds_up_no_later_study(state: Path) -> None:
    async with inbox_rig(config(state)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/IM1.dcm", image(1))
        cut(state / "inbox/in/IM2.dcm")
        await waits(rig, "1 of 2 files")
        await asyncio.sleep(1.2)  # twice the quiet time: it is of another moment
        drop(state / "inbox/in/IM3.dcm", image(1, OTHER))
        (done,) = await rig.delivered()
        assert done.name == OTHER


@case(
    1,
    "A study folder that is renamed while its files are taken",
    source="damienhaynes/moving-pictures#287 (renames in a watched folder)",
    outcome="One job with all its files: the folders are kept open while they are emptied.",
)
async def test_a_folder_renamed_while_it_is_taken_loses_nothing(state: Path) -> None:
    folder, renamed = state / "inbox/in/study", state / "inbox/in/Smith 2026"

    def rename(name: str) -> None:
        if name == "claim: gathered one" and folder.exists():
            folder.rename(renamed)

    for number in range(5):
        drop(folder / f"IM{number}.dcm", image(number))
    async with inbox_rig(config(state), hook=rename) as rig:
        await rig.register("ct")
        await one_job(rig, *(f"study/IM{n}.dcm" for n in range(5)))
    assert renamed.is_dir()
    assert tree_of(state / "inbox/in") == {}


@case(
    1,
    "A file that is open to nobody in a folder of all that comes",
    source="jordansissel/ruby-filewatch#38; watchexec/watchexec#149",
    outcome="The group waits with the command that helps, instead of running without it.",
)
@pytest.mark.parametrize("grouping", ["quiet", "marker"])
async def test_groups_of_any_kind_wait_for_a_closed_file(state: Path, grouping: str) -> None:
    more = {"marker": "READY", "quiet_seconds": None} if grouping == "marker" else {}
    async with inbox_rig(config(state, grouping=grouping, **more)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/a.raw", b"a")
        closed = drop(state / "inbox/in/b.raw", b"b")
        closed.chmod(0)
        if grouping == "marker":
            drop(state / "inbox/in/READY", b"")
        items = await waits(rig, "its group waits: 1 of 2 files: 'b.raw'")
        assert any(item.remedy == f"sudo claraedge adopt {item.id}" for item in items)
        closed.chmod(0o644)
        await one_job(rig, "a.raw", "b.raw")


@case(
    1,
    "A name that is not UTF-8 in a study",
    source="moinwiki/moin#1986; ome/omero-py#109",
    outcome="The study waits and shows the name with escapes, to be renamed.",
)
async def test_a_study_waits_for_a_file_to_be_renamed(state: Path) -> None:
    folder = state / "inbox/in/study"
    async with inbox_rig(config(state)) as rig:
        await rig.register("ct")
        drop(folder / "IM1.dcm", image(1))
        wrong = drop(folder / os.fsdecode(b"M\xfcller.dcm"), image(2))
        await waits(rig, r"'study/M\xfcller.dcm'")
        wrong.rename(folder / "Müller.dcm")
        await one_job(rig, "study/IM1.dcm", "study/Müller.dcm")


async def test_a_folder_that_appears_empty_for_a_moment_stays_in_its_group(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inspection lists a temporary name, and finds it renamed when it reads its status."""
    folder = state / "inbox/in"
    half = drop(folder / "x/IM2.dcm.filepart", b"ha")
    drop(folder / "y/IM3.dcm", b"whole")
    missed = []

    def walk(root: Path) -> Iterator[Entry]:
        is_missed = root.name == "x" and (folder / "x/IM2.dcm").exists() and not missed
        missed.extend([root] * is_missed)
        return (entry for entry in real(root) if not (is_missed and entry.path))

    async with inbox_rig(config(state, grouping="quiet")) as rig:
        await rig.register("ct")
        await waits(rig, "its group waits: 1 of 2 files: 'x': it holds 'IM2.dcm.filepart'")
        real = survey.walk
        monkeypatch.setattr(survey, "walk", walk)
        half.rename(folder / "x/IM2.dcm")
        await one_job(rig, "x/IM2.dcm", "y/IM3.dcm")
    assert missed


@case(
    7,
    "One folder of a group is unfinished for long",
    source="rclone/rclone#3770; ome/omero-server-docker#23",
    outcome="The others of its group say that they wait for it; all are one job in the end.",
)
async def test_the_whole_ones_of_a_group_say_what_they_wait_for(state: Path) -> None:
    folder = state / "inbox/in"
    half = drop(folder / "x/IM2.dcm.filepart", b"ha")
    drop(folder / "y/IM3.dcm", b"whole")
    async with inbox_rig(config(state, grouping="quiet")) as rig:
        await rig.register("ct")
        items = await waits(rig, "its group waits: 1 of 2 files: 'x': it holds 'IM2.dcm.filepart'")
        (x,) = (item for item in items if item.name == "x")
        assert "'IM2.dcm.filepart', the name of an unfinished file" in x.reason
        half.rename(folder / "x/IM2.dcm")
        await rig.delivered()
        (job,) = await rig.jobs()
        assert set(rig.input_of(job)) == {"x/IM2.dcm", "y/IM3.dcm"}
