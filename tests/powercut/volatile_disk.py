"""A mounted disk that loses at a power cut what was not synced; `disk/main.cpp` serves it.

It needs no root, because FUSE mounts it for this user.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.rig.waiting import until

_SOURCES = Path(__file__).with_name("disk")
_PROGRAM = "powercut-disk"
#: Models that decide which unsynced data survive a power cut: see `disk/cut.hpp`.
MODELS = ("strict", "closed", "journal", "names", "random")


def why_there_is_none() -> str | None:
    """Returns why this machine cannot have such a disk; None if it can."""
    lacks = [name for name in ("g++", "fusermount3") if shutil.which(name) is None]
    if not Path("/usr/include/fuse3/fuse_lowlevel.h").exists():
        lacks.append("libfuse3-dev")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        lacks.append("access to /dev/fuse")
    return f"missing: {', '.join(lacks)}; build/provision --contract installs it" if lacks else None


def built() -> Path:
    """Returns the program, compiled once for each version of its sources."""
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
    """A copy of the disk right after one operation."""

    operation: int
    moment: float
    """Time of the operation, in seconds of `time.monotonic`."""
    what: str
    """Description of the operation."""
    control: Path

    def drop(self) -> None:
        """Ends the process that keeps the copy."""
        ask(self.control, "exit")


class VolatileDisk:
    """One mount point, for one disk at a time: a new one, or one after a power cut."""

    def __init__(self, folder: Path) -> None:
        """`folder` must be empty, and its path short, because it contains sockets."""
        self.mount = folder / "disk"
        self.mount.mkdir()
        self._control = folder / "control"
        self._log = folder / "copies"
        self._copies = self._known = 0
        self._server: subprocess.Popen[str] | None = None
        self._life, self._alive = os.pipe()  # copies end once no process has `_alive` open

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
        """Mounts the disk as it is after a power cut right after the operation of the copy."""
        said = ask(copy.control, f"serve {self.mount} {model} {seed} {self._control} {self._log}")
        assert said == "mounted", f"the disk of {copy.control} is not mounted: {said}"

    @property
    def operations(self) -> int:
        return int(ask(self._control, "count"))

    def copy_after(self, operation: int, stride: int = 1, count: int = 1) -> None:
        """Copies the disk after this operation and after every `stride`-th later one.

        `count` is the maximum number of copies.
        """
        self._copies += 1
        prefix = self._log.with_name(f"c{self._copies}")
        said = ask(self._control, f"copies {operation} {stride} {count} {prefix}")
        assert said == "ok", said

    def copies(self) -> list[Copy]:
        """Returns the copies that were made since the last call."""
        lines = self._log.read_text("utf-8", "replace").splitlines() if self._log.exists() else []
        parts = [line.split(" ", 3) for line in lines[self._known :]]
        self._known = len(lines)
        return [
            Copy(operation=int(at), moment=float(moment), control=Path(control), what=what)
            for at, moment, control, what in parts
        ]

    def own(self, path: Path, uid: int) -> None:
        """Gives a file to another user; the change is durable after the next fsync of the file."""
        said = ask(self._control, f"own {uid} /{path.relative_to(self.mount)}")
        assert said == "ok", f"{path}: {said}"

    def end(self) -> None:
        """Unmounts the disk and ends the processes of all copies."""
        self.unmount()
        os.close(self._life)
        os.close(self._alive)

    def unmount(self) -> None:
        """Unmounts the disk without a sync, as if the machine were switched off."""
        if os.path.ismount(self.mount):
            unmount_by(["fusermount3", "-u", self.mount])
        if self._server is not None:
            self._server.communicate(timeout=20)
            self._server = None


def unmount_by(command: Sequence[str | Path]) -> None:
    """Runs the command until it succeeds: it fails while a process still uses the mount."""
    errors: list[str] = []

    def succeeds() -> bool:
        done = subprocess.run(command, capture_output=True, text=True)
        errors.append(done.stderr)
        return done.returncode == 0

    until("it is unmounted", succeeds, 60, details=lambda: errors[-1])


def ask(control: Path, command: str) -> str:
    """Sends one command to a control socket; returns the answer."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(60)
        asked.connect(str(control))
        asked.sendall(command.encode() + b"\n")
        parts = b""
        while more := asked.recv(4096):
            parts += more
    return parts.decode().strip()


def sync(paths: Iterable[Path]) -> None:
    """Makes files and folders durable by fsync."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Makes a folder and everything below it durable."""
    for folder, _, names in os.walk(root, topdown=False):
        paths = [Path(folder, name) for name in names]
        sync([*(path for path in paths if path.is_file() and not path.is_symlink()), Path(folder)])
