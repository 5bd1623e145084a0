"""File systems without a journal, on which a power cut may undo what was durable.

A rename there is not one step, and what fsync makes durable may be lost with a folder above it.
What an outbox on such a disk held is then gone, while the database says that it was delivered.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from claraedge.fs.mounts import Mount, mount_above

_log = logging.getLogger(__name__)

#: They have none at all.
_WITHOUT = frozenset(("exfat", "ext2", "hfs", "minix", "msdos", "sysv", "udf", "ufs", "vfat"))


def warn(folders: Iterable[Path]) -> None:
    """Tells the daemon's journal once of each such file system that one of the folders lies on.

    Blocking. A folder on a share is not touched: its server may be dead.
    """
    told: set[int] = set()
    for folder in folders:
        mount = mount_above(folder)
        if mount is None or mount.id in told or not _lacks(mount, folder, Path("/")):
            continue
        told.add(mount.id)
        _log.warning(
            "%s lies on a file system without a journal (%s): a power cut may lose results and"
            " originals that were there; put it on ext4 with a journal, XFS or Btrfs (ext4 gets"
            " one, unmounted, by `sudo tune2fs -O has_journal DEVICE`)",
            folder,
            mount.fstype,
        )


def _lacks(mount: Mount, folder: Path, root: Path) -> bool:
    """Whether a mount has no journal; False where the kernel, whose files lie below `root`, does
    not tell.
    """
    if mount.fstype != "ext4":
        return mount.fstype in _WITHOUT
    try:
        device = folder.stat().st_dev
        link = (root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}").readlink()
        options = (root / "proc/fs/ext4" / link.name / "options").read_text("ascii").split()
    except OSError:
        return False
    # How data is written along with the journal: said of each that has one.
    return not any(option.startswith("data=") for option in options)
