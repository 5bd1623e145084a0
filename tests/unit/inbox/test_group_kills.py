"""The daemon dies between any two renames of a group: it ends in one job with all its members."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from claraedge.blocking import CancelFlag
from claraedge.config import Config
from claraedge.fs import trees
from claraedge.fs.walking import Entry
from claraedge.inbox.inspection import settling
from claraedge.inbox.model import ItemState
from tests.campaign import CAMPAIGN
from tests.rig.inbox import (
    KilledError,
    drop,
    ended,
    inbox_rig,
    make_config,
    other_file_system,
    swept,
    tree_of,
)

IGNORED = ItemState.IGNORED
MEMBERS = {"a.dcm": b"a", "b.dcm": b"b", "study/1.dcm": b"1", "study/x/2.dcm": b"2", "c.dcm": b"c"}
SAMPLE = Path(pydicom.__file__).parent / "data/test_files/CT_small.dcm"


class Countdown:
    """Kills at the nth time that a failpoint is passed; counts them all."""

    def __init__(self, at: str, nth: int) -> None:
        self.at = at
        self.nth = nth
        self.passed: list[str] = []

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if name == self.at and self.passed.count(name) == self.nth:
            raise KilledError(name)


@pytest.fixture(params=["same", "elsewhere"])
def inbox(request: pytest.FixtureRequest, state: Path, tmp_path: Path) -> Iterator[Path]:
    """On the file system of the state, and on another one."""
    if request.param == "same":
        yield state / "inbox"
        return
    root = other_file_system(tmp_path)
    yield root
    shutil.rmtree(root)


def config(state: Path, inbox: Path, grouping: str, **more: str) -> Config:
    by = {"marker": "READY"} if grouping == "marker" else {"quiet_seconds": 0.1}
    trigger = {"folder": "in", "pipeline": "ct", "grouping": grouping, **by, **more}
    return make_config(state, inbox=inbox, trigger=[trigger], settle=0.05)


def study() -> dict[str, bytes]:
    content = SAMPLE.read_bytes()
    return {f"{'se/' * (i % 3)}{i}.dcm": content + bytes(2 * i) for i in range(5)}


KINDS: dict[str, Callable[[], dict[str, bytes]]] = {
    "quiet": lambda: MEMBERS,
    "marker": lambda: MEMBERS | {"READY": b"go"},
    "dicom-study": study,
}
#: Times that a failpoint is passed by a group: each of four entries, or of five.
POINTS = [
    ("claim: row", 1),
    ("claim: before gathering", 1),
    *[("claim: gathered one", n) for n in (1, 2, 3, 4)],
    ("claim: taken", 1),
    ("submit: payload", 1),
    ("submit: before commit", 1),
    ("submit: committed", 1),
]
COPIES = [("claim: before copy", 1), ("claim: copied", 1), ("claim: own", 1)]


PLACED = [
    *[(place, *point) for place in ("same", "elsewhere") for point in POINTS],
    *[("elsewhere", *point) for point in COPIES],  # on the same file system, nothing is copied
]
#: In short, a marked group and a study at every third point, each at others.
CASES = [
    (grouping, *placed)
    for first, grouping in enumerate(KINDS)
    for placed in (PLACED if CAMPAIGN or not first else PLACED[first::3])
]


@pytest.mark.parametrize("inbox", ["elsewhere"], indirect=True)
async def test_members_whose_names_the_state_refuses_are_inputs_under_other_names(
    state: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a state folder that ignores case: one of two names is refused, and becomes another."""
    real = trees._copy

    def copy(entry: Entry, link_own: int | None, flag: CancelFlag | None, to: Path) -> None:
        if to.name == "b.dcm":
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(to))
        real(entry, link_own, flag, to)

    monkeypatch.setattr(trees, "_copy", copy)
    for name, content in MEMBERS.items():
        drop(inbox / "in" / name, content)
    async with inbox_rig(config(state, inbox, "quiet")) as rig:
        await rig.register("ct")
        await rig.delivered(1)
        (job,) = await rig.jobs()
        assert sorted(rig.input_of(job).values()) == sorted(MEMBERS.values())


