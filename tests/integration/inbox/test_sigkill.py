"""SIGKILL at every step, with nothing that could tidy up: one job and one result an item."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from claraedge.delivery.failpoints import RESULT
from tests.inbox_bench import drop, tree_of

ROOT = Path(__file__).resolve().parents[3]

STEPS = [
    "claim: row",
    "claim: before rename",
    "claim: renamed",
    "claim: checked",
    "claim: before copy",
    "claim: copied",
    "claim: own",
    "claim: raw removed",
    "submit: payload",
    "submit: durable",
    "submit: before commit",
    "submit: committed",
    *RESULT,
    "fail: moved",
    "fail: before commit",
    "fail: committed",
]


def life(state: Path, at: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.inbox.inbox_child", str(state), at, "4"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    ).returncode


@pytest.mark.parametrize("at", STEPS)
def test_a_killed_daemon_loses_and_doubles_nothing(tmp_path: Path, at: str) -> None:
    inbox = tmp_path / "inbox/ct"
    drop(inbox / "scan.dcm", b"scan")
    drop(inbox / "study/a/1.dcm", b"1")
    drop(inbox / "linked.dcm", b"linked")
    (tmp_path / "outside").hardlink_to(inbox / "linked.dcm")
    drop(inbox / "bad/1.dcm", b"bad")
    (inbox / "bad/link").symlink_to("/etc/passwd")
    before = tree_of(inbox)
    assert life(tmp_path, at) == -signal.SIGKILL
    assert life(tmp_path, "-") == 0
    with sqlite3.connect(tmp_path / "claraedge.db") as state:
        (jobs,) = state.execute("SELECT COUNT(*) FROM jobs").fetchone()
        items = dict(state.execute("SELECT state, COUNT(*) FROM inbox_items GROUP BY state"))
    assert jobs == 3
    assert items == {"delivered": 3, "failed": 1}
    assert list(inbox.iterdir()) == []
    assert len(list((tmp_path / "outbox").glob("ct/*/result.json"))) == 3
    assert len(list((tmp_path / "outbox/ct").iterdir())) == 3
    assert len(list((tmp_path / "failed/ct").iterdir())) == 1
    kept = [*(tmp_path / "originals/ct").iterdir(), *(tmp_path / "failed/ct").glob("*/original")]
    together: dict[str, bytes] = {}
    for folder in kept:
        together |= tree_of(folder)
    assert together == before
    assert list((tmp_path / "spool").iterdir()) == []
    assert len(list((tmp_path / "payloads").iterdir())) == 3
