"""Hostile drops for triggers that take the files of a tree one by one, or by their studies."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest

from claraedge.config import Config
from claraedge.formats.filenames import is_ignored
from claraedge.fs.walking import walk
from claraedge.inbox.inspection import settling
from claraedge.inbox.model import ItemState
from tests.campaign import CAMPAIGN
from tests.rig import waiting
from tests.rig.inbox import document, drop, ended, inbox_rig, is_there, make_config, swept, tree_of
from tests.unit.inbox.test_pressure import Once

DICOM = (Path(pydicom.__file__).parent / "data/test_files/CT_small.dcm").read_bytes()
DONE, FAILED = ItemState.DELIVERED, ItemState.FAILED
GROUPINGS = ("file", "dicom-study")


@pytest.fixture(autouse=True)
def _links_are_waited_for_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "LINKS_SECONDS", 0.3)


def config(state: Path, grouping: str) -> Config:
    more: dict[str, object] = {}
    if grouping == "dicom-study":
        more = {"quiet_seconds": 0.2, "incomplete": "run"}
    trigger = {"folder": "in", "pipeline": "ct", "grouping": grouping, **more}
    return make_config(state, trigger=[trigger])


@dataclass(frozen=True, kw_only=True)
class Drop:
    id: str
    make: Callable[[Path], object]
    """Fills the folder, below that of the trigger."""
    ends: Mapping[bytes, tuple[ItemState, str]] = field(default_factory=dict)
    """Name -> its end, and a part of the reason of a failure. What would be done is no DICOM file,
    and so failed where studies are gathered. What is not named stays."""


def _link(folder: Path) -> None:
    (folder / "a/link").symlink_to(drop(folder.parents[2] / "secret", b"secret"))


def _link_to_folder(folder: Path) -> None:
    drop(folder.parents[2] / "elsewhere/1.dcm", b"secret")
    (folder / "a/link").symlink_to(folder.parents[2] / "elsewhere")


def _loop(folder: Path) -> None:
    (folder / "a/up").symlink_to("..")


def _fifo(folder: Path) -> None:
    os.mkfifo(folder / "a/pipe")


def _socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder / "a")  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
    finally:
        os.chdir(here)


def _named(*names: str | bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            drop(folder / os.fsdecode(name), b"bytes")

    return make


def _deep(levels: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        path = folder
        for _ in range(levels):
            path = path / "d"
            path.mkdir()
        drop(path / "f.dcm")

    return make


def _too_long(folder: Path) -> None:
    """A path that is too long for a payload, and for one system call."""
    below = os.open(folder, os.O_RDONLY)
    for name in ["x" * 255] * 17:
        os.mkdir(name, dir_fd=below)
        inner = os.open(name, os.O_RDONLY, dir_fd=below)
        os.close(below)
        below = inner
    with open("f.dcm", "wb", opener=lambda path, flags: os.open(path, flags, dir_fd=below)) as file:
        file.write(b"1")
    os.close(below)


def _hard_links(folder: Path) -> None:
    first = drop(folder / "a/1", b"1")
    (folder / "a/2").hardlink_to(first)
    (folder / "a/3").hardlink_to(drop(folder.parents[2] / "outside", b"3"))


def _empty_folders(folder: Path) -> None:
    for i in range(100_000 if CAMPAIGN else 1_000):
        (folder / f"{i}").mkdir()


def done(*names: str) -> dict[bytes, tuple[ItemState, str]]:
    return {name.encode(): (DONE, "") for name in names}


DROPS = [
    Drop(id="a link to a file", make=_link, ends={b"link": (FAILED, "a symbolic link")}),
    Drop(id="a link to a folder", make=_link_to_folder, ends={b"link": (FAILED, "a symbolic")}),
    Drop(id="a link upwards", make=_loop, ends={b"up": (FAILED, "a symbolic link")}),
    Drop(id="a pipe", make=_fifo, ends={b"pipe": (FAILED, "a named pipe")}),
    Drop(id="a socket", make=_socket, ends={b"socket": (FAILED, "a socket")}),
    Drop(id="a name not UTF-8", make=_named(b"\xff"), ends={b"\xff": (FAILED, "not UTF-8")}),
    Drop(id="a folder not UTF-8", make=_named(b"\xff/1"), ends={b"1": (FAILED, "not UTF-8")}),
    Drop(id="a folder with a newline", make=_named("a\nb/c\nd"), ends=done("c\nd")),
    Drop(id="control characters", make=_named("\x1b[2J/\x07\x7f"), ends=done("\x07\x7f")),
    Drop(id="255 bytes", make=_named("y" * 255 + "/" + "x" * 255), ends=done("x" * 255)),
    Drop(id="leading dashes", make=_named("-r/-f"), ends=done("-f")),
    Drop(id="only dots", make=_named("a/...", "a/.....")),
    Drop(id="hidden and temporary", make=_named("a/.1", ".git/1", "a.part/1", "a/1.part")),
    Drop(id="200 folders deep", make=_deep(199), ends=done("f.dcm")),
    Drop(
        id="300 folders deep", make=_deep(300), ends={b"d": (FAILED, "more than 256 folders deep")}
    ),
    Drop(id="a path of 4,300 bytes", make=_too_long, ends={b"f.dcm": (FAILED, "longer than 3072")}),
    Drop(id="empty folders", make=_empty_folders),
    Drop(id="hard links", make=_hard_links, ends=done("1", "2", "3")),
    Drop(id="names by case", make=_named("a/x", "a/X", "A/x"), ends=done("x", "X")),
    Drop(id="zero bytes", make=lambda folder: drop(folder / "zero", b""), ends=done("zero")),
    Drop(id="result.json", make=_named("result.json/result.json"), ends=done("result.json")),
]


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("case", DROPS, ids=lambda case: case.id)
@pytest.mark.timeout(900 if CAMPAIGN else 120)
async def test_a_hostile_drop_below_ends_as_written(
    state: Path, case: Drop, grouping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if CAMPAIGN:  # an inspection of a hundred thousand folders lasts seconds
        monkeypatch.setattr(waiting, "DEADLINE", 600.0)
    folder = state / "inbox/in/below"
    (folder / "a").mkdir(parents=True)
    case.make(folder)
    async with inbox_rig(config(state, grouping)) as rig:
        await rig.register("ct")
        drop(folder / "good.dcm", DICOM)
        count = 3 if case.id == "names by case" else len(case.ends)
        items = await rig.delivered(count + 1)
        jobs = await rig.jobs()
        good = [job for job in jobs if DICOM in rig.input_of(job).values()]
        await swept(state)
    assert len(good) == 1
    assert len(items) == len(ended(items)) == count + 1
    ends = {item.raw_name: item for item in items if item.job != good[0].id}
    assert set(ends) == set(case.ends)
    for name, (end, reason) in case.ends.items():
        item = ends[name]
        wanted = FAILED if grouping == "dicom-study" else end
        assert (item.state, reason in item.reason) == (wanted, True), item
        assert item.name.isprintable()
        result = Path(item.result_path or "")
        if wanted is FAILED:
            assert is_there(result / "original" / os.fsdecode(name))
            assert item.reason in document(result / "reason.json")["reasons"]
    assert not any(b"secret" in content for content in tree_of(state / "payloads").values())
    left = [entry.path for entry in walk(state / "inbox") if not entry.is_folder]
    assert all(any(map(is_ignored, path.split(b"/"))) for path in left), left


# --- swapped while it is taken ----------------------------------------------------------------

STEPS = {
    "file": ["claim: before row", "claim: row"],
    "dicom-study": ["claim: before row", "claim: row", "claim: before gathering"],
}


@pytest.mark.parametrize(
    ("grouping", "at"), [(grouping, at) for grouping in GROUPINGS for at in STEPS[grouping]]
)
async def test_an_inner_folder_that_is_swapped_for_a_link_leads_nowhere(
    state: Path, grouping: str, at: str
) -> None:
    inner = state / "inbox/in/p1/s1"
    outside = drop(state / "outside/1.dcm", DICOM)

    def swap() -> None:
        inner.rename(state / "moved")
        inner.symlink_to(outside.parent)

    once = Once(at, swap)
    async with inbox_rig(config(state, grouping), hook=once) as rig:
        await rig.register("ct")
        drop(inner / "1.dcm", DICOM)
        (item,) = await rig.delivered()
        assert (item.name, item.state) == ("s1", FAILED)
        assert "symbolic link" in item.reason
        assert await rig.jobs() == []
    assert outside.read_bytes() == DICOM
    assert (state / "moved/1.dcm").read_bytes() == DICOM
    assert outside.stat().st_nlink == 1


async def test_an_inner_folder_that_is_swapped_before_the_rename_is_the_one_that_was_inspected(
    state: Path,
) -> None:
    inner = state / "inbox/in/p1/s1"
    outside = drop(state / "outside/1.dcm", DICOM + b"secret")

    def swap() -> None:
        inner.rename(state / "moved")
        inner.symlink_to(outside.parent)

    once = Once("claim: before rename", swap)
    async with inbox_rig(config(state, "file"), hook=once) as rig:
        await rig.register("ct")
        drop(inner / "1.dcm", DICOM)
        items = await rig.delivered(2)
        assert [(item.name, item.state) for item in items] == [
            ("1.dcm", DONE), ("s1", FAILED),
        ]  # fmt: skip
        assert len(await rig.jobs()) == 1
    assert outside.read_bytes() == DICOM + b"secret"
    assert outside.stat().st_nlink == 1
    assert not any(b"secret" in content for content in tree_of(state / "payloads").values())


@pytest.mark.parametrize("grouping", GROUPINGS)
async def test_an_inner_folder_of_links_to_the_same_file_leads_nowhere(
    state: Path, grouping: str
) -> None:
    """The very file that was seen, behind a link: still nothing is followed."""
    inner = state / "inbox/in/p1"

    def swap() -> None:
        inner.rename(state / "moved")
        inner.symlink_to(state / "moved")

    async with inbox_rig(config(state, grouping), hook=Once("claim: row", swap)) as rig:
        await rig.register("ct")
        drop(inner / "1.dcm", DICOM)
        (item,) = await rig.delivered()
        assert (item.name, item.state) == ("p1", FAILED)
        assert await rig.jobs() == []
    assert (state / "moved/1.dcm").read_bytes() == DICOM


@pytest.mark.parametrize("change", ["appended", "truncated", "replaced", "removed"])
@pytest.mark.parametrize(
    ("grouping", "at"), [(grouping, at) for grouping in GROUPINGS for at in STEPS[grouping]]
)
async def test_a_file_below_that_changes_under_the_claim_is_taken_as_it_is_then(
    state: Path, grouping: str, at: str, change: str
) -> None:
    path = state / "inbox/in/p1/1.dcm"

    def act() -> None:
        if change == "appended":
            with path.open("ab") as stream:
                stream.write(b"\0\0")
        elif change == "truncated":
            os.truncate(path, len(DICOM) - 2)
        elif change == "replaced":
            drop(path.with_name(".new"), DICOM + b"\0\0\0\0").replace(path)
        else:
            path.unlink()

    once = Once(at, act)
    async with inbox_rig(config(state, grouping), hook=once) as rig:
        await rig.register("ct")
        drop(path, DICOM)
        if change == "removed":
            await rig.until(lambda items: once.act is None and not items)
            assert await rig.jobs() == []
            return
        await rig.delivered()
        (job,) = await rig.jobs()
        (given,) = rig.input_of(job).values()
    wanted = {"appended": DICOM + b"\0\0", "truncated": DICOM[:-2], "replaced": DICOM + bytes(4)}
    assert given == wanted[change]
    assert list(tree_of(state / "originals").values()) == [given]
