"""Which extractions are removed and which stay, with folders as the one-file form leaves them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.appliance import frozen


@pytest.fixture(autouse=True)
def _release() -> Iterator[None]:
    yield
    while frozen._held:
        os.close(frozen._held.pop())


def extracted(parent: Path, name: str, *, marked: bool) -> Path:
    folder = parent / name
    (folder / "grpc").mkdir(parents=True)
    (folder / "grpc" / "cygrpc.so").write_bytes(b"\x7fELF")
    if marked:
        (folder / ".claraedge").touch()
    return folder


def test_an_extraction_whose_process_is_gone_is_removed(tmp_path: Path) -> None:
    stale = extracted(tmp_path, "_MEIabc123", marked=True)
    assert frozen.remove_stale_extractions(tmp_path) == [stale]
    assert list(tmp_path.iterdir()) == []


def test_an_extraction_in_use_stays(tmp_path: Path) -> None:
    held = extracted(tmp_path, "_MEIabc123", marked=False)
    frozen.hold_extraction(held)
    assert frozen.remove_stale_extractions(tmp_path) == []
    assert (held / "grpc" / "cygrpc.so").exists()


def test_an_extraction_held_by_another_process_stays_until_that_is_killed(tmp_path: Path) -> None:
    folder = extracted(tmp_path, "_MEIabc123", marked=False)
    code = (
        "import sys, pathlib; from claraedge.appliance import frozen;"
        " frozen.hold_extraction(pathlib.Path(sys.argv[1])); print('held', flush=True);"
        " sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        assert frozen.remove_stale_extractions(tmp_path) == []
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert frozen.remove_stale_extractions(tmp_path) == [folder]


@pytest.mark.parametrize("name", ["_MEIabc123", "other"])
def test_a_folder_without_our_marker_stays(tmp_path: Path, name: str) -> None:
    folder = extracted(tmp_path, name, marked=False)
    assert frozen.remove_stale_extractions(tmp_path) == []
    assert folder.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = extracted(tmp_path / "elsewhere", "precious", marked=True)
    (tmp_path / "_MEIlink00").symlink_to(target)
    assert frozen.remove_stale_extractions(tmp_path) == []
    assert (target / "grpc" / "cygrpc.so").exists()


def test_a_marker_that_is_a_link_is_none(tmp_path: Path) -> None:
    folder = extracted(tmp_path, "_MEIabc123", marked=False)
    (folder / ".claraedge").symlink_to("/etc/hostname")
    assert frozen.remove_stale_extractions(tmp_path) == []
    assert folder.exists()


def test_another_users_extraction_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = extracted(tmp_path, "_MEIabc123", marked=True)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert frozen.remove_stale_extractions(tmp_path) == []
    assert folder.exists()


def test_only_the_one_file_form_has_an_extraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert frozen.extraction() is None  # from source
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(
        sys, "_MEIPASS", str(tmp_path / "claraedge-dir" / "_internal"), raising=False
    )
    assert frozen.extraction() is None
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path / "_MEIabc123"), raising=False)
    assert frozen.extraction() == tmp_path / "_MEIabc123"


# The child must see a parent that runs its own program; an interpreter started by an interpreter
# stands for the two processes of the binary.
_CHILD = """
import pathlib, sys
sys.frozen, sys._MEIPASS = True, sys.argv[1]
from claraedge.appliance import frozen
frozen.die_with_parent()
print("alive", flush=True)
import signal
signal.pause()
"""
_PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]])
print(child.pid, flush=True)
child.wait()
"""


def test_the_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path / "_MEIabc123"), _CHILD],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    words = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    child = int((words - {"alive"}).pop())
    watch = os.pidfd_open(child)
    parent.kill()
    parent.wait()
    try:
        assert select.select([watch], [], [], 10)[0], "the child outlived its parent"
    finally:
        os.close(watch)
        parent.stdout.close()


def test_a_child_whose_parent_was_gone_already_ends(tmp_path: Path) -> None:
    # `env` runs another program than the interpreter, as init does for an orphan.
    orphan = subprocess.run(
        ["setpriv", "--", "sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", _CHILD,
         str(tmp_path / "_MEIabc123")],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert orphan.stdout == ""
    assert orphan.returncode == 128 + signal.SIGTERM
