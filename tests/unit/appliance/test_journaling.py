"""A file system without a journal is reported once, at the start."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from claraedge.appliance import journaling
from claraedge.fs.mounts import Mount


def _mount(fstype: str) -> Mount:
    return Mount(id=1, point=b"/", fstype=fstype, source="/dev/x")


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """The files of a kernel that has this folder's file system mounted from `dm-3`."""
    device = tmp_path.stat().st_dev
    names = tmp_path / "sys/dev/block"
    names.mkdir(parents=True)
    (names / f"{os.major(device)}:{os.minor(device)}").symlink_to("../../devices/virtual/dm-3")
    (tmp_path / "proc/fs/ext4/dm-3").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("fstype", "lacks"),
    [("ext2", True), ("vfat", True), ("exfat", True)]
    + [(name, False) for name in ("xfs", "btrfs", "fuseblk", "zfs", "tmpfs", "overlay", "nfs4")],
)
def test_types_that_have_a_journal_or_none(kernel: Path, fstype: str, lacks: bool) -> None:
    assert journaling._lacks(_mount(fstype), kernel, kernel) is lacks


@pytest.mark.parametrize(
    ("options", "lacks"),
    [
        ("rw\nbarrier\ndata=ordered\n", False),
        ("rw\nbarrier\ndata=journal\n", False),
        ("rw\nnojournal_checksum\nbarrier\n", True),
    ],
)
def test_ext4_has_one_or_not(kernel: Path, options: str, lacks: bool) -> None:
    (kernel / "proc/fs/ext4/dm-3/options").write_text(options)
    assert journaling._lacks(_mount("ext4"), kernel, kernel) is lacks


def test_a_kernel_that_does_not_report_it(kernel: Path) -> None:
    assert not journaling._lacks(_mount("ext4"), kernel, kernel)


def test_each_file_system_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mounts = {Path("/state"): None, Path("/inbox"): _mount("vfat"), Path("/outbox"): _mount("vfat")}
    monkeypatch.setattr(journaling, "mount_above", mounts.get)
    with caplog.at_level(logging.WARNING):
        journaling.warn(mounts)
    (record,) = caplog.records
    assert "/inbox lies on a file system without a journal (vfat)" in record.getMessage()
    assert "tune2fs -O has_journal" in record.getMessage()
