"""The server of a share dies: its items wait and say so, all others continue."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claraedge.config import Config
from claraedge.fs.mounts import Mount, mount_above, mount_of
from claraedge.inbox import inbox, shares
from claraedge.inbox.inspection.inspector import EntryInspector
from claraedge.inbox.intake import claim
from claraedge.inbox.model import ItemState
from claraedge.inbox.triggers.triggers import Trigger
from claraedge.inbox.watching import folders
from tests.rig.inbox import drop, ended, inbox_rig, make_config

SHARE = Mount(id=1, point=b"/", fstype="nfs4", source="server:/export")


@pytest.fixture(autouse=True)
def _it_is_called_dead_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "ANSWER", 0.3)
    monkeypatch.setattr(shares, "INSPECTION", 0.5)


def config(state: Path, share: Path) -> Config:
    return make_config(state, trigger=[{"folder": str(share), "pipeline": "ct"}])


def test_the_mount_of_a_folder_is_found_without_touching_the_folder(tmp_path: Path) -> None:
    assert mount_above(tmp_path) == mount_of(tmp_path)
    assert mount_above(Path("/proc/none/of/it")) == mount_of(Path("/proc"))
    assert mount_above(Path("/")) == mount_of(Path("/"))


@pytest.mark.parametrize("at", ["mount", "list", "inspect", "claim"])
async def test_a_call_that_never_returns_delays_no_other_folder(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    share, alive = tmp_path / "share", threading.Event()
    share.mkdir()
    alive.set()

    def hang(path: object) -> None:
        if Path(os.fsdecode(path)).is_relative_to(share):  # type: ignore[arg-type]
            alive.wait(60)

    inspect = EntryInspector.inspect

    def hanging(inspector: EntryInspector, trigger: Trigger, *args: Any, **options: Any) -> Any:
        hang(trigger.folder)
        return inspect(inspector, trigger, *args, **options)

    mount, names, secure = folders.mount_of, folders._names, claim.placed
    monkeypatch.setattr(shares, "mount_above", lambda f: SHARE if f == share else None)
    if at == "mount":
        monkeypatch.setattr(folders, "mount_of", lambda f: (hang(f), mount(f))[1])
    elif at == "list":
        monkeypatch.setattr(folders, "_names", lambda f, a: (hang(f), names(f, a))[1])
    elif at == "inspect":
        monkeypatch.setattr(EntryInspector, "inspect", hanging)
    elif at == "claim":
        monkeypatch.setattr(claim, "placed", lambda f, p: (hang(f), secure(f, p))[1])
    async with inbox_rig(config(state, share)) as rig:
        await rig.register("ct")
        drop(share / "first.dcm")
        await rig.delivered(1)
        alive.clear()
        for number in range(3):
            drop(share / f"{number}.dcm")
        if at == "inspect":
            items = await rig.until(lambda items: any("does not answer" in i.reason for i in items))
            assert {i.state for i in items if "answer" in i.reason} == {ItemState.PARKED}
        if at in ("mount", "list"):
            await rig.until(lambda _: any("not answer" in text for text in rig.inbox.warnings()))
        for number in range(10):
            drop(state / f"inbox/ct/{number}.dcm")
        await rig.until(lambda items: sum(i.folder.endswith("/ct") for i in ended(items)) == 10)
        alive.set()
        await rig.delivered(14)
        assert len(await rig.jobs()) == 14


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A FUSE mount, and the process that serves it."""
    names = ("lower", "upper", "work", "share")
    lower, upper, work, share = made = [tmp_path / name for name in names]
    for folder in made:
        folder.mkdir()
    program = shutil.which("fuse-overlayfs")
    if program is None or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs fuse-overlayfs and /dev/fuse")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    with subprocess.Popen([program, "-f", "-o", options, share], stderr=subprocess.DEVNULL) as fuse:
        try:
            while not os.path.ismount(share):
                if fuse.poll() is not None:
                    pytest.skip("a FUSE mount is not permitted here")
            yield share, fuse.pid
        finally:
            fuse.send_signal(signal.SIGCONT)
            fuse.terminate()


async def test_a_share_that_is_stopped_for_a_while(state: Path, mounted: tuple[Path, int]) -> None:
    share, server = mounted
    async with inbox_rig(config(state, share)) as rig:
        await rig.register("ct")
        drop(share / "first.dcm")
        await rig.delivered(1)
        for number in range(3):
            drop(share / f"{number}.dcm")
        os.kill(server, signal.SIGSTOP)
        for number in range(10):
            drop(state / f"inbox/ct/{number}.dcm")
        await rig.until(
            lambda items: sum(i.folder.endswith("/ct") for i in ended(items)) == 10,
        )
        os.kill(server, signal.SIGCONT)
        await rig.delivered(14)
        assert len(await rig.jobs()) == 14


async def test_many_files_on_a_share_are_inspected_one_batch_after_the_other(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "share"
    monkeypatch.setattr(shares, "mount_above", lambda f: SHARE if f == share else None)
    monkeypatch.setattr(inbox, "_INSPECTIONS", 4)
    for number in range(60):
        drop(share / f"{number}.dcm")
    async with inbox_rig(config(state, share)) as rig:
        await rig.register("ct")
        await rig.delivered(60)
        assert len(await rig.jobs()) == 60
        assert rig.inbox._later == {}
        assert rig.inbox.warnings() == []
