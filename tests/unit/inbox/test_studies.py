"""DICOM files become one job a study or series, however and whenever they arrive."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest

from claraedge.config import Config
from claraedge.inbox.model import ItemState
from tests.rig.inbox import drop, ended, inbox_rig, make_config, tree_of

SAMPLES = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests"


def config(state: Path, grouping: str = "dicom-study", quiet: float = 2.0, **more: Any) -> Config:
    trigger = {
        "folder": "in", "pipeline": "ct", "grouping": grouping, "quiet_seconds": quiet, **more,
    }  # fmt: skip
    return make_config(state, trigger=[trigger], settle=0.1)


def by(tag: str) -> Mapping[str, Sequence[Path]]:
    """UID -> the sample files that have it."""
    found: dict[str, list[Path]] = {}
    for path in sorted(SAMPLES.glob("[79]*/*/*")):
        uid = str(pydicom.dcmread(path, stop_before_pixels=True)[tag].value)
        found.setdefault(uid, []).append(path)
    return found


def studies_of_several_series() -> list[tuple[str, Sequence[Path]]]:
    """The largest two."""
    series = {path: uid for uid, paths in by("SeriesInstanceUID").items() for path in paths}
    studies = [
        (uid, paths)
        for uid, paths in by("StudyInstanceUID").items()
        if len({series[path] for path in paths}) > 1
    ]
    assert len(studies) >= 2
    return sorted(studies, key=lambda study: -len(study[1]))[:2]


def place(study: str, number: int) -> str:
    """Some at the top, some in folders."""
    return f"{study}-{number}" if number % 3 == 0 else f"st/{study}/se{number % 2}/{number}.dcm"


async def arrive(state: Path, files: Sequence[tuple[str, Path]], pause: float) -> None:
    """In some order, some by a rename from a temporary name."""
    for number, (name, source) in enumerate(files):
        path = state / "inbox/in" / name
        if number % 2:
            part = drop(path.with_name(path.name + ".part"), source.read_bytes())
            await asyncio.sleep(pause / 2)
            part.rename(path)
            await asyncio.sleep(pause / 2)
        else:
            drop(path, source.read_bytes())
            await asyncio.sleep(pause)


@pytest.mark.parametrize("seed", [1, 2])
async def test_two_studies_that_arrive_together_become_a_job_each(state: Path, seed: int) -> None:
    (one, first), (two, second) = studies_of_several_series()
    wanted = {
        one: {place("one", i): path for i, path in enumerate(first)},
        two: {place("two", i): path for i, path in enumerate(second)},
    }
    files = [pair for tree in wanted.values() for pair in tree.items()]
    random.Random(seed).shuffle(files)
    async with inbox_rig(config(state, metadata={"Study": "{study}"})) as rig:
        await rig.register("ct")
        await arrive(state, files, pause=0.08)
        items = await rig.delivered(2)
        jobs = {job.name: job for job in await rig.jobs()}
        assert set(jobs) == {one, two}
        for uid, tree in wanted.items():
            given = {name: path.read_bytes() for name, path in tree.items()}
            assert rig.input_of(jobs[uid]) == given
            assert jobs[uid].metadata == {"Study": uid, "Source": "inbox", "Item": uid}
            (kept,) = (state / "originals").rglob(uid)
            assert tree_of(kept) == given
    assert {(item.name, item.state) for item in items} == {
        (one, ItemState.DELIVERED),
        (two, ItemState.DELIVERED),
    }
    assert tree_of(state / "inbox/in") == {}


async def test_a_late_file_of_a_study_is_a_job_of_its_own(state: Path) -> None:
    ((uid, files), _) = studies_of_several_series()
    async with inbox_rig(config(state, quiet=0.5)) as rig:
        await rig.register("ct")
        for number, path in enumerate(files[:-1]):
            drop(state / f"inbox/in/{number}", path.read_bytes())
        await rig.delivered(1)
        drop(state / "inbox/in/0", files[-1].read_bytes())  # even by a name of before
        await rig.delivered(2)
        one, two = await rig.jobs()
        assert one.name == two.name == uid
        assert len(rig.input_of(one)) == len(files) - 1
        assert rig.input_of(two) == {"0": files[-1].read_bytes()}
        assert list(one.messages) == []
        assert two.messages[0].startswith(
            f"the input is only the later part of a study or series: job {one.id} has"
        )


async def test_a_file_that_is_no_dicom_fails_alone(state: Path) -> None:
    ((uid, files), _) = studies_of_several_series()
    async with inbox_rig(config(state, quiet=0.5, incomplete="run")) as rig:
        await rig.register("ct")
        bad = {
            "st/notes.txt": b"notes",
            "empty": b"",
            "cut.dcm": files[0].read_bytes()[:200],
        }
        for name, content in bad.items():
            drop(state / "inbox/in" / name, content)
        (state / "inbox/in/st/link").symlink_to(files[0])
        for number, path in enumerate(files):
            drop(state / f"inbox/in/st/{number}", path.read_bytes())
        items = await rig.delivered(5)
        (job,) = await rig.jobs()
        assert (job.name, len(rig.input_of(job))) == (uid, len(files))
        assert job.messages[0].startswith(
            f"the input is incomplete: {len(files)} of {len(files) + 1} files: 'st/link': "
        )
    reasons = {i.name: i.reason for i in items if i.state is ItemState.FAILED}
    assert reasons["notes.txt"].startswith("it is not a DICOM file: ")
    assert reasons["empty"].startswith("it is empty: ")
    assert reasons["cut.dcm"].startswith("it ends in the value of (0002,0003) at byte 192, ")
    assert "symbolic link" in reasons["link"]
    kept = {
        i.name: tree_of(Path(i.result_path or "") / "original") for i in items if i.name in reasons
    }
    assert kept["notes.txt"] == {"notes.txt": b"notes"}
    assert kept["cut.dcm"] == {"cut.dcm": bad["cut.dcm"]}


async def test_series_become_a_job_each(state: Path) -> None:
    ((study, files), _) = studies_of_several_series()
    series = {uid: set(paths) & set(files) for uid, paths in by("SeriesInstanceUID").items()}
    wanted = {uid: len(paths) for uid, paths in series.items() if paths}
    async with inbox_rig(
        config(state, "dicom-series", metadata={"Of": "{study}"}, quiet=1.0)
    ) as rig:
        await rig.register("ct")
        for number, path in enumerate(files):
            drop(state / f"inbox/in/{place('x', number)}", path.read_bytes())
        await rig.delivered(len(wanted))
        jobs = await rig.jobs()
        assert {job.name: len(rig.input_of(job)) for job in jobs} == wanted
        assert {job.metadata["Of"] for job in jobs} == {study}


async def test_a_study_waits_for_a_file_that_is_being_written(state: Path) -> None:
    ((uid, files), _) = studies_of_several_series()
    content = files[1].read_bytes()
    async with inbox_rig(config(state, quiet=0.3)) as rig:
        await rig.register("ct")
        drop(state / "inbox/in/0", files[0].read_bytes())
        with (state / "inbox/in/1").open("wb") as file:
            file.write(content[:-2])
            file.flush()
            await rig.until(lambda items: any("open for writing" in i.reason for i in items))
            await rig.until(lambda items: any(i.reason.startswith("whole;") for i in items))
            await asyncio.sleep(1.0)
            assert await rig.jobs() == []
            file.write(content[-2:])
        (item,) = await rig.delivered()
        (job,) = await rig.jobs()
        assert (item.name, len(item.members)) == (uid, 2)
        assert rig.input_of(job)["1"] == content


async def test_a_study_that_was_half_there_at_a_restart_is_taken_whole(state: Path) -> None:
    ((uid, files), _) = studies_of_several_series()
    half = len(files) // 2
    async with inbox_rig(config(state, quiet=60)) as rig:
        await rig.register("ct")
        for number, path in enumerate(files[:half]):
            drop(state / f"inbox/in/{number}", path.read_bytes())
        await rig.until(lambda items: len(items) == half)
    async with inbox_rig(config(state, quiet=1.5)) as rig:
        for number, path in enumerate(files[half:], half):
            drop(state / f"inbox/in/{number}", path.read_bytes())
            await asyncio.sleep(0.1)
        (item,) = [i for i in await rig.delivered() if ended([i])]
        assert (item.name, len(item.members)) == (uid, len(files))
