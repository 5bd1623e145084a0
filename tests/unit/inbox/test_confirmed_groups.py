"""A listing confirms the end of a group, whatever becomes of the listing, and at no one's cost."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from claraedge.bugs import Known
from claraedge.inbox.candidates.candidates import Candidates
from claraedge.inbox.candidates.entry import Waiting
from claraedge.inbox.inspection.inspector import Inspection
from claraedge.inbox.inspection.settling import Heard
from claraedge.inbox.triggers.triggers import Trigger, Triggers
from claraedge.inbox.watching.folders import FolderListing, Folders
from claraedge.inbox.watching.watch import Signal
from tests.rig.inbox import InboxRig, drop, inbox_rig, make_config
from tests.rig.waiting import eventually

#: No rescan comes to help within a test.
NEVER = 3600.0
QUIET = {"folder": "in", "pipeline": "ct", "grouping": "quiet", "quiet_seconds": 0.3}

_entries = Folders.entries


async def watched(rig: InboxRig) -> None:
    await rig.register("ct")
    await eventually(lambda: rig.watcher._watched, "the inbox is watched")


async def test_what_the_listing_showed_is_waited_for_though_an_event_came_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = tmp_path / "inbox/in"
    listed: list[Sequence[bytes]] = []
    inspects = Candidates.inspect

    async def entries(self: Folders, trigger: Trigger, layout: Triggers) -> FolderListing | None:
        found = await _entries(self, trigger, layout)
        if trigger.folder == inbox and found is not None:
            listed.append(sorted(found.entries))
            # Its event arrives while the listing is read.
            rig.inbox._heard([Signal(path=os.fsencode(inbox / "1.dcm"), heard=Heard.CREATED)])
        return found

    def slow(self: Candidates, some: Sequence[Waiting]) -> list[Inspection | Known]:
        if listed:  # with it, something big of another folder is inspected
            time.sleep(1)
        return inspects(self, some)

    config = make_config(tmp_path, rescan=NEVER, trigger=[{**QUIET, "quiet_seconds": 1.0}])
    async with inbox_rig(config) as rig:
        await watched(rig)
        drop(inbox / "0.dcm")
        await rig.until(lambda items: any("whole" in item.reason for item in items))
        monkeypatch.setattr(rig.watcher, "_heard", lambda _batch: None)  # events are late
        drop(inbox / "1.dcm")
        monkeypatch.setattr(Folders, "entries", entries)
        monkeypatch.setattr(Candidates, "inspect", slow)
        await rig.delivered(1)
        assert listed[0] == [b"0.dcm", b"1.dcm"]
        (job,) = await rig.jobs()
        assert sorted(rig.input_of(job)) == ["0.dcm", "1.dcm"]


async def test_a_listing_that_fails_is_repeated_before_the_next_rescan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = tmp_path / "inbox/in"
    failed = asyncio.Event()

    async def entries(self: Folders, trigger: Trigger, layout: Triggers) -> FolderListing | None:
        if trigger.folder == inbox and not failed.is_set():
            failed.set()
            return None  # as after EMFILE or EIO
        return await _entries(self, trigger, layout)

    async with inbox_rig(make_config(tmp_path, rescan=NEVER, trigger=[QUIET])) as rig:
        await watched(rig)
        drop(inbox / "0.dcm")
        await rig.until(lambda items: items)
        monkeypatch.setattr(Folders, "entries", entries)
        await rig.delivered(1)
        assert failed.is_set()


async def test_groups_of_one_folder_have_no_other_folder_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = {"folder": "big", "pipeline": "ct", "grouping": "dicom-study"}
    counts: Counter[str] = Counter()

    async def entries(self: Folders, trigger: Trigger, layout: Triggers) -> FolderListing | None:
        counts[trigger.folder.name] += 1
        return await _entries(self, trigger, layout)

    async with inbox_rig(make_config(tmp_path, rescan=NEVER, trigger=[big, QUIET])) as rig:
        await watched(rig)
        drop(tmp_path / "inbox/in/0.dcm")
        await rig.delivered(1)  # a rescan at the start is over, too
        monkeypatch.setattr(Folders, "entries", entries)
        for number in range(1, 4):
            drop(tmp_path / f"inbox/in/{number}.dcm")
            await rig.delivered(number + 1)
        assert counts["in"] >= 3
        assert counts["big"] == 0


async def test_a_steady_stream_delays_no_group_of_a_folder_that_is_slow_to_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a share that is polled every 5 s and listed in 3 s, with all times a tenth."""
    inbox = tmp_path / "inbox/in"

    async def entries(self: Folders, trigger: Trigger, layout: Triggers) -> FolderListing | None:
        found = await _entries(self, trigger, layout)
        if trigger.folder == inbox:
            await asyncio.sleep(0.3)
        return found

    async def stream() -> None:
        for number in range(10_000):
            drop(inbox / f"other{number}.dcm")
            await asyncio.sleep(0.25)

    marker = {"folder": "in", "pipeline": "ct", "grouping": "marker", "marker": "*.ok"}
    async with inbox_rig(make_config(tmp_path, rescan=0.5, trigger=[marker])) as rig:
        await watched(rig)
        monkeypatch.setattr(Folders, "entries", entries)
        drop(inbox / "scan.dcm")
        drop(inbox / "scan.ok")
        streaming = asyncio.create_task(stream())
        await rig.delivered(1)
        assert not streaming.done()
        streaming.cancel()


async def test_a_pipeline_that_is_created_counts_although_the_folder_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = tmp_path / "inbox/in"

    async def entries(self: Folders, trigger: Trigger, layout: Triggers) -> FolderListing | None:
        return None  # as after EMFILE or EIO

    trigger = {"folder": "in", "pipeline": "ct"}
    async with inbox_rig(make_config(tmp_path, rescan=NEVER, trigger=[trigger])) as rig:
        await eventually(lambda: rig.watcher._watched, "the inbox is watched")
        drop(inbox / "0.dcm")
        await rig.until(lambda items: any("no such pipeline" in item.reason for item in items))
        monkeypatch.setattr(Folders, "entries", entries)
        await rig.register("ct")
        await rig.delivered(1)
