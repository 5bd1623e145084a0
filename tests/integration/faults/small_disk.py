"""A disk of 96 MiB that tests may fill: a tmpfs that build/test mounts as root for its user."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

PLACE = Path.home() / ".cache/claraedge/small-disk"
_MOST = 128 << 20


def why_there_is_none() -> str | None:
    """The reason, with what to do; None where there is one that Podman's containers see."""
    how = (
        f"as root: `mount -t tmpfs -o size=96m,mode=0700,uid={os.getuid()},gid={os.getgid()} tmpfs"
        f" {PLACE}` (build/test does), and then, as this user, `podman system migrate`"
    )
    if not os.path.ismount(PLACE):
        return f"no small disk: {how}"
    if _size(os.statvfs(PLACE)) > _MOST or PLACE.stat().st_uid != os.getuid():
        return f"{PLACE} is no small disk of this user: {how}"
    shown = subprocess.run(
        ["podman", "unshare", "mountpoint", "-q", PLACE], capture_output=True, cwd="/", timeout=60
    )
    return None if shown.returncode == 0 else f"Podman does not see the small disk: {how}"


def emptied() -> Path:
    """The disk, with nothing on it."""
    for path in PLACE.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return PLACE


def free() -> int:
    """Bytes."""
    found = os.statvfs(PLACE)
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def filled(left: int = 0) -> Iterator[Path]:
    """A foreign file fills all of it but `left` bytes; it is removed at the end."""
    filler = PLACE / "filler"
    fill(filler, left)
    try:
        yield filler
    finally:
        filler.unlink(missing_ok=True)


def fill(filler: Path, left: int = 0) -> None:
    """Lets a file take what is free."""
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while free() >= left + size:
                    file.write(b"x" * size)


def _size(found: os.statvfs_result) -> int:
    return found.f_blocks * found.f_frsize
