"""An outbox whose disk is full or gone: results wait, say so, and continue by themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from claraedge.delivery import roots
from claraedge.inbox.model import ItemState
from claraedge.jobs.model import JobStatus
from tests.rig.inbox import drop, ended, inbox_rig, make_config
from tests.rig.waiting import eventually
from tests.unit.delivery.outbox_child import SCENARIOS

ROOT = Path(__file__).resolve().parents[3]


def may_mount() -> bool:
    """Whether this user has name spaces of its own."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False, timeout=20).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs user name spaces with mounts")
@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in SCENARIOS])
def test_a_disk_of_its_own(tmp_path: Path, scenario: str) -> None:
    ended_as = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-m", "tests.unit.delivery.outbox_child", scenario,
         str(tmp_path)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=90, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended_as.returncode == 0, ended_as.stdout + ended_as.stderr


async def test_a_share_that_hangs_keeps_no_failure_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "ANSWER", 0.1)
    answers = threading.Event()
    trouble = roots.Root.trouble

    def slow(root: roots.Root) -> str | None:
        if root.path.name == "outbox" and hung:
            answers.wait(60)
        return trouble(root)

    hung = False
    monkeypatch.setattr(roots.Root, "trouble", slow)
    async with inbox_rig(make_config(tmp_path)) as rig:
        await rig.register("ct")
        hung = True
        drop(tmp_path / "inbox/ct/good.dcm")
        (item,) = await rig.until(lambda items: items and "does not answer" in items[0].reason)
        assert item.state is ItemState.SUBMITTED
        rig.engine.status = JobStatus.FAULTED
        drop(tmp_path / "inbox/ct/bad.dcm")
        assert [i.name for i in ended(await rig.delivered())] == ["bad.dcm"]
        answers.set()
        await rig.delivered(2)


async def test_deliveries_that_hang_keep_no_failure_waiting(tmp_path: Path) -> None:
    answers = threading.Event()

    def hook(name: str) -> None:
        if name == "deliver: copied":
            answers.wait(60)

    async with inbox_rig(make_config(tmp_path), hook=hook) as rig:
        await rig.register("ct")
        try:
            for number in range(6):
                drop(tmp_path / f"inbox/ct/{number}.dcm")
            outbox = tmp_path / "outbox"
            await eventually(
                lambda: len(rig.engine.ran) >= 6 and len(list(outbox.glob(".tmp-*"))) >= 4,
                "all ran and four are being delivered",
            )
            rig.engine.status = JobStatus.FAULTED
            drop(tmp_path / "inbox/ct/bad.dcm")
            assert [i.name for i in ended(await rig.delivered())] == ["bad.dcm"]
        finally:
            answers.set()
        await rig.delivered(7)
