"""A tree that is built: readable for nobody until it is finished, then durable without a walk."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from claraedge.blocking import CancelFlag, CancelledWorkError
from claraedge.fs import files
from claraedge.fs.trees import Building
from claraedge.fs.trusted import opened


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "top").mkdir(0o700)
    with opened(tmp_path / "top") as root:
        yield root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(2_000_001))
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    return path


def test_what_is_copied_is_whole_and_described(root: Path, source: Path) -> None:
    building = Building(root, 0o750)
    made = building.copy(b"a/b/tool", source, mode=0o755, flag=CancelFlag())
    building.write(b"a/note.json", b"{}")
    building.finish()
    content = source.read_bytes()
    assert (made.path, made.size) == (Path("a/b/tool"), 2_000_001)
    assert made.sha256 == hashlib.sha256(content).hexdigest()
    assert building.size == 2_000_001 + 2
    copied = root / made.path
    assert (copied.read_bytes(), (root / "a/note.json").read_bytes()) == (content, b"{}")
    assert copied.stat().st_mtime_ns == 2_000_000_002
    modes = {str(p.relative_to(root)): stat.S_IMODE(p.stat().st_mode) for p in root.rglob("*")}
    assert modes == {"a": 0o750, "a/b": 0o750, "a/b/tool": 0o750, "a/note.json": 0o640}
    assert stat.S_IMODE(root.stat().st_mode) == 0o750


def test_all_is_synced_with_its_mode_from_the_bottom_up_and_nothing_is_walked(
    root: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    building = Building(root, 0o755)
    top = root.readlink()
    synced = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        status = os.fstat(descriptor)
        synced.append((str(path.relative_to(top)), oct(stat.S_IMODE(status.st_mode))))
        if path.name == "f":
            assert status.st_mtime_ns == 2_000_000_002
        assert stat.S_IMODE(top.stat().st_mode) == 0o700 or path == top
        fsync(descriptor)

    def no_walk(*_: object) -> None:
        pytest.fail("a folder was read")

    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr(os, "scandir", no_walk)
    monkeypatch.setattr(os, "listdir", no_walk)
    for path in (b"a/b/f", b"c/f", b"a/f"):  # in any order
        building.copy(path, source, mode=0o644, flag=CancelFlag())
    building.write(b"g", b"1")
    building.finish()
    assert synced == [
        ("a/b/f", "0o644"),
        ("c/f", "0o644"),
        ("a/f", "0o644"),
        ("g", "0o644"),
        ("c", "0o755"),
        ("a/b", "0o755"),
        ("a", "0o755"),
        (".", "0o755"),
    ]


def test_a_folder_that_is_not_new_is_refused(root: Path) -> None:
    """A user who may write to the folder above can put another one of ours in its place."""
    (root / "left").mkdir()
    with pytest.raises(OSError, match="was replaced while it was made") as raised:
        Building(root, 0o755)
    assert raised.value.errno == errno.EAGAIN


def test_nobody_else_can_enter_it_before_it_is_finished(root: Path) -> None:
    root.chmod(0o2777)
    building = Building(root, 0o770)
    assert stat.S_IMODE(root.stat().st_mode) == 0o2700
    building.finish()
    assert stat.S_IMODE(root.stat().st_mode) == 0o2770


def test_links_and_pipes_are_not_copied_and_names_not_shared(root: Path, source: Path) -> None:
    building = Building(root, 0o755)
    (source.parent / "link").symlink_to(source)
    os.mkfifo(source.parent / "pipe")
    for name in ("link", "pipe", "missing"):
        with pytest.raises(OSError):
            building.copy(b"a", source.parent / name, mode=0o644, flag=CancelFlag())
    building.write(b"a", b"1")
    with pytest.raises(FileExistsError):
        building.write(b"a", b"2")
    made = building.copy(b"a", source, mode=0o644, flag=CancelFlag())
    assert (made.path, (root / "a").read_bytes()) == (Path("a~2"), b"1")


def test_a_cancelled_copy_ends(root: Path, source: Path) -> None:
    flag = CancelFlag()
    flag.set()
    with pytest.raises(CancelledWorkError):
        Building(root, 0o755).copy(b"a", source, mode=0o644, flag=flag)


@pytest.mark.parametrize("drops", [True, False])
def test_both_files_leave_the_page_cache_where_that_is_wanted(
    root: Path, source: Path, monkeypatch: pytest.MonkeyPatch, drops: bool
) -> None:
    dropped = []

    def noting(descriptor: int) -> None:
        dropped.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(files, "uncache", noting)
    Building(root, 0o755).copy(b"a", source, mode=0o644, flag=CancelFlag(), drop_cache=drops)
    assert dropped == (["source", "a"] if drops else [])
