"""A folder that others may write to is read without following a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claraedge.fs.listing import inside, open_file, status_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_bytes(b"secret")
    root = tmp_path / "root"
    for name in ("a/1", "a/b/2", "a/b-", "a/b.x", "a0", "c"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    (root / "link").symlink_to(secret / "key")
    (root / "folder-link").symlink_to(secret)
    (root / "a" / "up").symlink_to("..")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"\xff")).write_bytes(b"")
    (root / "empty").mkdir()
    return root


def names(folder: Path, name: str = "", *, deep: bool = False, after: str = "") -> list[str]:
    return [path for path, _ in inside(folder, name, deep=deep, after=after)]


def test_lists_are_ordered_and_continue_after_any_entry(folder: Path) -> None:
    assert names(folder) == ["a", "a0", "c", "empty"]
    assert names(folder, "a") == ["a/1", "a/b-", "a/b.x", "a/b"]
    whole = ["a/1", "a/b-", "a/b.x", "a/b/2", "a0", "c"]
    assert names(folder, deep=True) == whole
    assert names(folder, "a", deep=True) == whole[:4]
    for found, deep in ((whole, True), (names(folder), False)):
        for number, name in enumerate(found):
            assert names(folder, deep=deep, after=name) == found[number + 1 :]


@pytest.mark.parametrize(
    "name", ["link", "folder-link/key", "folder-link", "a/up/c", "pipe", "x", "a/x", "c/x"]
)
def test_links_and_what_is_no_file_count_as_missing(folder: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        open_file(folder, name)
    with pytest.raises(FileNotFoundError):
        status_of(folder, name)
    if "/" not in name:
        with pytest.raises(FileNotFoundError):
            names(folder, name)


def test_files_and_folders(folder: Path) -> None:
    with open_file(folder, "a/b/2") as file:
        assert file.read() == b"a/b/2"
    assert status_of(folder, "c").st_size == 1
    assert status_of(folder, "").st_ino == folder.stat().st_ino
    for name in ("a", "empty"):
        with pytest.raises(FileNotFoundError):
            open_file(folder, name)
