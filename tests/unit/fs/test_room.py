"""What a disk has no room for is not begun."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from claraedge.fs import room
from claraedge.fs.mounts import Mount
from claraedge.fs.room import NoRoomError, need_room, reason_of
from claraedge.fs.trees import copy_tree

_MIB = 1 << 20


class Disk:
    """Of so many free bytes; `size` 0: it does not say."""

    def __init__(self, free: int, size: int = 1 << 40) -> None:
        self.f_frsize = 4096
        self.f_bavail = free // 4096
        self.f_blocks = size // 4096


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """All disks have one MiB left, and are mounted below /disk."""
    mount = Mount(id=1, point=b"/disk", fstype="ext4", source="/dev/sda")
    monkeypatch.setattr(os, "statvfs", lambda _: Disk(_MIB))
    monkeypatch.setattr(room, "mount_of", lambda _: mount)


@pytest.mark.usefixtures("small")
def test_too_little_room_is_reported_with_figures_and_the_place(tmp_path: Path) -> None:
    need_room(tmp_path, _MIB, source=0)
    with pytest.raises(NoRoomError) as raised:
        need_room(tmp_path, 3 * _MIB + 1, source=0)
    assert raised.value.errno == errno.ENOSPC
    assert reason_of(raised.value) == (
        "the disk of /disk is full; free some space there: 4 MiB are needed, and 1 MiB are free"
    )


@pytest.mark.usefixtures("small")
def test_a_disk_that_does_not_say_its_size_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: Disk(0, 0))
    need_room(tmp_path, 1 << 40, source=0)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("fstype", "same", "fits"),
    [("btrfs", True, True), ("btrfs", False, False), ("ext4", True, False)],
)
def test_where_copies_share_their_blocks_none_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fstype: str, same: bool, fits: bool
) -> None:
    mount = Mount(id=1, point=b"/disk", fstype=fstype, source="/dev/sda")
    monkeypatch.setattr(room, "mount_of", lambda _: mount)
    source = tmp_path.stat().st_dev if same else 0
    if fits:
        need_room(tmp_path, 2 * _MIB, source=source)
        return
    with pytest.raises(NoRoomError):
        need_room(tmp_path, 2 * _MIB, source=source)


@pytest.mark.usefixtures("small")
def test_of_a_tree_that_has_no_room_nothing_is_copied(tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / f"tree/{number}/scan.dcm"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(_MIB // 2))
    with pytest.raises(NoRoomError, match="2 MiB are needed"):
        copy_tree(tmp_path / "tree", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    # What gets a second name instead needs none; what has one already is copied.
    copy_tree(tmp_path / "tree", tmp_path / "links", link_own=os.geteuid())
    with pytest.raises(NoRoomError):
        copy_tree(tmp_path / "tree", tmp_path / "copy", link_own=os.geteuid())


@pytest.mark.usefixtures("small")
def test_a_file_too_large_for_fat_is_refused_before_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: Disk(1 << 40))
    need_room(tmp_path, 1 << 33, source=0, largest=1 << 33)  # ext4
    mount = Mount(id=1, point=b"/stick", fstype="vfat", source="/dev/sdb1")
    monkeypatch.setattr(room, "mount_of", lambda _: mount)
    need_room(tmp_path, 1 << 33, source=0, largest=2**32 - 1)
    with pytest.raises(OSError, match="File too large") as raised:
        need_room(tmp_path, 1 << 33, source=0, largest=2**32)
    assert reason_of(raised.value).startswith("File too large: /stick; its file system accepts no")


@pytest.mark.parametrize(
    ("code", "helps"),
    [
        (errno.EIO, "or the server of that share"),
        (errno.EROFS, "mount it for writing"),
        (errno.EACCES, "let the user of claraedge read and write there"),
        (errno.EBUSY, "Device or resource busy: /a/\\xff"),
    ],
)
def test_a_reason_says_what_helps_and_is_text(code: int, helps: str) -> None:
    reason = reason_of(OSError(code, os.strerror(code), "/a/\udcff"))
    assert reason.endswith(helps) or helps in reason
    assert "/a/\\xff" in reason
