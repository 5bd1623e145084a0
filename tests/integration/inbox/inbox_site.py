"""A daemon of its own process that tests of the inbox kill and start again.

All of the product but Podman: each operator of the image `hello:1` ends at once, well.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.freeze.frozen_site import ANY_DISK
from tests.rig import processes
from tests.rig.waiting import until
from tests.robustness.site import launch

DEFINITION = """\
api-version: 0.4.0
name: ct
operators:
- name: only
  container: {image: hello, tag: '1'}
  input: [{path: /in}]
  output: [{path: /out}]
"""


@dataclass
class InboxSite:
    """One state folder with a pipeline `ct`, and the daemons that live on it one after another."""

    folder: Path
    settings: str
    definition: str = DEFINITION
    process: subprocess.Popen[bytes] | None = None
    peak: int = 0
    """Bytes that one of those that were ended had resident at most."""

    def __post_init__(self) -> None:
        self.state = self.folder / "state"
        (self.state / "pipelines.d").mkdir(parents=True)
        self.state.chmod(0o700)
        (self.state / "pipelines.d/ct.yaml").write_text(self.definition)
        (self.folder / "claraedge.toml").write_text(f"{self.settings}\n{ANY_DISK}")
        self.inbox = self.state / "inbox/ct"
        self.inbox.mkdir(parents=True)

    def start(self) -> None:
        """Returns once it is ready."""
        before = len(self.log())
        self.process = launch(self.folder)
        self.until("it is ready", lambda: " ready" in self.log()[before:], 60)

    def end(self, number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.peak = max(self.peak, self._resident())
        self.process.send_signal(number)
        self.process.wait(60)
        self.process = None

    def lives(self) -> None:
        """Raises where the daemon is gone."""
        assert self.process is not None
        assert self.process.poll() is None, self.log()[-4000:]

    def until(
        self,
        what: str,
        holds: Callable[[], object],
        seconds: float,
        details: Callable[[], object] = lambda: "",
    ) -> None:
        until(what, lambda: holds() or self.lives(), seconds, details)

    def log(self) -> str:
        path = self.folder / "daemon.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def rows(self, query: str) -> list[Any]:
        # Not read-only: the last one to leave a killed daemon's database has to recover it.
        with closing(sqlite3.connect(self.state / "claraedge.db", timeout=60)) as database:
            return database.execute(query).fetchall()

    def _resident(self) -> int:
        self.lives()
        assert self.process is not None
        return processes.memory(self.process.pid, "VmHWM")


@contextmanager
def inbox_site(settings: str, definition: str = DEFINITION) -> Iterator[InboxSite]:
    """Not started yet."""
    folder = Path(tempfile.mkdtemp(prefix="ce-"))  # short: a socket's path is at most 107 bytes
    site = InboxSite(folder, settings, definition)
    try:
        yield site
    finally:
        if site.process is not None:
            site.process.kill()
            site.process.wait()
        shutil.rmtree(folder)
