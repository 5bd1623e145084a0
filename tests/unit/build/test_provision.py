"""Started as an ordinary user, the set-up says what is missing and how to get it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(os.geteuid() == 0, reason="root gets packages, not advice")


def provision(tmp_path: Path, packages: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs a command through the set-up, where dpkg-query answers as `packages` (a script) says."""
    for name, script in {"dpkg-query": packages, "apt-get": "exit 100"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    return subprocess.run(
        [ROOT / "build" / "provision", "echo", "ran"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | changes,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_missing_packages_are_named_with_the_command(tmp_path: Path) -> None:
    ended = provision(
        tmp_path,
        'for last; do :; done; case "$last" in podman | uidmap) exit 1;; esac; echo installed',
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "apt-get install --no-install-recommends podman uidmap\n" in ended.stderr


def test_a_missing_runtime_folder_is_named_with_the_command(tmp_path: Path) -> None:
    ended = provision(tmp_path, "echo installed", XDG_RUNTIME_DIR="/proc/1")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "loginctl enable-linger" in ended.stderr
    assert "apt-get" not in ended.stderr


@pytest.mark.podman
def test_where_nothing_is_missing_the_command_runs(tmp_path: Path) -> None:
    ended = provision(tmp_path, "echo installed")
    assert (ended.returncode, ended.stdout) == (0, "ran\n"), ended.stderr


def test_a_device_for_networks_that_may_not_be_used_is_named_with_the_command(
    tmp_path: Path,
) -> None:
    text = (ROOT / "build" / "provision").read_text()
    copy = tmp_path / "build" / "provision"
    copy.parent.mkdir()
    copy.write_text(text.replace("tun=/dev/net/tun", f"tun={tmp_path}/tun"))
    for name in ("dpkg-query", "apt-get"):
        (tmp_path / name).write_text("#!/bin/sh\necho installed\n")
        (tmp_path / name).chmod(0o755)
    ended = subprocess.run(
        ["bash", copy, "true"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert f"chmod 0666 {tmp_path}/tun" in ended.stderr
