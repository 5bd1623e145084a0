"""What another user dropped becomes a result, or is parked with the command that corrects it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from claraedge.fs.adopting import Thing
from claraedge.inbox.model import Item, ItemState
from tests.rig.inbox import drop, inbox_rig, make_config, other_file_system, tree_of
from tests.unit.inbox.test_kills import swept

pytestmark = pytest.mark.podman


def unshare(*command: str) -> None:
    """Runs a command as root of the user's own name space, where other users are."""
    subprocess.run(["podman", "unshare", *command], check=True, timeout=60, cwd="/")


def give_to_other_user(path: Path) -> None:
    unshare("chown", "-R", "1:1", str(path))


def adopt(thing: Thing | None) -> str:
    """Does what `claraedge adopt` does, by the means that a test has; '', or why it is refused."""
    assert thing is not None
    text = f"from claraedge.fs.adopting import Thing, adopt; adopt({thing!r}, 0)"
    done = subprocess.run(
        ["podman", "unshare", sys.executable, "-c", text],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.stderr.strip().rpartition("\n")[2]


def remedy(item: Item) -> None:
    """Runs the command that an item names."""
    assert item.remedy == f"sudo claraedge adopt {item.id}"
    assert adopt(item.thing) == ""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    unshare("chown", "-R", "0:0", str(tmp_path))  # so that pytest can remove it


@dataclass(frozen=True, kw_only=True)
class Case:
    id: str
    folder_mode: int | None
    """None: a file alone."""
    file_mode: int
    parked: bool
    whole: bool = True
    """The folder is the other user's too, not only the file in it."""


CASES = [
    Case(id="file 0644", folder_mode=None, file_mode=0o644, parked=False),
    Case(id="file 0600", folder_mode=None, file_mode=0o600, parked=True),
    Case(id="folder 0700", folder_mode=0o700, file_mode=0o644, parked=True),
    Case(id="folder 0755", folder_mode=0o755, file_mode=0o644, parked=True),
    Case(id="folder 0777", folder_mode=0o777, file_mode=0o644, parked=False),
    Case(id="folder 0777, file 0600", folder_mode=0o777, file_mode=0o600, parked=True),
    Case(id="folder 1777", folder_mode=0o1777, file_mode=0o644, parked=True),
    Case(id="own folder, file 0644", folder_mode=0o755, file_mode=0o644, parked=False, whole=False),
    Case(id="own folder, file 0600", folder_mode=0o755, file_mode=0o600, parked=True, whole=False),
]


def make(folder: Path, case: Case) -> Path:
    if case.folder_mode is None:
        entry = drop(folder / "scan.dcm", b"scan")
        entry.chmod(case.file_mode)
        give_to_other_user(entry)
        return entry
    entry = folder / "study"
    file = drop(entry / "a/scan.dcm", b"scan")
    file.chmod(case.file_mode)
    for made in (entry / "a", entry):
        made.chmod(case.folder_mode)
    give_to_other_user(entry if case.whole else file)
    return entry


async def check(root: Path, state: Path, case: Case, **config: Path) -> None:
    inbox = root / "inbox/ct"
    inbox.mkdir(parents=True)
    entry = make(inbox, case)
    async with inbox_rig(make_config(state, **config)) as rig:
        await rig.register("ct")
        if case.parked:
            (item,) = await rig.until(lambda items: items and items[0].remedy.startswith("sudo"))
            assert item.state is ItemState.PARKED
            assert entry.exists()
            assert list((state / "spool").iterdir()) == []  # never half claimed
            assert await rig.jobs() == []
            remedy(item)
        (item,) = await rig.delivered()
        await swept(state)
    assert item.state is ItemState.DELIVERED
    assert list(inbox.iterdir()) == []
    (original,) = (state / "originals/ct").iterdir()
    assert list(tree_of(original).values()) == [b"scan"]
    (blob,) = (state / "payloads").glob("*/blobs/*")
    owned = [blob, *original.rglob("*")]
    assert {path.stat().st_uid for path in owned} == {os.geteuid()}
    (result,) = (state / "outbox").glob("ct/*/last/Left/scan.dcm")
    assert result.read_bytes() == b"scan"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_another_users_drop(state: Path, case: Case) -> None:
    await check(state, state, case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_another_users_drop_on_another_file_system(
    state: Path, tmp_path: Path, case: Case
) -> None:
    other = other_file_system(tmp_path)
    try:
        await check(other, state, case, inbox=other / "inbox")
    finally:
        unshare("chown", "-R", "0:0", str(other))
        shutil.rmtree(other)


async def test_a_folder_of_the_inbox_that_is_another_users_is_reported(state: Path) -> None:
    inbox = state / "inbox/ct"
    drop(inbox / "scan.dcm", b"scan")
    give_to_other_user(inbox)
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        (item,) = await rig.until(lambda items: items and items[0].remedy.startswith("sudo"))
        remedy(item)
        (item,) = await rig.delivered()
    assert item.state is ItemState.DELIVERED


async def test_a_link_in_another_users_folder_is_parked_until_it_can_be_moved(state: Path) -> None:
    folder = state / "inbox/ct/study"
    drop(folder / "scan.dcm", b"scan")
    (folder / "link").symlink_to("/etc/passwd")
    give_to_other_user(folder)
    async with inbox_rig(make_config(state)) as rig:
        await rig.register("ct")
        (item,) = await rig.until(lambda items: items and items[0].remedy.startswith("sudo"))
        assert "symbolic link" in item.reason
        remedy(item)
        (item,) = await rig.delivered()
    assert item.state is ItemState.FAILED
    (kept,) = (state / "failed").glob("ct/*/original/study/link")
    assert kept.is_symlink()
