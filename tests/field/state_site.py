"""A state with jobs and items, made by a daemon, and daemons that find it as something left it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rig.waiting import until
from tests.robustness.site import launch

PROGRAM = Path(__file__).with_name("state_daemon.py")
COMMAND = Path(sys.executable).with_name("claraedge")
#: Longer than a page, so that its rows continue in further pages.
_COMMENT = "# " + "a definition with a long comment; " * 300
PIPELINE = f"""{_COMMENT}
api-version: 0.4.0
name: NAME
operators:
- name: one
  container: {{image: IMAGE, tag: '1'}}
  input: [{{path: /in}}]
  output: [{{path: /out}}]
"""
BUGS = ("Traceback", "please report", "internal error", "a part of the daemon died", "sqlite3.")


@dataclass
class StateSite:
    """One state folder, and the daemons that run on it one after the other."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def database(self) -> Path:
        return self.state / "claraedge.db"

    @property
    def log(self) -> str:
        return (self.folder / "daemon.log").read_text(errors="replace")

    def launch(self) -> subprocess.Popen[bytes]:
        self.process = launch(self.folder, PROGRAM)
        return self.process

    def start(self) -> None:
        """A daemon that serves."""
        before = self.log.count("ready  ") if (self.folder / "daemon.log").exists() else 0
        self.launch()
        self.until("the daemon serves", lambda: self.log.count("ready  ") > before)

    def ends(self, seconds: float = 60) -> int:
        """The exit code of the daemon, which ends by itself."""
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self, how: int = signal.SIGTERM) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(COMMAND), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ | {"CLARAEDGE_HOST": f"unix:{self.folder}/run/claraedge.sock"},
        )

    def say(self, *arguments: object) -> Any:
        """What a command answers as JSON."""
        done = self.run(*arguments, "--output", "json")
        assert done.returncode == 0, (arguments, done.stderr, self.log[-2000:])
        return json.loads(done.stdout or "null")

    def jobs(self) -> dict[str, str]:
        """Id -> status of each job that has stopped, else its state."""
        return {
            job["id"]: job["status"] if job["state"] == "STOPPED" else job["state"]
            for job in self.say("list", "jobs")["jobs"]
        }

    def until(self, what: str, holds: Callable[[], bool], seconds: float = 60) -> None:
        until(what, lambda: holds() or self._lives(), seconds, details=lambda: self.log[-3000:])

    def _lives(self) -> None:
        """Raises AssertionError if the daemon has ended."""
        assert self.process is None or self.process.poll() is None, self.log[-3000:]

    def refused(self) -> str:
        """What a start says that ends with 73. It says it once, and nothing that a bug says."""
        before = len(self.log)
        self.launch()
        code = self.ends()
        said = self.log[before:]
        assert code == 73, said
        assert not [bug for bug in BUGS if bug in said], said
        (line,) = [line for line in said.splitlines() if line.startswith("claraedge: ")]
        return line

    def connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self.database, isolation_level=None)


@contextmanager
def site() -> Iterator[StateSite]:
    """An empty one. A socket's path is at most 107 bytes: not below pytest's own folders."""
    made = StateSite(Path(tempfile.mkdtemp(prefix="cd-")))
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        shutil.rmtree(made.folder, ignore_errors=True)


def fill(made: StateSite) -> None:
    """Ten jobs of the API, five items, a reusable payload, all at their ends; one job waits for its
    start. The daemon has stopped.
    """
    for name, image in (("copy", "copy"), ("wait", "wait")):
        text = PIPELINE.replace("NAME", name).replace("IMAGE", image)
        (made.folder / f"{name}.yaml").write_text(text)
    made.start()
    pipeline = made.say("create", "pipeline", "-p", made.folder / "copy.yaml")["pipeline_id"]
    made.say("create", "pipeline", "-p", made.folder / "wait.yaml")
    (made.folder / "image.bin").write_bytes(b"image" * 1000)
    for number in range(10):
        made.say(
            *("create", "job", "-n", f"job-{number}", "-p", pipeline),
            *("-f", made.folder / "image.bin", "--start"),
        )
    made.say("create", "job", "-n", "later", "-p", pipeline, "-f", made.folder / "image.bin")
    inbox = made.state / "inbox" / "copy"
    inbox.mkdir()
    for number in range(5):
        (inbox / f"{number}.dcm").write_bytes(b"dropped %d" % number)

    def done() -> bool:
        items = made.say("list", "inbox")["items"]
        ended = [status for status in made.jobs().values() if status == "HEALTHY"]
        return len(ended) == 15 and [i["state"].upper() for i in items].count("DELIVERED") == 5

    made.until("all has ended", done)
    made.stop()


def roots(database: Path) -> dict[str, int]:
    """Table -> number of its first page."""
    with closing(sqlite3.connect(database)) as connection:
        return dict(
            connection.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'")
        )


def spoil(database: Path, page: int, content: bytes) -> None:
    """Overwrites one page of a database that nobody has open."""
    with database.open("r+b") as file:
        file.seek((page - 1) * len(content))
        file.write(content)


def files_of(state: Path) -> dict[str, bytes]:
    """What lies in the state next to the database: relative path -> content."""
    return {
        str(path.relative_to(state)): path.read_bytes()
        for path in state.rglob("*")
        if path.is_file() and not path.name.startswith(("claraedge.", "ballast"))
    }
