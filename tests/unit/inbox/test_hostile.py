"""Whatever is dropped: nothing is followed, nothing crashes, nothing is lost."""

from __future__ import annotations

import base64
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from claraedge.fs.adopting import adopt
from claraedge.inbox.inspection import settling
from claraedge.inbox.model import ItemState
from tests.campaign import CAMPAIGN
from tests.rig import waiting
from tests.rig.inbox import (
    document,
    drop,
    ended,
    inbox_rig,
    is_there,
    make_config,
    other_file_system,
    swept,
    tree_of,
)
from tests.unit.inbox.test_kills import COPIED, OWN
from tests.unit.inbox.test_pressure import Once


@dataclass(frozen=True, kw_only=True)
class Drop:
    id: str
    make: Callable[[Path], Path]
    """Makes the entry in a folder, and returns it."""
    end: ItemState | None
    """None: it stays where it is, and is no item."""
    reason: str = ""
    """Part of the reason of a failure."""


def _link(folder: Path) -> Path:
    target = drop(folder.parents[2] / "secret", b"secret")
    path = folder / "link.dcm"
    path.symlink_to(target)
    return path


def _link_to_folder(folder: Path) -> Path:
    path = folder / "link"
    path.symlink_to("/etc")
    return path


def _dangling(folder: Path) -> Path:
    path = folder / "dangling"
    path.symlink_to("nowhere")
    return path


def _link_inside(folder: Path) -> Path:
    drop(folder / "study/1.dcm", b"1")
    (folder / "study/link").symlink_to("/etc/passwd")
    return folder / "study"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def _pipe_inside(folder: Path) -> Path:
    drop(folder / "study/deep/1.dcm", b"1")
    os.mkfifo(folder / "study/deep/pipe")
    return folder / "study"


def _socket(folder: Path) -> Path:
    here = Path.cwd()
    os.chdir(folder)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
    finally:
        os.chdir(here)
    return folder / "socket"


def _named(name: str | bytes) -> Callable[[Path], Path]:
    return lambda folder: drop(folder / os.fsdecode(name), b"bytes")


def _not_utf8_inside(folder: Path) -> Path:
    drop(folder / os.fsdecode(b"study/\xff.dcm"), b"1")
    return folder / "study"


