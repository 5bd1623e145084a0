"""Which extractions are removed and which stay, with folders as the one-file form leaves them."""

from __future__ import annotations

import os
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
    while frozen._locks:
        os.close(frozen._locks.pop())


def extracted(parent: Path, name: str, *, marked: bool) -> Path:
    folder = parent / name
    (folder / "grpc").mkdir(parents=True)
    (folder / "grpc" / "cygrpc.so").write_bytes(b"\x7fELF")
    if marked:
        (folder / ".claraedge").touch()
    return folder


def test_an_extraction_whose_process_is_gone_is_removed(tmp_path: Path) -> None:
    stale = extracted(tmp_path, "claraedge-abc123", marked=True)
    assert frozen.remove_stale_extractions(tmp_path) == [stale]
    assert list(tmp_path.iterdir()) == []


def test_an_extraction_in_use_stays(tmp_path: Path) -> None:
    used = extracted(tmp_path, "claraedge-abc123", marked=False)
    frozen.lock_extraction(used)
    assert frozen.remove_stale_extractions(tmp_path) == []
    assert (used / "grpc" / "cygrpc.so").exists()


def test_an_extraction_locked_by_another_process_stays_until_that_is_killed(tmp_path: Path) -> None:
    folder = extracted(tmp_path, "claraedge-abc123", marked=False)
    code = (
        "import sys, pathlib; from claraedge.appliance import frozen;"
        " frozen.lock_extraction(pathlib.Path(sys.argv[1])); print('locked', flush=True);"
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
        assert holder.stdout.readline() == "locked\n"
        assert frozen.remove_stale_extractions(tmp_path) == []
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert frozen.remove_stale_extractions(tmp_path) == [folder]


@pytest.mark.parametrize("name", ["claraedge-abc123", "other"])
def test_a_folder_without_our_marker_stays(tmp_path: Path, name: str) -> None:
    folder = extracted(tmp_path, name, marked=False)
    assert frozen.remove_stale_extractions(tmp_path) == []
    assert folder.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = extracted(tmp_path / "elsewhere", "precious", marked=True)
    (tmp_path / "claraedge-link00").symlink_to(target)
    assert frozen.remove_stale_extractions(tmp_path) == []
    assert (target / "grpc" / "cygrpc.so").exists()


def test_a_marker_that_is_a_link_is_none(tmp_path: Path) -> None:
    folder = extracted(tmp_path, "claraedge-abc123", marked=False)
    (folder / ".claraedge").symlink_to("/etc/hostname")
    assert frozen.remove_stale_extractions(tmp_path) == []
    assert folder.exists()


def test_another_users_extraction_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = extracted(tmp_path, "claraedge-abc123", marked=True)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert frozen.remove_stale_extractions(tmp_path) == []
    assert folder.exists()


def test_only_the_one_file_form_has_an_extraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert frozen.extraction() is None  # from source
    folder = tmp_path / "claraedge-abc123"
    folder.mkdir()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "_MEIPASS", str(folder / "_internal"), raising=False)
    assert frozen.extraction() is None  # the folder form, whatever it is named
    (folder / frozen.MARKER).touch()
    assert frozen.extraction() == folder


_PROGRAM = """
import pathlib, signal, sys
sys.frozen, sys._MEIPASS = True, sys.argv[1]
from claraedge.appliance import frozen
frozen.remove_at_end()
frozen.lock_extraction()
print("locked", flush=True)
if len(sys.argv) > 2:
    signal.pause()
"""


@pytest.mark.parametrize(
    ("number", "code", "left"),
    [
        (None, 0, False),
        (signal.SIGTERM, 143, False),
        (signal.SIGHUP, 129, False),
        (signal.SIGKILL, -9, True),
    ],
)
def test_the_unpacked_folder_goes_with_its_process(
    tmp_path: Path, number: int | None, code: int, left: bool
) -> None:
    folder = extracted(tmp_path, "claraedge-abc123", marked=False)
    (folder / frozen.MARKER).touch()
    waits = [] if number is None else ["wait"]
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(folder / "_internal"), *waits],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    if number is not None:
        process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == code
    assert folder.exists() is left
    assert frozen.remove_stale_extractions(tmp_path) == ([folder] if left else [])


def test_the_freezer_and_the_program_know_the_same_marker() -> None:
    freezer = Path(__file__).resolve().parents[3] / "build" / "lib" / "freeze.py"
    assert f'MARKER = "{frozen.MARKER}"' in freezer.read_text()
