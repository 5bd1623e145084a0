"""A real file system (ext4, XFS, Btrfs) on a disk with a volatile write cache. Needs root.

The image of the file system is a file on a `VolatileDisk`: at a power cut it loses what the file
system did not flush, as a disk loses its own cache, and the file system recovers by its own log.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.powercut.volatile_disk import Copy, VolatileDisk, sync, unmount_by

_SIZE = 160 << 20
_MAKE: Mapping[str, Sequence[str]] = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "ext4-nojournal": ("mkfs.ext4", "-q", "-F", "-O", "^has_journal"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
KINDS = tuple(_MAKE)


class BlockDisk(VolatileDisk):
    """A VolatileDisk whose power cuts lose blocks of a file system instead of files."""

    def __init__(self, folder: Path, kind: str) -> None:
        below = folder / "below"
        below.mkdir()
        super().__init__(below)
        self._below = self.mount
        self._kind = kind
        self._loop = ""
        self._place = folder / "disk"
        self._place.mkdir()
        self.mount = self._place

    def create(self) -> None:
        self.mount = self._below
        super().create()
        image = self._below / "image"
        with image.open("wb") as file:
            file.truncate(_SIZE)
        sync([image, self._below])
        self._attach()
        # These variables allow sizes that mkfs.xfs otherwise refuses as too small.
        own_tests = {"TEST_DIR": "1", "TEST_DEV": "1", "QA_CHECK_FS": "1"}
        _run(*_MAKE[self._kind], self._loop, environment=own_tests)
        self._mount()
        _run("rm", "-rf", str(self.mount / "lost+found"))
        _run("sync", "-f", str(self.mount))

    def cut(self, copy: Copy, model: str, seed: int) -> None:
        self.mount = self._below
        super().cut(copy, model, seed)
        self._attach()
        if self._kind == "ext4-nojournal":  # as a machine does at boot
            subprocess.run(["e2fsck", "-y", self._loop], capture_output=True)
        self._mount()

    def own(self, path: Path, uid: int) -> None:
        os.chown(path, uid, -1)

    def unmount(self) -> None:
        if os.path.ismount(self._place):
            unmount_by(["umount", self._place])
        if self._loop:
            _run("losetup", "-d", self._loop)
            self._loop = ""
        self.mount = self._below
        try:
            super().unmount()
        finally:
            self.mount = self._place

    def _attach(self) -> None:
        self._loop = _run("losetup", "--find", "--show", str(self._below / "image"))

    def _mount(self) -> None:
        kind = self._kind.partition("-")[0]
        _run("mount", "-t", kind, self._loop, str(self._place))
        self.mount = self._place


def _run(*command: str, environment: Mapping[str, str] = {}) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()
