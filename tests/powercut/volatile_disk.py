"""A mounted disk that loses at a power cut what was not synced: `disk/main.cpp` serves it.

No root: FUSE mounts it for this user.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_SOURCES = Path(__file__).with_name("disk")
_PROGRAM = "powercut-disk"
#: What is kept of that which was not synced: `disk/cut.hpp`.
MODELS = ("strict", "closed", "journal", "names", "random")


def why_there_is_none() -> str | None:
    """Why this machine cannot have such a disk; None where it can."""
    lacks = [name for name in ("g++", "fusermount3") if shutil.which(name) is None]
    if not Path("/usr/include/fuse3/fuse_lowlevel.h").exists():
        lacks.append("libfuse3-dev")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        lacks.append("access to /dev/fuse")
    return f"missing: {', '.join(lacks)}; build/provision --contract installs it" if lacks else None


def built() -> Path:
    """The program, compiled once for each state of its sources."""
    sources = sorted(_SOURCES.iterdir())
    key = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"claraedge-{_PROGRAM}-{os.geteuid()}-{key}"
    if not place.exists() or place.stat().st_uid != os.geteuid():
        making = place.with_name(f"{place.name}.{os.getpid()}")
        command = ["g++", "-O2", "-Wall", "-Wextra", "-Werror", "-std=c++17"]
        libraries = ["-I/usr/include/fuse3", "-lfuse3"]
        subprocess.run([*command, "-o", making, _SOURCES / "main.cpp", *libraries], check=True)
        making.replace(place)
    return place


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The disk right after one operation."""

    operation: int
    moment: float
    """Seconds of `time.monotonic`."""
    what: str
    """The operation, in words."""
    control: Path

    def drop(self) -> None:
        """Ends its process."""
        ask(self.control, "exit")


class VolatileDisk:
    """One mount point, on which disks follow each other: a new one, those after a power cut."""

    def __init__(self, folder: Path) -> None:
        """`folder`: empty; its path is short, since sockets lie in it."""
        self.mount = folder / "disk"
        self.mount.mkdir()
        self._control = folder / "control"
        self._log = folder / "copies"
        self._copies = self._known = 0
        self._server: subprocess.Popen[str] | None = None
        self._life, self._alive = os.pipe()  # copies end once nobody has the second one open

    def create(self) -> None:
        """Mounts an empty disk."""
        self._server = subprocess.Popen(
            [built(), self.mount, self._control, self._log],
            stdin=self._life, stdout=subprocess.PIPE, text=True, cwd="/", start_new_session=True,
        )  # fmt: skip
        assert self._server.stdout is not None
        said = self._server.stdout.readline()
        assert said == "mounted\n", f"the disk is not mounted: {said}"

    def cut(self, copy: Copy, model: str, seed: int) -> None:
        """Mounts the disk as a power cut right after that operation leaves it."""
        said = ask(copy.control, f"serve {self.mount} {model} {seed} {self._control} {self._log}")
        assert said == "mounted", f"the disk of {copy.control} is not mounted: {said}"

    @property
    def operations(self) -> int:
        return int(ask(self._control, "count"))

    def copy_after(self, operation: int, stride: int = 1, count: int = 1) -> None:
        """Copies the disk after this operation, and after each `stride`-th one from there on."""
        self._copies += 1
        prefix = self._log.with_name(f"c{self._copies}")
        said = ask(self._control, f"copies {operation} {stride} {count} {prefix}")
        assert said == "ok", said

    def copies(self) -> list[Copy]:
        """Those that were made since this was asked last."""
        lines = self._log.read_text("utf-8", "replace").splitlines() if self._log.exists() else []
        parts = [line.split(" ", 3) for line in lines[self._known :]]
        self._known = len(lines)
        return [
            Copy(operation=int(at), moment=float(moment), control=Path(control), what=what)
            for at, moment, control, what in parts
        ]

    def own(self, path: Path, uid: int) -> None:
        """Gives a file to another user; durable by its next fsync."""
        said = ask(self._control, f"own {uid} /{path.relative_to(self.mount)}")
        assert said == "ok", f"{path}: {said}"

    def end(self) -> None:
        """Unmounts, and ends all copies."""
        self.unmount()
        os.close(self._life)
        os.close(self._alive)

    def unmount(self) -> None:
        """As a machine that is switched off: nothing is told to sync."""
        if os.path.ismount(self.mount):
            unmount_by(["fusermount3", "-u", self.mount])
        if self._server is not None:
            self._server.communicate(timeout=20)
            self._server = None


def unmount_by(command: Sequence[str | Path]) -> None:
    """Tries until nobody uses it any more."""
    deadline = time.monotonic() + 60
    while (done := subprocess.run(command, capture_output=True, text=True)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.02)


def ask(control: Path, command: str) -> str:
    """The answer to one command."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(60)
        asked.connect(str(control))
        asked.sendall(command.encode() + b"\n")
        parts = b""
        while more := asked.recv(4096):
            parts += more
    return parts.decode().strip()


def sync(paths: Iterable[Path]) -> None:
    """Makes files and folders durable."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Makes all below a folder durable, and the folder."""
    for folder, _, names in os.walk(root, topdown=False):
        paths = [Path(folder, name) for name in names]
        sync([*(path for path in paths if path.is_file() and not path.is_symlink()), Path(folder)])
