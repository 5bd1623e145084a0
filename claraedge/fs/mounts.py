"""Which file system a folder lies on, and whether the kernel hears of all that happens there.

inotify tells of what goes through this kernel. What another machine writes to a share, or a FUSE
program puts behind the kernel's back, makes no event: such folders are looked at instead.
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

#: Shared with other machines, or with the host of a virtual one. A name ends at its first dot.
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
        # nothing is mounted there yet; what will be is mostly a share
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
    """What is mounted, for people: a device or `server:/export`."""

    @property
    def sends_events(self) -> bool:
        return sends_events(self.fstype)


def parse(text: bytes) -> tuple[Mount, ...]:
    """The mounts of a mountinfo, in its order; lines that are none are left out. Pure."""
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
    """Whether every change on such a file system passes this kernel, so that inotify tells of it.

    True for what is unknown: most are local, and the rescan sees what no event told. True for
    "fuseblk" as well (NTFS and exFAT on a USB stick): a FUSE program writes there only what the
    kernel asks it to, on a disk that nobody else has. True for "overlay": its layers may not be
    written to from beside it.
    """
    return fstype.partition(".")[0] not in _SHARED


def mount_of(folder: Path) -> Mount | None:
    """What a folder lies on; None where the system does not tell. Blocking.

    Opens the folder, so that what mounts itself at its first use is mounted. Raises OSError where
    it cannot be opened, as `trusted.open_folder`.
    """
    descriptor = open_folder(folder.absolute())
    try:
        return mount_of_open(descriptor)
    finally:
        os.close(descriptor)


def mount_above(folder: Path) -> Mount | None:
    """What a folder seems to lie on by its path alone; None where the system does not tell.

    Touches nothing of it, so that it returns also where its server is dead. Behind a link it is
    wrong. Blocking, for no longer than it takes to read a file of the kernel's.
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
    """What an open file or folder lies on; None where the system does not tell. Blocking.

    The kernel says which mount it is. The longest mount point that fits its path would be a guess:
    wrong behind links, and below a mount that a later one covers.
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


@lru_cache(maxsize=1)  # asked of file after file, while the mounts stay what they are
def _by_id(text: bytes) -> Mapping[int, Mount]:
    return {mount.id: mount for mount in parse(text)}
