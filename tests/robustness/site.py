"""A daemon in a process of its own, and what the tests see of it from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from claraedge.fs.removal import remove
from claraedge.wire.nvidia.clara.platform import clara_pb2
from claraedge.wire.nvidia.clara.platform.clara_pb2_grpc import ClaraStub
from tests.freeze.frozen_site import ANY_DISK
from tests.rig import processes
from tests.rig.waiting import until

PROGRAM = Path(__file__).with_name("memory_daemon.py")
ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024


@dataclass
class Site:
    """One daemon."""

    folder: Path
    process: subprocess.Popen[bytes]
    program: Path
    environment: Mapping[str, str]

    @property
    def target(self) -> str:
        return f"unix:{self.folder}/run/claraedge.sock"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> str:
        return (self.folder / "daemon.log").read_text(errors="replace")

    def channel(self) -> grpc.Channel:
        """A connection of its own, whatever other channels there are."""
        return grpc.insecure_channel(self.target, options=[("grpc.use_local_subchannel_pool", 1)])

    def probe(self, word: str = "") -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.folder / "probe.sock"))
            connection.sendall(word.encode() + b"\n")
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return json.loads(b"".join(parts))

    def calls(self) -> int:
        """Calls that the server still works for."""
        return int(self.probe()["calls"])

    def open_files(self) -> list[str]:
        """What the daemon holds open below its state folder, less the database, the locks
        and the record of what is in work, which is open all the time.
        """
        found = []
        for path in processes.descriptors(self.process.pid):
            always = "claraedge" in path.name or path.name == "at-work"
            if path.is_relative_to(self.state) and not always:
                found.append(str(path))
        return found

    def temporary(self) -> list[str]:
        """What streams that are still open have written."""
        folders = (self.state / "uploads", self.state / "models" / "staging")
        return [str(path) for folder in folders if folder.exists() for path in folder.iterdir()]

    def blobs(self, payload: str) -> int:
        return len(list((self.state / "payloads" / payload / "blobs").iterdir()))

    def no_transaction(self) -> bool:
        """Whether nobody holds the database's write lock."""
        other = sqlite3.connect(self.state / "claraedge.db", timeout=0, isolation_level=None)
        with closing(other):
            try:
                other.execute("BEGIN IMMEDIATE")
                other.execute("ROLLBACK")
            except sqlite3.OperationalError:
                return False
        return True

    def memory(self) -> int:
        """Resident bytes now."""
        return processes.memory(self.process.pid)

    def peak(self) -> int:
        """The most resident bytes since `forget_peak`."""
        return processes.memory(self.process.pid, "VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def serves(self) -> bool:
        with self.channel() as channel:
            request = clara_pb2.ClaraVersionRequest()
            try:
                return ClaraStub(channel).Version(request, timeout=10).header.code == 0
            except grpc.RpcError:
                return False

    def start(self) -> None:
        """Another process, where the last one has ended."""
        self.process.wait(20)
        (self.folder / "run/claraedge.sock").unlink(missing_ok=True)
        self.process = launch(self.folder, self.program, **self.environment)

    def check_log(self) -> None:
        """No bug left a trace in the daemon's log."""
        assert self.process.poll() is None, self.log[-4000:]
        text = self.log
        for sign in (
            "Traceback",
            "call failed",
            "never retrieved",
            "internal error",
            "never awaited",
        ):
            place = text.find(sign)
            assert place < 0, text[max(0, place - 1500) : place + 3000]


def launch(folder: Path, program: Path = PROGRAM, **environment: str) -> subprocess.Popen[bytes]:
    """A daemon on a folder, whose log goes into it; it may not serve yet."""
    with (folder / "daemon.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, program, folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=os.environ | {"PYTHONPATH": str(ROOT), **environment},
        )


@contextmanager
def site(settings: str = "", program: Path = PROGRAM, **environment: str) -> Iterator[Site]:
    """A daemon that serves, with a configuration of its own."""
    folder = Path(tempfile.mkdtemp(prefix="ce-"))  # short: a socket's path is at most 107 bytes
    (folder / "claraedge.toml").write_text(f"{settings}\n{ANY_DISK}")
    (folder / "state").mkdir(mode=0o700)
    environment = {"PYTHONWARNINGS": "default", **environment}
    process = launch(folder, program, **environment)
    served = Site(folder, process, program, environment)
    try:
        until("the daemon serves", served.serves, 60)
        yield served
    finally:
        last = served.process  # a test may have started it again
        if last.poll() is None:
            last.send_signal(signal.SIGTERM)
            try:
                last.wait(20)
            except subprocess.TimeoutExpired:
                last.kill()
                last.wait()
        remove(folder)  # of any depth
