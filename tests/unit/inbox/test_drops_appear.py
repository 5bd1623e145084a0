"""Drops in the real inbox: what a client sent appears once, whole, and is one item."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from claraedge.clock import SystemClock
from claraedge.errors import (
    ClaraedgeError,
    DropNotFoundError,
    DropStateError,
    FileNotTakenError,
    FolderClosedError,
    InvalidFileNameError,
    InvalidRequestError,
    NameTakenError,
    StorageFullError,
    TooManyUploadsError,
    TriggerNotFoundError,
    UploadNotFoundError,
    http_status_of,
)
from claraedge.failpoints import hooked
from claraedge.fs import files
from claraedge.ids import new_id
from claraedge.inbox.drops import drops as drops_module
from claraedge.inbox.drops import publishing
from claraedge.inbox.drops.drops import Drops
from claraedge.inbox.inbox import Inbox
from claraedge.inbox.model import ItemState
from claraedge.payloads.records import Condition
from claraedge.payloads.resumable import LIFE
from claraedge.payloads.resuming import continued
from tests.failpoints.inbox import DROPS, DROPS_COPIED
from tests.rig.inbox import KilledError, drop, inbox_rig, make_config, other_file_system, tree_of
from tests.rig.waiting import eventually

STUDY = {f"study/series {n % 3}/IM{n}.dcm": b"%d" % n for n in range(40)}


async def dropping(
    inbox: Inbox, state: Path, *, blocked_by: Callable[[], str | None] = lambda: None
) -> Drops:
    drops = Drops(state, inbox, inbox._names, SystemClock(), new_id, blocked_by)
    await drops.prepare()
    return drops


async def send(drops: Drops, into: str, content: Mapping[str, bytes]) -> None:
    for name, data in content.items():
        started = await drops.uploads.start(into, name, mode=0, size=len(data), note="")
        await end(drops, started.id, data)


async def end(drops: Drops, upload: str, data: bytes) -> None:
    """Sends all bytes of an upload."""
    async with continued(drops.uploads, upload, 0) as continuation:
        await continuation.write(data)
        await continuation.finish()


async def dropped(drops: Drops, folder: str, content: Mapping[str, bytes]) -> str:
    started = await drops.start(folder)
    await send(drops, started.id, content)
    return (await drops.finish(started.id)).id


def left(state: Path) -> list[Path]:
    """Returns what drops have left on the disk, besides what is remembered of finished ones."""
    found = [path for path in (state / "drops").rglob("*") if path.is_file()]
    return [path for path in found if path.name != "drop.json"]


# --- items ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "content", "items"),
    [
        ({}, {"a.dcm": b"1"}, ["a.dcm"]),
        ({}, {"a": b"1", "b": b"2"}, ["a", "b"]),
        ({}, STUDY, ["study"]),
        ({"grouping": "folder"}, STUDY, ["study"]),
        ({"grouping": "file"}, {"x/a": b"1", "b": b"2"}, ["a", "b"]),
        ({"grouping": "quiet", "quiet_seconds": 0.3}, {"a": b"1", "b": b"2"}, ["a"]),
        ({"grouping": "marker", "marker": "A"}, {"A": b"", "b": b"1", "c": b"2"}, ["b"]),
        ({"grouping": "marker", "marker": "*.ok"}, {"a.ok": b"", "a.x": b"1"}, ["a"]),
    ],
)
async def test_what_is_dropped_together_is_as_many_items_as_the_trigger_says(
    state: Path, trigger: Mapping[str, Any], content: Mapping[str, bytes], items: list[str]
) -> None:
    rule = {"folder": "ct", "pipeline": "p", **trigger}
    async with inbox_rig(make_config(state, trigger=[rule])) as rig:
        await rig.register("p")
        drops = await dropping(rig.inbox, state)
        await dropped(drops, "ct", content)
        found = await rig.delivered(len(items))
        assert sorted(item.name for item in found) == items
        assert {item.state for item in found} == {ItemState.DELIVERED}
        inputs: dict[str, bytes] = {}
        for job in await rig.jobs():
            inputs |= rig.input_of(job)
        assert len(await rig.jobs()) == len(items)
        wanted = {n: data for n, data in content.items() if n not in ("A", "a.ok")}
        assert sorted(inputs.values()) == sorted(wanted.values())
        assert tree_of(state / "inbox" / "ct") == {}
        assert left(state) == []


async def test_nothing_is_seen_before_the_drop_is_finished(state: Path) -> None:
    async with inbox_rig(make_config(state, settle=0.01, rescan=0.02)) as rig:
        await rig.register("ct")
        (state / "inbox" / "ct").mkdir()
        drops = await dropping(rig.inbox, state)
        started = await drops.start("ct")
        await send(drops, started.id, STUDY)
        drop(state / "inbox" / "ct" / "other")
        assert [item.name for item in await rig.delivered()] == ["other"]
        assert [item.name for item in await rig.inbox.items()] == ["other"]
        assert (await drops.finish(started.id)).finished
        found = await rig.delivered(2)
        assert {item.name for item in found} == {"other", "study"}


# --- files ------------------------------------------------------------------------------------


@pytest.fixture
async def place(state: Path) -> Any:
    """An inbox that does not run, so that what appears stays."""
    async with inbox_rig(make_config(state), run=False) as rig:
        (state / "inbox" / "ct").mkdir()
        yield rig


def folder(state: Path) -> Path:
    return state / "inbox" / "ct"


async def test_files_appear_readable_and_exact(place: Any, state: Path) -> None:
    drops = await dropping(place.inbox, state)
    content = {"sub/ü b.dcm": b"x" * 100_000, "empty": b"", "-rf": b"1", "a'\"<b>": b"2"}
    await dropped(drops, "ct", content)
    assert tree_of(folder(state)) == content
    assert (folder(state) / "sub").stat().st_mode & 0o777 == 0o755
    assert (folder(state) / "empty").stat().st_mode & 0o777 == 0o644
    assert left(state) == []


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("", InvalidFileNameError, "empty"),
        ("/etc/passwd", InvalidFileNameError, "begins with '/'"),
        ("../a", InvalidFileNameError, r"'\.\.'"),
        ("a/../../b", InvalidFileNameError, r"'\.\.'"),
        ("a/", InvalidFileNameError, "names a folder"),
        ("a\nb", InvalidFileNameError, "control character"),
        ("a\x00", InvalidFileNameError, "control character"),
        ("a\x7f", InvalidFileNameError, "control character"),
        ("b" * 256, InvalidFileNameError, "255 bytes"),
        ("é" * 128, InvalidFileNameError, "255 bytes"),
        ("/".join("d" * 1500), InvalidFileNameError, "parts"),
        (".hidden", FileNotTakenError, "begins with a dot"),
        (".claraedge-x/a", FileNotTakenError, "begins with a dot"),
        ("a.part", FileNotTakenError, "unfinished"),
        ("study/a.crdownload", FileNotTakenError, "unfinished"),
        ("study/.DS_Store", FileNotTakenError, "never an input"),
        ("Thumbs.db", FileNotTakenError, "never an input"),
    ],
)
async def test_names_that_are_refused_leave_nothing(
    place: Any, state: Path, name: str, error: type[Exception], words: str
) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    with pytest.raises(error, match=words):
        await send(drops, started.id, {name: b"1"})
    assert drops.get(started.id).uploads == 0
    await send(drops, started.id, {"a" * 255: b"1"})
    await drops.finish(started.id)
    assert tree_of(folder(state)) == {"a" * 255: b"1"}
    assert tree_of(state / "inbox") == {f"ct/{'a' * 255}": b"1"}


@pytest.mark.parametrize(
    ("rule", "name", "words"),
    [
        ({"include": ["*.dcm"]}, "a.txt", "patterns"),
        ({"ignore": ["DICOMDIR"]}, "dicomdir", "ignore"),
        ({"grouping": "folder"}, "a.dcm", "accepts folders"),
        ({"grouping": "file"}, "x/.hidden/a", "hidden folder"),
        ({}, "inner", "another trigger"),
        ({}, "inner/a", "another trigger"),
    ],
)
async def test_what_the_trigger_never_accepts_is_refused(
    state: Path, rule: Mapping[str, Any], name: str, words: str
) -> None:
    triggers = [
        {"folder": "ct", "pipeline": "p", **rule},
        {"folder": "ct/inner", "pipeline": "p"},
    ]
    async with inbox_rig(make_config(state, trigger=triggers), run=False) as rig:
        drops = await dropping(rig.inbox, state)
        started = await drops.start("ct")
        with pytest.raises(FileNotTakenError, match=words):
            await send(drops, started.id, {name: b"1"})


async def test_no_file_is_ever_replaced(place: Any, state: Path) -> None:
    drops = await dropping(place.inbox, state)
    drop(folder(state) / "a", b"before")
    started = await drops.start("ct")
    with pytest.raises(NameTakenError, match=r"'a' already.*another name"):
        await send(drops, started.id, {"a": b"1"})
    with pytest.raises(NameTakenError, match="'a' already"):
        await send(drops, started.id, {"a/inside": b"1"})
    await send(drops, started.id, {"b": b"1", "c": b"2"})
    drop(folder(state) / "c", b"came meanwhile")
    with pytest.raises(NameTakenError, match="'c' already"):
        await drops.finish(started.id)
    assert tree_of(folder(state)) == {"a": b"before", "c": b"came meanwhile"}
    (folder(state) / "c").unlink()
    assert (await drops.finish(started.id)).finished
    assert tree_of(folder(state)) == {"a": b"before", "b": b"1", "c": b"2"}


async def test_a_file_that_comes_at_the_last_moment_is_not_replaced(
    place: Any, state: Path
) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    await send(drops, started.id, {"a": b"1", "b": b"2"})

    def meanwhile(point: str) -> None:
        if point == "drop: staged":
            drop(folder(state) / "b", b"other")

    with hooked(meanwhile), pytest.raises(NameTakenError, match="'b' already"):
        await drops.finish(started.id)
    assert (folder(state) / "b").read_bytes() == b"other"
    with pytest.raises(DropStateError, match="accepts no files"):
        await send(drops, started.id, {"c": b"3"})
    (folder(state) / "b").unlink()
    await drops.finish(started.id)
    assert tree_of(folder(state)) == {"a": b"1", "b": b"2"}


async def test_folders_of_files_that_are_taken_one_by_one_are_entered(state: Path) -> None:
    """Such a trigger leaves the folders: the next disc has a folder of the same name."""
    triggers = [{"folder": "ct", "pipeline": "p", "grouping": "file"}]
    async with inbox_rig(make_config(state, trigger=triggers), run=False) as rig:
        drops = await dropping(rig.inbox, state)
        await dropped(drops, "ct", {"DICOM/1/a": b"1"})
        with pytest.raises(NameTakenError, match="'DICOM/1/a' already"):
            await dropped(drops, "ct", {"DICOM/1/a": b"2"})
        with pytest.raises(NameTakenError, match="'DICOM/1/a/b' already"):
            await dropped(drops, "ct", {"DICOM/1/a/b": b"2"})
        started = await drops.start("ct")
        await send(drops, started.id, {"DICOM/1/b": b"2", "DICOM/2/a": b"3", "DICOM/0": b"4"})
        with hooked(killing("drop: one appeared")), pytest.raises(KilledError):
            await drops.finish(started.id)
        drops = await dropping(rig.inbox, state)
        drop(folder(state) / "DICOM/2/a", b"other")
        with pytest.raises(NameTakenError, match="'a' already"):
            await drops.finish(started.id)
        (folder(state) / "DICOM/2/a").unlink()
        await drops.finish(started.id)
        assert tree_of(folder(state)) == {
            "DICOM/0": b"4", "DICOM/1/a": b"1", "DICOM/1/b": b"2", "DICOM/2/a": b"3",
        }  # fmt: skip
        link = folder(state) / "link"
        link.symlink_to(state)
        with pytest.raises(NameTakenError, match="already"):
            await dropped(drops, "ct", {"link/a": b"1"})


async def test_two_files_of_one_name_are_not_mixed(place: Any, state: Path) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    first = await drops.uploads.start(started.id, "a", mode=0, size=1, note="")
    with pytest.raises(NameTakenError, match=f"the upload {first.id} sends"):
        await drops.uploads.start(started.id, "./a", mode=0, size=1, note="")
    below = await drops.uploads.start(started.id, "a/b/c", mode=0, size=1, note="")
    await end(drops, first.id, b"1")
    with pytest.raises(NameTakenError, match="has the file 'a' already"):
        await send(drops, started.id, {"a": b"2"})
    with pytest.raises(NameTakenError, match="in its way"):
        await end(drops, below.id, b"2")
    await drops.uploads.cancel(below.id)
    await drops.finish(started.id)
    assert tree_of(folder(state)) == {"a": b"1"}


async def test_a_drop_is_finished_when_all_its_files_are_whole(place: Any, state: Path) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    with pytest.raises(DropStateError, match="has no file"):
        await drops.finish(started.id)
    upload = await drops.uploads.start(started.id, "a", mode=0, size=2, note="")
    with pytest.raises(DropStateError, match=r"1 files .* not whole, such as 'a'"):
        await drops.finish(started.id)
    async with continued(drops.uploads, upload.id, 0) as continuation:
        await continuation.write(b"12")
        with pytest.raises(InvalidRequestError, match="if_etag"):
            await continuation.finish(Condition(etag="x"))
        await continuation.finish()
    state_of = drops.get(started.id)
    assert (state_of.files, state_of.size, state_of.uploads) == (1, 2, 0)
    assert (state_of.folder, state_of.finished) == ("ct", False)
    done = await drops.finish(started.id)
    assert (await drops.finish(started.id), done.finished) == (done, True), "an answer may be lost"
    with pytest.raises(DropStateError, match="is finished"):
        await drops.cancel(started.id)
    with pytest.raises(DropStateError, match="start another one"):
        await send(drops, started.id, {"b": b"1"})
    assert tree_of(folder(state)) == {"a": b"12"}


async def test_calls_at_the_same_time_let_each_file_appear_once(place: Any, state: Path) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    await asyncio.gather(*(send(drops, started.id, {f"f{n}": b"%d" % n}) for n in range(20)))
    done = await asyncio.gather(*(drops.finish(started.id) for _ in range(5)))
    assert {one.finished for one in done} == {True}
    assert len(tree_of(folder(state))) == 20


async def test_a_cancelled_drop_leaves_nothing(place: Any, state: Path) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    await send(drops, started.id, STUDY)
    upload = await drops.uploads.start(started.id, "a", mode=0, size=2, note="")
    await drops.cancel(started.id)
    for error, call in (
        (DropNotFoundError, lambda: drops.finish(started.id)),
        (DropNotFoundError, lambda: drops.cancel(started.id)),
        (UploadNotFoundError, lambda: drops.uploads.cancel(upload.id)),
    ):
        with pytest.raises(error):
            await call()
    assert list((state / "drops").rglob("*")) == [state / "drops" / "uploads"]
    assert list(folder(state).iterdir()) == []


# --- restarts ---------------------------------------------------------------------------------


async def test_a_drop_continues_after_a_restart(place: Any, state: Path) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    await send(drops, started.id, {"sub/a": b"1"})
    upload = await drops.uploads.start(started.id, "sub/b", mode=0, size=4, note="")
    async with continued(drops.uploads, upload.id, 0) as continuation:
        await continuation.write(b"12")
        await continuation.end()
    drops = await dropping(place.inbox, state)
    found = drops.get(started.id)
    assert (found.files, found.size, found.uploads, found.folder) == (1, 1, 1, "ct")
    assert drops.uploads.get(upload.id).offset == 2
    async with continued(drops.uploads, upload.id, 2) as continuation:
        await continuation.write(b"34")
        await continuation.finish()
    await drops.finish(started.id)
    assert tree_of(folder(state)) == {"sub/a": b"1", "sub/b": b"1234"}
    drops = await dropping(place.inbox, state)
    assert (await drops.finish(started.id)).finished, (
        "the answer was lost, and the daemon restarted"
    )
    assert drops.get(started.id).files == 2


def killing(point: str) -> Callable[[str], None]:
    def hook(reached: str) -> None:
        if reached == point:
            raise KilledError

    return hook


async def killed_at(drops: Drops, started: str, point: str) -> None:
    with hooked(killing(point)), pytest.raises(KilledError):
        await drops.finish(started)


@pytest.mark.parametrize("point", DROPS)
async def test_a_kill_at_each_step_loses_and_doubles_nothing(
    place: Any, state: Path, point: str
) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    content = {"a": b"1", "b/c": b"2", "d": b"3"}
    await send(drops, started.id, content)
    await killed_at(drops, started.id, point)
    drops = await dropping(place.inbox, state)
    await drops.finish(started.id)
    assert tree_of(folder(state)) == content
    assert left(state) == []


@pytest.mark.parametrize("point", [*DROPS, *DROPS_COPIED])
async def test_an_inbox_on_another_disk_gets_whole_files_too(tmp_path: Path, point: str) -> None:
    elsewhere = other_file_system(tmp_path)
    state = tmp_path / "state"
    try:
        async with inbox_rig(make_config(state, inbox=elsewhere), run=False) as rig:
            (elsewhere / "ct").mkdir()
            drops = await dropping(rig.inbox, state)
            started = await drops.start("ct")
            content = {"a": b"1", "b/c": b"2", "d": b"3"}
            await send(drops, started.id, content)
            await killed_at(drops, started.id, point)
            names = [path.name for path in (elsewhere / "ct").iterdir()]
            assert {n for n in names if not n.startswith(".claraedge-")} <= {"a"}
            drops = await dropping(rig.inbox, state)
            await drops.finish(started.id)
            assert tree_of(elsewhere / "ct") == content
            assert left(state) == []
    finally:
        shutil.rmtree(elsewhere)


async def test_what_a_kill_left_half_is_ended_by_the_next_start(place: Any, state: Path) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    await send(drops, started.id, {"a": b"1", "b": b"2"})
    await killed_at(drops, started.id, "drop: one appeared")
    assert set(tree_of(folder(state))) == {"a", f".claraedge-{started.id}/b"}
    drops = await dropping(place.inbox, state)
    running = asyncio.create_task(drops.run())
    await eventually(lambda: drops.get(started.id).finished, "the drop is ended")
    running.cancel()
    assert tree_of(folder(state)) == {"a": b"1", "b": b"2"}


async def test_a_start_that_was_not_answered_leaves_nothing(place: Any, state: Path) -> None:
    await dropping(place.inbox, state)
    for name in ("torn", "empty", "gone"):
        (state / "drops" / name).mkdir()
    (state / "drops" / "torn" / "drop.json").write_bytes(b'{"folder":')
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    upload = await drops.uploads.start(started.id, "a", mode=0, size=2, note="")
    shutil.rmtree(state / "drops" / started.id)
    drops = await dropping(place.inbox, state)
    with pytest.raises(UploadNotFoundError):
        drops.uploads.get(upload.id)
    assert list((state / "drops").rglob("*")) == [state / "drops" / "uploads"]


# --- limits -----------------------------------------------------------------------------------


async def test_folders_that_cannot_be_written_say_why(place: Any, state: Path) -> None:
    full: list[str] = []
    drops = await dropping(place.inbox, state, blocked_by=lambda: full[0] if full else None)
    started = await drops.start("ct")
    await send(drops, started.id, {"a": b"1"})
    folder(state).chmod(0o500)
    found = {one.name: one.refused for one in await drops.folders()}
    assert "may not write there" in found["ct"]
    with pytest.raises(FolderClosedError, match="may not write there"):
        await drops.start("ct")
    with pytest.raises(FolderClosedError, match="cannot be put into"):
        await drops.finish(started.id)
    folder(state).chmod(0o755)
    folder(state).rename(folder(state).with_name("gone"))
    with pytest.raises(FolderClosedError, match="finish it again"):
        await drops.finish(started.id)
    folder(state).with_name("gone").rename(folder(state))
    full.append("the disk is low")
    assert "the disk is low" in next(one.refused for one in await drops.folders())
    with pytest.raises(StorageFullError, match="the disk is low"):
        await drops.start("ct")
    with pytest.raises(StorageFullError, match="the disk is low"):
        await send(drops, started.id, {"b": b"1"})
    full.clear()
    await drops.finish(started.id)
    assert tree_of(folder(state)) == {"a": b"1"}


async def test_a_full_disk_of_the_inbox_leaves_the_drop_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = other_file_system(tmp_path)
    state = tmp_path / "state"
    try:
        async with inbox_rig(make_config(state, inbox=elsewhere), run=False) as rig:
            (elsewhere / "ct").mkdir()
            drops = await dropping(rig.inbox, state)
            started = await drops.start("ct")
            await send(drops, started.id, {"a": b"1", "b": b"2"})

            def full(source: Path, target: Path, **_: object) -> None:
                target.mkdir()
                (target / "a").write_bytes(b"")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

            monkeypatch.setattr(publishing, "copy_tree", full)
            with pytest.raises(OSError, match="No space"):
                await drops.finish(started.id)
            assert list((elsewhere / "ct").iterdir()) == []
            monkeypatch.undo()
            await drops.finish(started.id)
            assert tree_of(elsewhere / "ct") == {"a": b"1", "b": b"2"}
    finally:
        shutil.rmtree(elsewhere)


async def test_a_full_disk_at_the_end_of_a_file_keeps_what_arrived(
    place: Any, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")

    def full(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(files, "rename_new", full)
    with pytest.raises(OSError, match="No space"):
        await send(drops, started.id, {"a": b"12"})
    monkeypatch.undo()
    (upload,) = drops.uploads.into(started.id)
    assert upload.offset == 2
    async with continued(drops.uploads, upload.id, 2) as continuation:
        await continuation.finish()
    await drops.finish(started.id)
    assert tree_of(folder(state)) == {"a": b"12"}


class Clock(SystemClock):
    """A clock that a test moves."""

    by = 0.0

    def elapsed(self) -> float:
        return super().elapsed() + self.by


async def test_a_drop_without_activity_ends_after_a_day(place: Any, state: Path) -> None:
    clock = Clock()
    drops = Drops(state, place.inbox, place.inbox._names, clock, new_id, lambda: None)
    await drops.prepare()
    old, active, moved = [(await drops.start("ct")).id for _ in range(3)]
    await send(drops, old, {"a": b"1"})
    await send(drops, moved, {"b": b"1", "c": b"2"})
    await killed_at(drops, moved, "drop: one appeared")
    clock.by = LIFE / 2
    await send(drops, active, {"d": b"1"})
    clock.by = LIFE + 60
    await drops.expire(None)
    while drops._ending:
        await asyncio.gather(*drops._ending)
    with pytest.raises(DropNotFoundError):
        drops.get(old)
    assert drops.get(active).files == 1
    assert drops.get(moved).finished, "what has begun to appear is ended, and not removed"
    assert tree_of(folder(state)) == {"b": b"1", "c": b"2"}
    clock.by = 3 * LIFE
    await drops.expire(None)
    while drops._ending:
        await asyncio.gather(*drops._ending)
    assert list((state / "drops").rglob("*")) == [state / "drops" / "uploads"]


async def test_a_restart_counts_the_day_from_the_last_file(place: Any, state: Path) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    os.utime(state / "drops" / started.id / "drop.json", (1e9, 1e9))
    await send(drops, started.id, {"a": b"1"})
    again = await dropping(place.inbox, state)
    now = SystemClock().now()
    assert now <= again.get(started.id).expires - LIFE + 60
    await again.expire(now)
    assert (await again.finish(started.id)).finished
    assert tree_of(folder(state)) == {"a": b"1"}


async def test_only_so_many_drops_are_kept(
    place: Any, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drops_module, "MOST", 2)
    drops = await dropping(place.inbox, state)
    done = [await dropped(drops, "ct", {f"f{n}": b"1"}) for n in range(3)]
    first = await drops.start("ct")
    await drops.start("ct")
    with pytest.raises(TooManyUploadsError, match="2 drops are unfinished"):
        await drops.start("ct")
    with pytest.raises(DropNotFoundError):
        drops.get(done[0])
    assert drops.get(done[2]).finished
    await drops.cancel(first.id)
    await drops.start("ct")


async def test_only_folders_of_triggers_take_drops(state: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    triggers = [
        {"folder": str(own), "pipeline": "p"},
        {"folder": "a/b", "pipeline": "q", "grouping": "file", "include": ["*.x"]},
    ]
    async with inbox_rig(make_config(state, trigger=triggers), run=False) as rig:
        await rig.register("p")
        (state / "inbox" / "p").mkdir()
        drops = await dropping(rig.inbox, state)
        found = {one.name: one for one in await drops.folders()}
        assert "p" in found
        assert (found["a/b"].trigger.rule.pipeline, found["a/b"].refused) == ("q", "")
        assert "no such pipeline" in found["a/b"].trigger.problem
        assert "does not exist" in found[str(own)].refused
        with pytest.raises(FolderClosedError, match="does not exist"):
            await drops.start(str(own))
        own.mkdir()
        await dropped(drops, str(own), {"x": b"1"})
        assert tree_of(own) == {"x": b"1"}
        for name in ("", ".", "..", "nothing", "/", "p/", str(state)):
            with pytest.raises(TriggerNotFoundError):
                await drops.start(name)


async def test_folders_that_do_not_answer_are_waited_for_together(
    place: Any, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mr", "us", "xa"):
        (state / "inbox" / name).mkdir()
    drops = await dropping(place.inbox, state)
    wanted = len((await place.inbox.layout()).triggers)
    asked, all_asked = 0, asyncio.Event()

    async def ask(*_: Any) -> str:
        nonlocal asked
        asked += 1
        if asked == wanted:
            all_asked.set()
        await asyncio.wait_for(all_asked.wait(), 10)
        return "silent"

    layout = await place.inbox.layout()
    monkeypatch.setattr(place.inbox, "layout", lambda: asyncio.sleep(0, layout))
    monkeypatch.setattr(place.inbox.shares, "ask", ask)
    assert wanted > 1
    assert {one.refused for one in await drops.folders()} == {"silent"}


async def test_a_trigger_that_is_gone_is_named(place: Any, state: Path) -> None:
    drops = await dropping(place.inbox, state)
    started = await drops.start("ct")
    await send(drops, started.id, {"a": b"1"})
    folder(state).rename(state / "elsewhere")
    drops = await dropping(place.inbox, state)
    for call in (
        lambda: drops.finish(started.id),
        lambda: send(drops, started.id, {"b": b"1"}),
    ):
        with pytest.raises(TriggerNotFoundError, match="configure one again, or cancel"):
            await call()
    await drops.cancel(started.id)
    assert left(state) == []


def test_errors_are_of_the_client(state: Path) -> None:
    kinds: tuple[type[ClaraedgeError], ...] = (
        NameTakenError, FileNotTakenError, DropStateError, FolderClosedError, DropNotFoundError,
        TriggerNotFoundError,
    )  # fmt: skip
    assert [http_status_of(kind) for kind in kinds] == [409, 400, 409, 409, 404, 404]
