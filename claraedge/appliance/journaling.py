"""Detects file systems without a journal, on which a power cut may lose durable data.

A rename is not atomic there, and a file that fsync made durable may be lost with a parent folder.
The results in an outbox on such a disk are then lost, although the database records their delivery.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from claraedge.fs.mounts import Mount, mount_above

_log = logging.getLogger(__name__)

#: File systems that never have a journal.
_WITHOUT = frozenset(("exfat", "ext2", "hfs", "minix", "msdos", "sysv", "udf", "ufs", "vfat"))


def warn(folders: Iterable[Path]) -> None:
    """Logs one warning for each file system without a journal on which one of the folders lies.

    Blocks. A folder on a network share is not accessed, because its server may be dead.
    """
    reported: set[int] = set()
    for folder in folders:
        mount = mount_above(folder)
        if mount is None or mount.id in reported or not _lacks(mount, folder, Path("/")):
            continue
        reported.add(mount.id)
        _log.warning(
            "%s lies on a file system without a journal (%s): a power cut may lose results and"
            " originals that were there; put it on ext4 with a journal, XFS or Btrfs (ext4 gets"
            " one, unmounted, by `sudo tune2fs -O has_journal DEVICE`)",
            folder,
            mount.fstype,
        )


def _lacks(mount: Mount, folder: Path, root: Path) -> bool:
    """Returns whether a mount has no journal; False if the kernel does not report it.

    The files of the kernel are read below `root`.
    """
    if mount.fstype != "ext4":
        return mount.fstype in _WITHOUT
    try:
        device = folder.stat().st_dev
        link = (root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}").readlink()
        options = (root / "proc/fs/ext4" / link.name / "options").read_text("ascii").split()
    except OSError:
        return False
    # The option `data=` (how data relates to the journal) is listed for each that has a journal.
    return not any(option.startswith("data=") for option in options)
