"""Finds the file system that a folder lies on, and whether the kernel sees all changes in it.

inotify reports changes that go through this kernel. What another machine writes to a share, or what
a FUSE program changes by itself, causes no event: such folders are polled instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from claraedge.fs.trusted import open_folder

_MOUNTS = Path("/proc/self/mountinfo")
_DESCRIPTORS = Path("/proc/self/fdinfo")

#: Types of file systems shared with other machines, or with the host of a virtual one. Only the
#: part of a type before its first dot is compared.
_SHARED = frozenset(
    {
        # network
        "9p", "afs", "ceph", "cifs", "coda", "davfs", "ncpfs", "nfs", "nfs4", "smb3", "smbfs",
        # clusters
        "acfs", "beegfs", "gfs2", "gpfs", "lustre", "ocfs2", "orangefs", "panfs", "pvfs2", "wekafs",
        # the host's folders in a virtual machine
        "hostfs", "prl_fs", "vboxsf", "virtiofs", "vmhgfs",
        # sshfs, rclone, glusterfs, mergerfs: "fuse" or "fuse.NAME". Not "fuseblk": see below
        "fuse",
        # not mounted yet; what will be mounted is usually a share
        "autofs",
    }
)  # fmt: skip

_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A line of mountinfo, proc_pid_mountinfo(5)."""

    id: int
    point: bytes
    fstype: str
    source: str
    """What is mounted, as text for people: a device or `server:/export`."""

    @property
    def sends_events(self) -> bool:
        """Whether all changes on it pass this kernel; see the function of the same name."""
        return sends_events(self.fstype)


def parse(text: bytes) -> tuple[Mount, ...]:
    """Parses the text of a mountinfo file, in its order; skips invalid lines. Pure."""
    return tuple(_parse(text))


def _parse(text: bytes) -> Iterator[Mount]:
    for line in text.split(b"\n"):
        place, _, rest = line.partition(b" - ")
        fields, kind = place.split(b" "), rest.split(b" ")
        if len(fields) < 6 or len(kind) < 2 or not fields[0].isdigit():
            continue
        yield Mount(
            id=int(fields[0]),
            point=_unescaped(fields[4]),
            fstype=kind[0].decode("utf-8", "backslashreplace"),
            source=_unescaped(kind[1]).decode("utf-8", "backslashreplace"),
        )


def _unescaped(field: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), field)


def sends_events(fstype: str) -> bool:
    """Whether every change on a file system of this type passes this kernel, and so its inotify.

    True for unknown types: most are local, and the rescan finds what no event reported. True for
    "fuseblk" as well (NTFS and exFAT on a USB stick): a FUSE program writes there only what the
    kernel asks it to, on a disk that nobody else uses. True for "overlay": writing to its layers
    directly is not allowed.
    """
    return fstype.partition(".")[0] not in _SHARED


def mount_of(folder: Path) -> Mount | None:
    """Returns the mount that a folder lies on; None where that is unknown. Blocking.

    Opens the folder, so that an automount is mounted. Raises OSError where the folder cannot be
    opened, as `trusted.open_folder` does.
    """
    descriptor = open_folder(folder.absolute())
    try:
        return mount_of_open(descriptor)
    finally:
        os.close(descriptor)


def mount_above(folder: Path) -> Mount | None:
    """Returns the mount that a folder seems to lie on by its path; None where that is unknown.

    Does not access the folder, so that it returns even if the folder's server is dead. The result
    is wrong behind a link. Blocking, only to read a file of the kernel.
    """
    try:
        mounts = _by_id(_MOUNTS.read_bytes())
    except OSError:
        return None
    path = os.fsencode(folder)
    above = [m for m in mounts.values() if path == m.point or path.startswith(_inside(m.point))]
    return max(above, key=lambda m: (len(m.point), m.id), default=None)


def _inside(point: bytes) -> bytes:
    return point.rstrip(b"/") + b"/"


def mount_of_open(descriptor: int) -> Mount | None:
    """Returns the mount that an open file or folder lies on; None where that is unknown. Blocking.

    The kernel names the mount. The longest mount point that fits the path would be a guess: wrong
    behind links, and below a mount that a later one covers.
    """
    try:
        information = (_DESCRIPTORS / str(descriptor)).read_bytes()
        mounts = _by_id(_MOUNTS.read_bytes())
    except OSError:
        return None
    found = re.search(rb"^mnt_id:\s*(\d+)$", information, re.MULTILINE)
    if found is None:
        return None
    return mounts.get(int(found[1]))


@lru_cache(maxsize=1)  # called for one file after another, while the mounts rarely change
def _by_id(text: bytes) -> Mapping[int, Mount]:
    return {mount.id: mount for mount in parse(text)}
