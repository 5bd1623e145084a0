#!/usr/bin/python3
"""A share that a user without privileges can mount: by FUSE, with rules that a test writes.

It is not Samba's, nor NFS, nor FAT: it answers as they answer, so that one machine without any of
them can show what claraedge makes of it. The kernel checks permissions by the owners and modes that
it shows (`default_permissions`), as it does on a CIFS mount.

    /usr/bin/python3 share.py BACKING MOUNT RULES     # python3-fusepy

RULES is a JSON file, read again at each call: `uid`, `gid` (shown for everything), `refuse` (a name
of an operation to the name of an errno), `names`: "windows" (what SMB and FAT refuse, and case does
not count), `granularity` (seconds of a time), `largest` (bytes of a file), `read_only`.
"""

# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH115, PTH118, PTH123, PTH208, PTH211
from __future__ import annotations

import errno
import json
import os
import stat
import sys
from typing import Any

from fusepy import FUSE, FuseOSError, Operations  # the name that Debian gives it

_FORBIDDEN = set('<>:"\\|?*') | {chr(n) for n in range(32)}


class Share(Operations):
    """`BACKING`, as `RULES` has it."""

    use_ns = True

    def __init__(self, backing: str, rules: str) -> None:
        self._backing = backing
        self._rules = rules

    def __call__(self, op: str, *args: Any) -> Any:
        with open(self._rules, encoding="utf-8") as file:
            self.rules = json.load(file)
        refused = self.rules.get("refuse", {}).get(op)
        if refused is not None:
            raise FuseOSError(getattr(errno, refused))
        if self.rules.get("read_only") and op in _CHANGES:
            raise FuseOSError(errno.EROFS)
        return super().__call__(op, *args)

    def _place(self, path: str) -> str:
        """Where a path lies, in any case of its letters if `names` is "windows"."""
        if self.rules.get("names") != "windows":
            return os.path.join(self._backing, path.lstrip("/"))
        place = self._backing
        for part in path.strip("/").split("/") if path != "/" else ():
            known = {name.casefold(): name for name in _listed(place)}
            place = os.path.join(place, known.get(part.casefold(), part))
        return place

    def _new(self, path: str) -> str:
        name = path.rpartition("/")[2]
        if self.rules.get("names") == "windows" and (
            set(name) & _FORBIDDEN
            or name[-1] in ". "
            or name != name.encode("utf-8", "replace").decode()
        ):
            raise FuseOSError(errno.EINVAL)
        return self._place(path)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        found = os.lstat(self._place(path))
        mode = found.st_mode
        if "gid" in self.rules:
            mode = stat.S_IFMT(mode) | (0o770 if stat.S_ISDIR(mode) else 0o660)
        step = self.rules.get("granularity", 0)
        step *= 1_000_000_000
        mtime = found.st_mtime_ns // step * step if step else found.st_mtime_ns
        return {
            "st_mode": mode,
            "st_uid": self.rules.get("uid", found.st_uid),
            "st_gid": self.rules.get("gid", found.st_gid),
            "st_nlink": found.st_nlink,
            "st_size": found.st_size,
            "st_atime": mtime,
            "st_mtime": mtime,
            "st_ctime": mtime,
            "st_blocks": found.st_blocks,
            "st_ino": found.st_ino,
        }

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *_listed(self._place(path))]

    def open(self, path: str, flags: int) -> int:
        return os.open(self._place(path), flags & ~os.O_NOFOLLOW)

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return os.open(self._new(path), os.O_RDWR | os.O_CREAT, 0o600)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if offset + len(data) > self.rules.get("largest", 1 << 62):
            raise FuseOSError(errno.EFBIG)
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(self._place(path), length)

    def flush(self, path: str, fh: int) -> None:
        """At each close of a descriptor; a test may refuse it."""

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        """A test may refuse it."""

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    def rename(self, old: str, new: str) -> None:
        source, target = self._place(old), self._new(new)
        refused = self.rules.get("refuse", {}).get("rename over")
        if refused is not None and os.path.lexists(target):
            raise FuseOSError(getattr(errno, refused))
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(self._place(path))

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._new(path), 0o700)

    def rmdir(self, path: str) -> None:
        os.rmdir(self._place(path))

    def symlink(self, target: str, source: str) -> None:
        os.symlink(source, self._new(target))

    def readlink(self, path: str) -> str:
        return os.readlink(self._place(path))

    def link(self, target: str, source: str) -> None:
        os.link(self._place(source), self._new(target))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._place(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        raise FuseOSError(errno.EPERM)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        os.utime(self._place(path), ns=times)

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._backing)
        return {
            name: getattr(found, name)
            for name in dir(found)
            if name.startswith("f_") and name != "f_fsid"
        }


_CHANGES = {
    "create",
    "write",
    "truncate",
    "mkdir",
    "rename",
    "unlink",
    "rmdir",
    "symlink",
    "link",
    "chmod",
}


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except NotADirectoryError:
        return []


if __name__ == "__main__":
    backing, mount, rules = sys.argv[1:]
    FUSE(
        Share(backing, rules),
        mount,
        foreground=True,
        nothreads=True,
        default_permissions=True,
        use_ino=True,
        attr_timeout=0,
        entry_timeout=0,
    )