@pytest.mark.parametrize(("grouping", "inbox", "at", "nth"), CASES, indirect=["inbox"])
async def test_a_kill_between_two_renames_leaves_one_group(
    state: Path, inbox: Path, grouping: str, at: str, nth: int
) -> None:
    files = KINDS[grouping]()
    for name, content in files.items():
        drop(inbox / "in" / name, content)
    fuse = Countdown(at, nth)
    with pytest.raises(KilledError):
        await _live(config(state, inbox, grouping), fuse)
    # What comes by a name of before is another entry, and is not taken with the group.
    first = next(name for name in files if name != "READY")
    again = at == "claim: gathered one" and not (inbox / "in" / first).exists()
    if again and grouping == "quiet":
        drop(inbox / "in" / first, b"another")
    async with inbox_rig(config(state, inbox, grouping)) as rig:
        if not await rig.database.read(lambda tx: tx.rows("pipelines", after=0)):
            await rig.register("ct")
        count = 2 if again and grouping == "quiet" else 1
        items = [item for item in await rig.delivered(count) if ended([item])]
        jobs = await rig.jobs()
        await swept(state)
        wanted = {name: content for name, content in files.items() if name != "READY"}
        assert rig.input_of(jobs[0]) == wanted
    assert len(items) == len(jobs) == count
    assert {item.state for item in items} == {ItemState.DELIVERED}
    (kept,) = (state / "originals/ct").glob(f"*-{jobs[0].id[:8]}/*")
    assert tree_of(kept) == files
    assert tree_of(inbox) == {}
    assert not list((inbox / "in").glob(".claraedge-*"))


@pytest.mark.parametrize("inbox", ["elsewhere"], indirect=True)
async def test_a_group_that_is_copied_is_blocked_by_nothing(
    state: Path, inbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, content in MEMBERS.items():
        drop(inbox / "in" / name, content)
    fuse = Countdown("", 0)
    await _live(config(state, inbox, "quiet"), fuse)
    assert fuse.passed.count("claim: copied") == fuse.passed.count("submit: payload") == 1
    assert " waits: " not in caplog.text


async def _live(config: Config, fuse: Countdown) -> None:
    async with inbox_rig(config, hook=fuse) as rig:
        await rig.register("ct")
        await rig.delivered()


async def test_a_member_that_changes_between_two_renames_settles_with_its_group(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "LINKS_SECONDS", 0.0)
    last = state / "inbox/in/c.dcm"

    def write(name: str) -> None:
        if name == "claim: gathered one" and last.exists() and last.stat().st_size == 1:
            with last.open("ab") as file:
                file.write(b" and more")

    for name, content in MEMBERS.items():
        drop(state / "inbox/in" / name, content)
    async with inbox_rig(config(state, state / "inbox", "quiet"), hook=write) as rig:
        await rig.register("ct")
        await rig.delivered()
        (job,) = await rig.jobs()
        assert rig.input_of(job) == MEMBERS | {"c.dcm": b"c and more"}
    assert tree_of(state / "inbox") == {}


@pytest.mark.parametrize("incomplete", ["wait", "run", "fail"])
async def test_a_member_that_is_taken_back_between_two_renames_is_missed(
    state: Path, incomplete: str
) -> None:
    last = state / "inbox/in/c.dcm"
    gone: list[str] = []

    def take_back(name: str) -> None:
        if name == "claim: gathered one" and not gone:
            gone.append(name)
            last.rename(state / "taken-back")

    for name, content in MEMBERS.items():
        drop(state / "inbox/in" / name, content)
    lacks = "3 of 4 files: 'c.dcm' was moved or removed before"  # of what lies at the top
    rule = config(state, state / "inbox", "quiet", incomplete=incomplete)
    async with inbox_rig(rule, hook=take_back) as rig:
        await rig.register("ct")
        (item,) = await rig.delivered()
        jobs = await rig.jobs()
        if incomplete == "run":
            (job,) = jobs
            assert rig.input_of(job) == {k: v for k, v in MEMBERS.items() if k != "c.dcm"}
            assert lacks in job.messages[0]
        else:
            assert jobs == []
            assert lacks in item.reason
    assert (state / "taken-back").read_bytes() == b"c"


@pytest.mark.parametrize("at", ["claim: row", "claim: before gathering"])
async def test_a_group_that_goes_before_it_is_taken_leaves_nothing(
    state: Path, inbox: Path, at: str
) -> None:
    gone: list[str] = []

    def go(name: str) -> None:
        if name == at and not gone:
            gone.append(name)
            (inbox / "in").rename(inbox / ".moved")
            (inbox / "in").mkdir()

    for name, content in MEMBERS.items():
        drop(inbox / "in" / name, content)
    async with inbox_rig(config(state, inbox, "quiet"), hook=go) as rig:
        await rig.register("ct")
        await rig.until(lambda items: gone and not [i for i in items if i.state is not IGNORED])
        assert await rig.jobs() == []
        assert list((inbox / "in").iterdir()) == []
        (inbox / ".moved/a.dcm").rename(inbox / "in/a.dcm")
        await rig.delivered()
        (job,) = await rig.jobs()
        assert rig.input_of(job) == {"a.dcm": b"a"}
        await swept(state)