def _deep(levels: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "deep"
        path.mkdir()
        for _ in range(levels - 1):
            path = path / "d"
            path.mkdir()
        drop(path / "f.dcm")
        return folder / "deep"

    return make


def _sparse(folder: Path) -> Path:
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    return folder / "sparse"


def _by_case(folder: Path) -> Path:
    drop(folder / "study/a.dcm", b"1")
    drop(folder / "study/A.dcm", b"2")
    return folder / "study"


def _link_to_itself(folder: Path) -> Path:
    (folder / "loop").symlink_to("loop")
    return folder / "loop"


def _link_upwards(folder: Path) -> Path:
    drop(folder / "study/1.dcm", b"1")
    (folder / "study/up").symlink_to("..")
    return folder / "study"


def _linked_inside(folder: Path) -> Path:
    (folder / "study/again").mkdir(parents=True)
    (folder / "study/again/2.dcm").hardlink_to(drop(folder / "study/1.dcm", b"1"))
    return folder / "study"


def _linked_outside(folder: Path) -> Path:
    (folder / "study").mkdir()
    (folder / "study/1.dcm").hardlink_to(drop(folder.parents[1] / "outside", b"1"))
    return folder / "study"


def _named_twice(folder: Path) -> Path:
    """The same letters to people, other bytes: composed and not."""
    drop(folder / "study/\u00e9.dcm", b"1")
    drop(folder / "study/e\u0301.dcm", b"2")
    return folder / "study"


def _folder_named(name: str) -> Callable[[Path], Path]:
    return lambda folder: drop(folder / name / name, b"bytes").parent


def _too_long(folder: Path) -> Path:
    """A path that is too long for a payload, and for one system call."""
    below = os.open(folder, os.O_RDONLY)
    for name in ["long", *["x" * 255] * 17]:
        os.mkdir(name, dir_fd=below)
        inner = os.open(name, os.O_RDONLY, dir_fd=below)
        os.close(below)
        below = inner
    with open("1.dcm", "wb", opener=lambda path, flags: os.open(path, flags, dir_fd=below)) as file:
        file.write(b"1")
    os.close(below)
    return folder / "long"


def _modes(folder: Path) -> Path:
    for mode in (0o4755, 0o2755, 0o1777, 0o400, 0o7777):
        drop(folder / f"study/{mode:o}", b"1").chmod(mode)
    return folder / "study"


def _unwritable(folder: Path) -> Path:
    drop(folder / "study/sub/a.dcm", b"1")
    (folder / "study/sub").chmod(0o500)
    (folder / "study").chmod(0o500)
    return folder / "study"


DONE, FAILED = ItemState.DELIVERED, ItemState.FAILED
STAYS = None

DROPS = [
    Drop(id="a link to a file", make=_link, end=FAILED, reason="symbolic link"),
    Drop(id="a link to a folder", make=_link_to_folder, end=FAILED, reason="symbolic link"),
    Drop(id="a dangling link", make=_dangling, end=FAILED, reason="symbolic link"),
    Drop(id="a link in a folder", make=_link_inside, end=FAILED, reason="'link' is a symbolic"),
    Drop(id="a pipe", make=_pipe, end=FAILED, reason="named pipe"),
    Drop(id="a pipe in a folder", make=_pipe_inside, end=FAILED, reason="'deep/pipe' is a named"),
    Drop(id="a socket", make=_socket, end=FAILED, reason="socket"),
    Drop(id="not UTF-8", make=_named(b"a\xff.dcm"), end=FAILED, reason=r"'a\xff.dcm' is not"),
    Drop(id="not UTF-8 in a folder", make=_not_utf8_inside, end=FAILED, reason="not UTF-8"),
    Drop(id="257 folders deep", make=_deep(258), end=FAILED, reason="more than 256 folders deep"),
    Drop(id="200 folders deep", make=_deep(200), end=DONE),
    Drop(id="newline", make=_named("a\nb.dcm"), end=DONE),
    Drop(id="control characters", make=_named("a\x1b[31m\x07\x7f.dcm"), end=DONE),
    Drop(id="255 bytes", make=_named("x" * 255), end=DONE),
    Drop(id="255 bytes of two-byte letters", make=_named("é" * 127 + "x"), end=DONE),
    Drop(id="a leading dash", make=_named("-rf"), end=DONE),
    Drop(id="shell characters", make=_named("$(reboot);'\"`&|*?"), end=DONE),
    Drop(id="spaces", make=_named("   "), end=DONE),
    Drop(id="result.json", make=_named("result.json"), end=DONE),
    Drop(id="reason.json", make=_named("reason.json"), end=DONE),
    Drop(id="a folder result.json", make=_folder_named("result.json"), end=DONE),
    Drop(id="a folder of 255 bytes", make=_folder_named("y" * 255), end=DONE),
    Drop(id="only dots", make=_named("..."), end=STAYS),
    Drop(id="a folder of only dots", make=_folder_named("...."), end=STAYS),
    Drop(id="only a dash", make=_named("-"), end=DONE),
    Drop(id="a dash and dots", make=_named("-...-"), end=DONE),
    Drop(id="tabs and returns", make=_named("\t\r\x0b"), end=DONE),
    Drop(id="letters that do not print", make=_named("\u2028\ufeff\u200b"), end=DONE),
    Drop(id="a link to itself", make=_link_to_itself, end=FAILED, reason="symbolic link"),
    Drop(id="a link upwards in a folder", make=_link_upwards, end=FAILED, reason="'up' is a symb"),
    Drop(id="a path of 4,300 bytes", make=_too_long, end=FAILED, reason="longer than 3072"),
    Drop(id="a hard link inside", make=_linked_inside, end=DONE),
    Drop(id="a hard link to the outside", make=_linked_outside, end=DONE),
    Drop(id="names that are shown alike", make=_named_twice, end=DONE),
    Drop(id="special bits of modes", make=_modes, end=DONE),
    Drop(id="backslashes", make=_named("a\\..\\x"), end=DONE),
    Drop(id="right to left", make=_named("\u202egpj.exe"), end=DONE),
    Drop(id="zero bytes", make=lambda folder: drop(folder / "zero", b""), end=DONE),
    Drop(id="names that differ by case", make=_by_case, end=DONE),
    Drop(id="folders without write permission", make=_unwritable, end=DONE),
]


@pytest.mark.parametrize("case", DROPS, ids=lambda case: case.id)
async def test_a_hostile_drop_ends_as_written(
    state: Path, case: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "LINKS_SECONDS", 0.3)
    folder = state / "inbox/ct"
    folder.mkdir(parents=True)
    entry = case.make(folder)
    before: Mapping[str, bytes] = {}
    if entry.is_dir() and not entry.is_symlink() and case.make is not _too_long:
        before = tree_of(entry)
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        good = drop(folder / "good.dcm", b"good")
        if case.end is None:
            await rig.delivered()
            (item,) = [i for i in await rig.inbox.items() if i.state is not DONE]
            assert item.raw_name == os.fsencode(entry.name)
            await rig.until(lambda items: any("begins with a dot" in i.reason for i in items))
            assert is_there(entry)
            return
        items = await rig.delivered(2)
        item = next(i for i in items if i.raw_name == os.fsencode(entry.name))
        jobs = await rig.jobs()
        await swept(state)
    assert item.state is case.end
    assert not is_there(entry)
    assert not good.exists()
    assert item.name.isprintable()
    assert len(jobs) == (2 if case.end is DONE else 1)
    result = Path(item.result_path or "")
    if case.end is DONE:
        original = state / "originals" / result.relative_to(state / "outbox") / entry.name
    else:
        original = result / "original" / entry.name
        reason = document(result / "reason.json")
        assert case.reason in reason["reasons"][0]
        assert case.reason in item.reason
        assert base64.b64decode(reason["name_base64"]) == os.fsencode(entry.name)
        assert result.parent == state / "failed/ct"
    assert is_there(original)
    if before:
        assert tree_of(original) == before


async def test_the_bytes_behind_a_link_are_nowhere(state: Path) -> None:
    folder = state / "inbox/ct"
    folder.mkdir(parents=True)
    _link(folder)
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        await rig.delivered()
    (kept,) = (state / "failed").rglob("link.dcm")
    assert kept.is_symlink()
    assert (state.parent / "secret").read_bytes() == b"secret"
    assert b"secret" not in [content for name, content in tree_of(state).items() if name != "link"]


async def test_a_file_with_a_second_name_is_copied(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "LINKS_SECONDS", 0.5)
    outside = drop(state / "outside.dcm", b"before")
    (state / "inbox/ct").mkdir(parents=True)
    (state / "inbox/ct/scan.dcm").hardlink_to(outside)
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        await rig.until(lambda items: any("hard link" in i.reason for i in items))
        await rig.delivered()
    outside.write_bytes(b"after")
    (original,) = (state / "originals").rglob("scan.dcm")
    (result,) = (state / "outbox").glob("ct/*/last/Left/scan.dcm")
    assert (original.read_bytes(), result.read_bytes()) == (b"before", b"before")
    assert outside.stat().st_nlink == 1


async def test_a_sparse_file_is_claimed_without_being_filled(state: Path) -> None:
    """One TiB, which no disk here has: the rename moves it as it is."""
    folder = state / "inbox/ct"
    folder.mkdir(parents=True)
    _sparse(folder)
    async with inbox_rig(make_config(state), run=False) as rig:
        await rig.register("ct")
        running = rig.group.create_task(rig.inbox.run())
        (item,) = await rig.until(lambda items: items and items[0].state is ItemState.SUBMITTED)
        running.cancel()
    assert item.size == 1 << 40
    (blob,) = (state / "payloads").glob("*/blobs/*")
    assert blob.stat().st_size == 1 << 40
    assert blob.stat().st_blocks < 1 << 20


FOLDERS = 100_000 if CAMPAIGN else 1_000


@pytest.mark.timeout(1800 if CAMPAIGN else 120)
async def test_very_many_empty_folders_are_reported_and_left(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if CAMPAIGN:  # an inspection lasts seconds, and so is rare
        monkeypatch.setattr(waiting, "DEADLINE", 900.0)
    for i in range(FOLDERS):
        (state / f"inbox/ct/study/{i}").mkdir(parents=True)
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        (item,) = await rig.until(lambda items: any("an empty folder" in i.reason for i in items))
        assert ended([item]) == []
        drop(state / "inbox/ct/study/1/a.dcm")
        await rig.delivered()


async def test_a_link_in_the_inbox_itself_is_never_a_trigger(state: Path) -> None:
    elsewhere = drop(state / "elsewhere/scan.dcm").parent
    (state / "inbox").mkdir(parents=True)
    (state / "inbox/ct").symlink_to(elsewhere)
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        (item,) = await rig.until(lambda items: items)
        assert (item.name, item.state) == ("ct", ItemState.PARKED)
    assert (elsewhere / "scan.dcm").exists()


async def test_a_name_that_is_not_utf8_in_an_inbox_on_another_file_system_fails_alone(
    state: Path, tmp_path: Path
) -> None:
    root = other_file_system(tmp_path)
    try:
        drop(root / "ct" / os.fsdecode(b"bad\xff"))
        drop(root / "ct" / "good.dcm")
        async with inbox_rig(make_config(state, inbox=root)) as rig:
            await rig.register("ct")
            ends = {item.raw_name: item.state for item in await rig.delivered(2)}
    finally:
        shutil.rmtree(root)
    assert ends == {b"bad\xff": ItemState.FAILED, b"good.dcm": DONE}


# --- under the claim --------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["appended", "replaced", "created again"])
@pytest.mark.parametrize(
    "at", OWN[OWN.index("claim: renamed") : OWN.index("submit: committed") + 1]
)
async def test_what_comes_by_the_name_of_what_was_taken_is_a_new_item(
    state: Path, at: str, change: str
) -> None:
    path = state / "inbox/ct/scan.dcm"

    def act() -> None:
        if change == "appended":
            with path.open("ab") as file:
                file.write(b"second")
        elif change == "replaced":
            drop(path.with_name(".new"), b"second").replace(path)
        else:
            drop(path, b"second")

    async with inbox_rig(make_config(state), hook=Once(at, act)) as rig:
        await rig.register("ct")
        drop(path, b"first")
        items = await rig.delivered(2)
        assert [item.state for item in items] == [DONE, DONE]
        given = [next(iter(rig.input_of(job).values())) for job in await rig.jobs()]
    assert given == [b"first", b"second"]
    assert sorted(tree_of(state / "originals").values()) == [b"first", b"second"]


@pytest.mark.parametrize("at", COPIED[: COPIED.index("submit: before commit") + 1])
async def test_who_writes_by_another_name_changes_no_job(
    state: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the copy is ours it is taken with what was written; then, that is not seen."""
    monkeypatch.setattr(settling, "LINKS_SECONDS", 0.0)
    outside = drop(state / "outside.dcm", b"first")

    def act() -> None:
        with outside.open("ab") as file:
            file.write(b" and more")

    (state / "inbox/ct").mkdir(parents=True)
    (state / "inbox/ct/scan.dcm").hardlink_to(outside)
    async with inbox_rig(make_config(state), hook=Once(at, act)) as rig:
        await rig.register("ct")
        await rig.delivered()
        (job,) = await rig.jobs()
        is_ours = at in ("claim: own", "claim: raw removed", *OWN)
        wanted = b"first" if is_ours and at not in COPIED[:5] else b"first and more"
        assert rig.input_of(job) == {"scan.dcm": wanted}
    assert list(tree_of(state / "originals").values()) == [wanted]


@pytest.mark.parametrize("at", ["claim: before row", "claim: row", "claim: before rename"])
async def test_a_folder_that_is_swapped_for_a_link_is_not_followed(state: Path, at: str) -> None:
    outside = drop(state / "outside/1.dcm", b"outside")
    entry = state / "inbox/ct/study"

    def act() -> None:
        entry.rename(state / "moved")
        entry.symlink_to(outside.parent)

    async with inbox_rig(make_config(state), hook=Once(at, act)) as rig:
        await rig.register("ct")
        drop(entry / "1.dcm", b"mine")
        (item,) = await rig.delivered()
        assert await rig.jobs() == []
    assert item.state is FAILED
    assert "symbolic link" in item.reason
    assert outside.read_bytes() == b"outside"
    assert (state / "moved/1.dcm").read_bytes() == b"mine"


# --- owners and modes -------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="files are given to others by root")
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o000, 0o4777])
@pytest.mark.parametrize("whole", [True, False])
async def test_what_belongs_to_another_user_is_copied(state: Path, mode: int, whole: bool) -> None:
    """By root, who may read all. `tests/integration/inbox` has what an ordinary user may not."""
    path = drop(state / "inbox/ct/study/1.dcm", b"1")
    os.chown(path, 4321, 4321)
    path.chmod(mode)
    if whole:
        os.chown(path.parent, 4321, 4321)
    inode = path.stat().st_ino
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        await rig.delivered()
        (job,) = await rig.jobs()
        assert rig.input_of(job) == {"1.dcm": b"1"}
    (original,) = (state / "originals").rglob("1.dcm")
    assert original.stat().st_uid == 0
    assert original.stat().st_ino != inode
    assert not original.stat().st_mode & 0o7000


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
@pytest.mark.parametrize("inside", ["", "study/"])
async def test_what_its_owner_may_not_read_is_parked_with_what_corrects_it(
    state: Path, inside: str
) -> None:
    path = drop(state / f"inbox/ct/{inside}1.dcm", b"1")
    path.chmod(0o200)
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        (item,) = await rig.until(lambda items: any("adopt" in i.remedy for i in items))
        assert item.state is ItemState.PARKED
        assert item.thing is not None
        adopt(item.thing, os.geteuid())
        rig.inbox.poke()
        await rig.delivered()


async def test_a_folder_whose_name_is_no_text_is_no_trigger_and_stops_nothing(state: Path) -> None:
    folder = state / "inbox" / os.fsdecode(b"\xff\xfe")
    drop(folder / "scan.dcm")
    drop(state / "inbox/ct/scan.dcm")
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        (done,) = await rig.delivered(1)
        assert done.state is ItemState.DELIVERED
        items = await rig.until(lambda items: any(i.state is ItemState.PARKED for i in items))
        (waiting,) = [item for item in items if item.state is ItemState.PARKED]
        assert waiting.folder.endswith("\\xff\\xfe")
        assert "rename" in waiting.reason
        folder.rename(state / "inbox/ct/renamed")
        assert len(await rig.delivered(2)) == 2
