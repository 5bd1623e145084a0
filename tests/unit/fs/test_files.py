"""Writing, copying and removing files: old or new, never half; links are never followed."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from claraedge.blocking import CancelFlag, CancelledWorkError
from claraedge.fs import files
from claraedge.fs.removal import remove


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_replace_leaves_the_new_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    files.replace(path, b"old", mode=0o644)
    files.replace(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    assert tree(tmp_path) == ["result.json"]


def test_a_replace_that_fails_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    files.replace(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = descriptors()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert tree(tmp_path) == ["result.json"]
    assert descriptors() <= before  # those of other tests may close meanwhile


def test_replace_is_durable_before_it_is_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("fsync folder" if folder else "fsync file")
        fsync(descriptor)

    def noting_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    files.replace(path, b"1")
    assert events == ["fsync file", "rename", "fsync folder"]


def test_append_adds_and_keeps_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "x"
    before = descriptors()
    files.append(path, [])
    assert path.read_bytes() == b""
    files.append(path, [bytearray(b"ab")])
    files.append(path, [b"", b"c", b"d", b""])
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"abcd", 0o600)
    assert descriptors() <= before  # those of other tests may close meanwhile


def test_more_chunks_than_one_call_writes_are_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writev = os.writev

    def short(descriptor: int, chunks: list[memoryview]) -> int:
        """As on a disk that becomes full, or of a call that a signal interrupts."""
        return writev(descriptor, [b"".join(chunks)[:1000]])

    monkeypatch.setattr(files.os, "writev", short)
    chunks = [bytes([number % 251]) * (number % 7) for number in range(5000)]
    files.append(tmp_path / "x", chunks)
    assert (tmp_path / "x").read_bytes() == b"".join(chunks)


def test_append_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / "x").symlink_to("other")
    with pytest.raises(OSError, match="symbolic links"):
        files.append(tmp_path / "x", [b"1"])
    assert (tmp_path / "other").read_text() == "kept"


def test_make_folders_makes_all_and_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    mode = (tmp_path / "a").stat().st_mode
    files.make_folders(tmp_path / "a" / "b" / "c")
    files.make_folders(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a").stat().st_mode == mode
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o700


def test_a_copy_has_bytes_time_and_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "t"
    source.write_bytes(os.urandom(3_000_001))
    os.utime(source, ns=(1_000_000_001, 2_000_000_002))
    assert files.copy_file(source, target, mode=0o640) == 3_000_001
    assert target.read_bytes() == source.read_bytes()
    assert (target.stat().st_mtime_ns, target.stat().st_mode & 0o777) == (2_000_000_002, 0o640)
    assert target.stat().st_ino != source.stat().st_ino


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "missing"])
def test_only_regular_files_are_copied_and_no_copy_hangs(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "s"
    if kind == "link":
        (tmp_path / "real").write_text("1")
        source.symlink_to("real")
    elif kind == "fifo":
        os.mkfifo(source)
    elif kind == "folder":
        source.mkdir()
    before = descriptors()
    with pytest.raises(OSError):
        files.copy_file(source, tmp_path / "t", mode=0o600)
    assert not (tmp_path / "t").exists()
    assert descriptors() <= before  # those of other tests may close meanwhile


@pytest.mark.parametrize("last", [b"", b"end"], ids=["ends in a hole", "ends in data"])
def test_a_copy_keeps_holes(tmp_path: Path, last: bytes) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    with source.open("wb") as file:
        file.write(b"begin")
        file.seek(1 << 30)
        file.write(b"middle")
        file.truncate(1 << 40)
        if last:
            file.seek(0, os.SEEK_END)
            file.write(last)
    size = files.copy_file(source, target, mode=0o600)
    assert size == source.stat().st_size == target.stat().st_size
    assert files.allocated(target.stat()) <= 1 << 20
    with target.open("rb") as file:
        assert file.read(8) == b"begin\0\0\0"
        file.seek((1 << 30) - 2)
        assert file.read(10) == b"\0\0middle\0\0"
        file.seek(1 << 40)
        assert file.read() == last


def test_a_copy_never_writes_over_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("new")
    (tmp_path / "t").write_text("old")
    with pytest.raises(FileExistsError):
        files.copy_file(tmp_path / "s", tmp_path / "t", mode=0o600)
    assert (tmp_path / "t").read_text() == "old"


def test_a_copy_that_is_cancelled_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_reflink(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(files.fcntl, "ioctl", no_reflink)
    (tmp_path / "s").write_bytes(b"x" * 100)
    flag = CancelFlag()
    flag.set()
    before = descriptors()
    with pytest.raises(CancelledWorkError):
        files.copy_file(tmp_path / "s", tmp_path / "t", mode=0o600, flag=flag)
    assert tree(tmp_path) == ["s"]
    assert descriptors() <= before  # those of other tests may close meanwhile


def test_a_link_where_it_can_be_and_else_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "s"
    source.write_text("1")
    source.chmod(0o644)
    files.link_or_copy(source, tmp_path / "linked")
    assert (tmp_path / "linked").stat().st_ino == source.stat().st_ino

    def other_file_system(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_file_system)
    files.link_or_copy(source, tmp_path / "copied")
    copied = (tmp_path / "copied").stat()
    assert (copied.st_ino != source.stat().st_ino, copied.st_mode & 0o777) == (True, 0o644)


def test_remove_opens_what_was_closed_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("1")
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "f").write_text("1")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "a" / "b").chmod(0o000)
    (root / "a").chmod(0o300)
    remove(root)
    assert tree(tmp_path) == ["outside", "outside/kept"]


def test_remove_accepts_files_links_and_missing_paths(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("1")
    (tmp_path / "link").symlink_to("folder")
    for name in ("file", "link", "missing"):
        remove(tmp_path / name)
    assert tree(tmp_path) == ["folder"]


def deep(top: Path, levels: int) -> Path:
    """A chain of folders with a closed one and a file at its end; a path is too short for it."""
    top.mkdir()
    inner = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=inner)
        (Path(f"/proc/self/fd/{inner}") / "file").write_bytes(b"x")
        outer, inner = inner, os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.mkdir("closed", 0o500, dir_fd=inner)
    os.close(inner)
    return top


def test_a_tree_of_any_depth_is_removed(tmp_path: Path) -> None:
    before = descriptors()
    remove(deep(tmp_path / "deeper", 3000))
    remove(deep(tmp_path / "deep", 1200))  # shutil's gives up at a thousand
    assert list(tmp_path.iterdir()) == []
    assert descriptors() <= before  # those of other tests may close meanwhile


def test_a_file_system_without_fsync_for_folders_is_synced_as_far_as_it_goes() -> None:
    files.sync_folder(Path("/proc/self"))  # EINVAL, as on vboxsf
    with pytest.raises(FileNotFoundError):
        files.sync_folder(Path("/proc/nothing"))


@pytest.mark.parametrize("lacks", [False, True])
def test_a_new_name_replaces_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: bool
) -> None:
    def not_on_this_file_system(*_: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1

    if lacks:
        monkeypatch.setattr(files, "_renameat2", not_on_this_file_system)
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        files.rename_new(tmp_path / "a", tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        files.rename_new(tmp_path / "none", tmp_path / "c")
    files.rename_new(tmp_path / "a", tmp_path / "c")
    assert (tree(tmp_path), (tmp_path / "b").read_text()) == (["b", "c"], "b")


def test_foreign_owners_are_seen_and_own_folders_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("1")
    (tmp_path / "a").chmod(0o300)
    assert files.has_foreign(tmp_path) is False
    assert (tmp_path / "a").stat().st_mode & 0o700 == 0o700
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert files.has_foreign(tmp_path) is True


def test_a_full_disk_is_known_by_its_number() -> None:
    assert files.is_full(OSError(errno.ENOSPC, ""))
    assert files.is_full(OSError(errno.EDQUOT, ""))
    assert not files.is_full(OSError(errno.EIO, ""))


def test_sync_tree_meets_every_file_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("1")
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    synced: set[str] = set()
    fsync = os.fsync
    lock = threading.Lock()

    def noting(descriptor: int) -> None:
        with lock:
            synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    files.sync_tree(tmp_path)
    assert synced == {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "f")}


def test_a_tree_is_finished_in_one_walk_from_the_bottom_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is synced has its mode already, and a folder comes after all that lies in it."""
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    for name in ("a/b/f", "a/g", "h"):
        (top / name).write_text("1")
        (top / name).chmod(0o100)
    (top / "link").symlink_to("a")
    (top / "a" / "b").chmod(0o000)
    read, synced, met = [], [], []
    scandir, fsync = os.scandir, os.fsync

    def noting_scandir(descriptor: int) -> object:
        read.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        return scandir(descriptor)

    def noting_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        synced.append((str(path.relative_to(tmp_path)), oct(mode)))
        fsync(descriptor)

    monkeypatch.setattr(os, "scandir", noting_scandir)
    monkeypatch.setattr(os, "fsync", noting_fsync)
    files.finish_tree(top, 0o755, lambda place: met.append(place.name))
    assert read == [top, top / "a", top / "a" / "b"]
    assert synced == [
        ("top/a/b/f", "0o544"),
        ("top/a/b", "0o755"),
        ("top/a/g", "0o544"),
        ("top/a", "0o755"),
        ("top/h", "0o544"),
        ("top", "0o755"),
    ]
    assert met == [b"top", b"a", b"b", b"f", b"g", b"h", b"link"]
