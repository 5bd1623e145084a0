"""A disk that is really full: the ballast is given up, and the state is recorded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ALONE = ["unshare", "--user", "--map-root-user", "--mount", "--propagation=private"]


def may_mount(folder: Path) -> bool:
    """Whether a namespace of its own lets this user mount a tmpfs."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        [*ALONE, "mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False
    )
    return tried.returncode == 0


def test_the_ballast_lets_the_state_be_recorded_on_a_full_disk(tmp_path: Path) -> None:
    if not may_mount(tmp_path):
        pytest.skip("no user namespaces: nobody but root can mount a small disk here")
    child = Path(__file__).with_name("full_disk_child.py")
    ran = subprocess.run(
        [*ALONE, sys.executable, child, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "ballast True ROOM",
        "filled OUT True",
        "with ballast recorded False",
        "without full",
        "freed ROOM recorded True",
    ]
