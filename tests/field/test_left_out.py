"""Whatever lies in a folder of the inbox and is no item says why, and what would change that."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from claraedge.inbox.model import ItemState
from tests.field.case import case
from tests.rig.inbox import drop, inbox_rig, make_config


@case(
    7,
    "File extensions in capital letters",
    source="nroduit/Weasis#190; dcm4che/dcm4che#946; scalableminds/webknossos-libs#1099; "
    "bastula/dicompyler#4",
    outcome='`include = ["*.dcm"]` accepts FILE08.DCM as well: case does not count.',
)
async def test_the_case_of_an_ending_does_not_count(state: Path) -> None:
    trigger = {"folder": "in", "pipeline": "ct", "include": ("*.dcm",)}
    async with inbox_rig(make_config(state, trigger=[trigger])) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/IM1.DCM", b"1")
        drop(state / "inbox/in/im2.dcm", b"2")
        await rig.delivered(2)
        assert {job.name for job in await rig.jobs()} == {"IM1.DCM", "im2.dcm"}


@case(
    7,
    "A file that fits no pattern of its trigger",
    source="nroduit/Weasis#190 (files passed by without a word)",
    outcome="`list inbox` shows it as IGNORED with the patterns and what would take it.",
)
@pytest.mark.parametrize("grouping", ["entry", "file"])
async def test_what_fits_no_pattern_says_so(state: Path, grouping: str) -> None:
    trigger = {
        "folder": "in", "pipeline": "ct", "grouping": grouping,
        "include": ("*.dcm", "*.ima"), "ignore": ("test*",),
    }  # fmt: skip
    async with inbox_rig(make_config(state, trigger=[trigger])) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/scan.dicom", b"1")
        drop(state / "inbox/in/test1.dcm", b"1")
        items = await rig.until(lambda items: len(items) == 2)
        reasons = {item.name: (item.state, item.reason, item.remedy) for item in items}
        assert reasons == {
            "scan.dicom": (
                ItemState.IGNORED,
                "'scan.dicom' fits none of the patterns of its trigger: *.dcm, *.ima",
                "rename it, or add a pattern to `include` of the trigger",
            ),
            "test1.dcm": (
                ItemState.IGNORED,
                "'test1.dcm' fits test* in `ignore` of its trigger",
                "rename it, or take the pattern out of the trigger",
            ),
        }
        (state / "inbox/in/scan.dicom").rename(state / "inbox/in/scan.dcm")
        await rig.delivered()
        await rig.until(lambda items: "scan.dicom" not in {i.name for i in items})


@case(
    7,
    "Files in a hidden folder",
    source="commontk/CTK#797",
    outcome="Where folders are walked for files, the hidden folder is shown with the reason.",
)
async def test_a_hidden_folder_says_that_it_is_not_read(state: Path) -> None:
    trigger = {"folder": "in", "pipeline": "ct", "grouping": "file"}
    async with inbox_rig(make_config(state, trigger=[trigger])) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/.T2 SAG/a.dcm", b"1")
        drop(state / "inbox/in/.T2 SAG/b/c.dcm", b"1")
        (item,) = await rig.until(lambda items: [i.state for i in items] == [ItemState.IGNORED])
        assert item.name == ".T2 SAG"
        assert "hidden folder" in item.reason
        (state / "inbox/in/.T2 SAG").rename(state / "inbox/in/T2 SAG")
        await rig.delivered(2)


@case(
    7,
    "A hidden folder at the top of the inbox",
    source="paperless-ngx/paperless-ngx#2670",
    outcome="It is shown as no folder of a trigger.",
)
async def test_a_hidden_folder_of_the_inbox_is_reported(state: Path) -> None:
    async with inbox_rig(make_config(state)) as rig:
        drop(state / "inbox/.ct/a.dcm", b"1")
        drop(state / "inbox/.DS_Store", b"1")
        items = await rig.until(lambda items: len(items) == 2)
        assert {i.name: i.state for i in items} == dict.fromkeys(
            (".ct", ".DS_Store"), ItemState.IGNORED
        )
        assert all(item.remedy for item in items)


@case(
    7,
    "A file that never stops changing",
    source="homelab-00/TranscriptionSuite#311; guard/listen#520",
    outcome="After twice the settle time it says that it still changes, and when it is taken.",
)
async def test_a_restless_file_says_so(state: Path) -> None:
    async with inbox_rig(make_config(state, settle=0.4)) as rig:
        await rig.register("ct")
        path = drop(state / "inbox/ct/log.dcm", b"1")

        def grow(_: object) -> bool:
            path.write_bytes(path.read_bytes() + b"1")
            return True

        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            items = await rig.until(grow)
            if items and "still changes: it is taken once it stays the same" in items[0].reason:
                break
        else:
            raise AssertionError(f"no word in 20 s: {items}")
        await rig.delivered()


@case(
    7,
    "A time set by name after the file was closed",
    source="7-Zip and touch -m; Linux reports IN_MODIFY for a time alone (fsnotify.h)",
    outcome="The file is taken after the settle time; no close is waited for.",
)
async def test_a_time_that_is_set_by_name_is_no_writer(state: Path) -> None:
    import os

    async with inbox_rig(make_config(state, settle=1.0)) as rig:
        await rig.register("ct")
        await rig.until(lambda _: (state / "inbox").is_dir())
        path = drop(state / "inbox/ct/a.dcm", b"1")
        await rig.until(lambda items: len(items) == 1)
        os.utime(path, (1e9, 1e9))
        await rig.delivered()


@case(
    7,
    "Thousands of files that fit no pattern",
    source="scalableminds/webknossos-libs#1099",
    outcome="A thousand of a folder are listed; the last one says how many more there are.",
)
async def test_many_that_are_left_out_are_counted(state: Path) -> None:
    trigger = {"folder": "in", "pipeline": "ct", "include": ("*.dcm",)}
    for number in range(1203):
        drop(state / f"inbox/in/{number:04}.txt", b"")
    async with inbox_rig(make_config(state, trigger=[trigger])) as rig:
        await rig.register("ct")
        items = await rig.until(lambda items: len(items) == 1000)
        assert "203 more entries" in items[-1].reason
        found = await rig.inbox.item(items[-1].id)
        assert found.name == items[-1].name
