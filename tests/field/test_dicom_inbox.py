"""Studies of odd files, dropped: one job with all of them, whatever their UIDs are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claraedge.config import Config
from claraedge.inbox.inspection.dicom import name_of
from claraedge.inbox.model import ItemState
from tests.field.case import case
from tests.field.dicom_files import (
    HEAD,
    ITEM_END,
    OWNER,
    SEQUENCE_END,
    STUDY,
    TAIL,
    UNDEFINED,
    bare,
    item,
    long,
    meta,
    short,
    with_odd,
)
from tests.rig.inbox import drop, inbox_rig, make_config, tree_of

ODD = {
    "0-plain.dcm": b"",
    "1-question-marks.dcm": OWNER + short(0x00091001, b"??", b"AB"),
    "2-two-spaces.dcm": OWNER + short(0x00091001, b"  ", b"AB"),
    "3-two-zeros.dcm": OWNER + short(0x00091001, b"\0\0", b"AB"),
    "4-un-explicit-inside.dcm": OWNER
    + long(
        0x00091002,
        b"UN",
        item(short(0x00091003, b"LO", b"AB") + ITEM_END, UNDEFINED) + SEQUENCE_END,
        UNDEFINED,
    ),
    "5-length-like-letters.dcm": OWNER + bare(0x00091004, bytes(0x4C42)),
}


def config(state: Path, grouping: str = "dicom-study") -> Config:
    trigger = {
        "folder": "in", "pipeline": "ct", "grouping": grouping, "quiet_seconds": 0.5,
        "metadata": {"Study": "{study}"},
    }  # fmt: skip
    return make_config(state, trigger=[trigger], settle=0.1)


@case(
    8,
    "a study of which each file has another odd element",
    source="pydicom/pydicom#1305, #1312; fo-dicom/fo-dicom#47, #1847; dcm4che/dcm4che#159",
    outcome="It is one job with all its files.",
)
async def test_odd_files_of_a_study_are_one_job(tmp_path: Path) -> None:
    wanted = {name: with_odd(odd) for name, odd in ODD.items()}
    async with inbox_rig(config(tmp_path)) as rig:
        await rig.register("ct")
        for name, content in wanted.items():
            drop(tmp_path / "inbox/in" / name, content)
        (found,) = await rig.delivered()
        (job,) = await rig.jobs()
    assert (found.name, found.state) == (STUDY.decode(), ItemState.DELIVERED)
    assert rig.input_of(job) == wanted


@case(
    8,
    "studies whose UIDs are no names of folders",
    source="pydicom/pynetdicom#823; dcm4che/dcm4che#859",
    outcome="Each is one job, called by its UID as far as that is a safe name, and a hash.",
)
async def test_any_uid_groups_and_leads_nowhere(tmp_path: Path) -> None:
    studies = [b"../../../escaped", b"..", b"/etc/x", b"1.2.a\\b", b"1.2.A", b"1.2.a", b"9" * 300]
    state = tmp_path / "state"
    rest = TAIL[TAIL.index(b"\x20\0\x0e\0") :]
    async with inbox_rig(config(state)) as rig:
        await rig.register("ct")
        for number, study in enumerate(studies):
            for file in range(2):
                content = meta() + HEAD + short(0x0020000D, b"UI", study) + rest
                drop(state / f"inbox/in/{number}-{file}.dcm", content)
        items = await rig.delivered(len(studies))
        jobs = {job.name: job for job in await rig.jobs()}
        assert {found.state for found in items} == {ItemState.DELIVERED}
        assert set(jobs) == {name_of(study) for study in studies}
        for number, study in enumerate(studies):
            job = jobs[name_of(study)]
            assert set(rig.input_of(job)) == {f"{number}-0.dcm", f"{number}-1.dcm"}
            assert job.metadata["Study"] == name_of(study)
            (kept,) = (state / "originals").rglob(name_of(study))
            assert len(tree_of(kept)) == 2
    assert os.listdir(tmp_path) == ["state"]  # noqa: PTH208 - not blocking for long


@pytest.mark.parametrize(
    ("grouping", "reason"),
    [
        ("dicom-study", ""),
        (
            "dicom-series",
            "it is a DICOM file without a SeriesInstanceUID (0020,000E): have it sent or exported"
            ' again with one, or let its trigger group by study (grouping = "dicom-study")',
        ),
    ],
)
@case(
    8,
    "a file without a series",
    source="PS3.3, C.7.3.1",
    outcome="It is of its study; a trigger that groups by series refuses it, and says why.",
)
async def test_a_file_without_a_series(tmp_path: Path, grouping: str, reason: str) -> None:
    without = TAIL[: TAIL.index(b"\x20\0\x0e\0")] + TAIL[TAIL.index(b"\x28\0\x10\0") :]
    async with inbox_rig(config(tmp_path, grouping)) as rig:
        await rig.register("ct")
        drop(tmp_path / "inbox/in/a.dcm", meta() + HEAD + without)
        (found,) = await rig.delivered()
    assert found.reason == reason
    assert found.state is (ItemState.FAILED if reason else ItemState.DELIVERED)
