"""The site of a campaign: a disk, a daemon on it, and what users do there."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from claraedge.client.connection import Connection
from tests.powercut.volatile_disk import VolatileDisk, sync, sync_tree

_ROOT = Path(__file__).resolve().parents[2]
#: The uid of another user, whose files the inbox copies.
FOREIGN = 65534
#: Seconds that a condition is waited for.
PATIENCE = 30.0

_CONFIGURATION = """
[inbox]
settle_seconds = 0.3
rescan_seconds = 0.5
trigger = [
    {folder = "study", pipeline = "ct", grouping = "dicom-study", quiet_seconds = 0.4},
    {folder = "mark", pipeline = "ct", grouping = "marker", marker = "READY"},
    {folder = "quiet", pipeline = "ct", grouping = "quiet", quiet_seconds = 0.4},
    {folder = "link", pipeline = "ct", duplicates = "link"},
    {folder = "skip", pipeline = "ct", duplicates = "skip"},
    {folder = "zero", pipeline = "ct", originals_keep_days = 0},
]
[outbox]
all_jobs = true
[disk]
soft_mb = 2
hard_mb = 1
"""
_FOLDERS = ("ct", "flaky", "study", "mark", "quiet", "link", "skip", "zero")


def definition(name: str, image: str) -> str:
    """Returns the definition of a pipeline of two operators; the first one has this image."""
    return f"""\
api-version: 0.4.0
name: {name}
operators:
- name: first
  container: {{image: {image}, tag: '1'}}
  input: [{{path: /in}}]
  output: [{{path: /out}}]
- name: last
  container: {{image: copy, tag: '1'}}
  input: [{{from: first, path: /in}}]
  output: [{{path: /out}}]
"""


class StuckError(Exception):
    """An expected condition did not become true in time."""


class Site:
    """A site with one disk and one daemon at a time."""

    def __init__(
        self, folder: Path, disk: VolatileDisk, *, user: str | None = None, lacks: str = "none"
    ) -> None:
        """`user` is the user of the daemons if root runs this; `lacks` is what they do not sync."""
        self.folder, self.disk = folder, disk
        self.user = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
        self.log = folder / "daemon.log"
        (folder / "run").mkdir(mode=0o700)
        self._give(folder / "run")
        self._daemon = 0
        self._log_start = 0
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.powercut.zygote", folder, self.user.pw_name, lacks],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT,
        )  # fmt: skip

    @property
    def state(self) -> Path:
        return self.disk.mount / "state"

    def connect(self) -> Connection:
        return Connection(f"unix:{self.folder}/run/claraedge.sock")

    # --- the disk -----------------------------------------------------------------------------

    def create(self) -> None:
        """Creates a new disk with the configuration and two pipelines, and syncs it."""
        (self.folder / "repaired").unlink(missing_ok=True)
        self.disk.create()
        configuration = self.disk.mount / "claraedge.toml"
        configuration.write_text(_CONFIGURATION)
        configuration.chmod(0o644)
        (self.state / "pipelines.d").mkdir(parents=True)
        for name, image in (("ct", "copy"), ("flaky", "flaky")):
            (self.state / f"pipelines.d/{name}.yaml").write_text(definition(name, image))
        for name in _FOLDERS:
            (self.state / "inbox" / name).mkdir(parents=True)
        for path in [self.disk.mount, self.state, *self.state.rglob("*")]:
            self._give(path)
        sync_tree(self.disk.mount)

    def drop(self, folder: Path, files: Mapping[str, bytes], *, foreign: bool = False) -> None:
        """Writes files below a folder; when it returns, they and their names are durable."""
        inside = {folder}
        for name, content in files.items():
            path = folder / name
            for above in reversed([p for p in path.parents if folder in p.parents]):
                inside.add(above)
                if not above.exists():
                    above.mkdir(mode=0o775)
                    self._give(above)
            with path.open("xb") as file:
                os.fchmod(file.fileno(), 0o644)
                if foreign:
                    self.disk.own(path, FOREIGN)
                else:
                    self._give(path)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        sync(sorted(inside, key=lambda path: -len(path.parts)))

    def _give(self, path: Path) -> None:
        if os.geteuid() != self.user.pw_uid:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    # --- the daemon ---------------------------------------------------------------------------

    def start(self, boot: str) -> None:
        """Starts the daemon and waits until it serves. Raises StuckError."""
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._daemon = int(self._say(f"start {boot}"))
        self.until(lambda: " ready " in self.journal(), "the daemon serves")

    def alive(self) -> bool:
        return self._daemon != 0 and self._say(f"alive {self._daemon}") == "1"

    def back_up(self, name: str) -> None:
        """Makes a backup with all files, on the disk next to the state."""
        self._command("backup", name)

    def restore(self, name: str) -> None:
        """Replaces the state by that of a backup; no daemon may run."""
        self._command("restore", name)

    def _command(self, what: str, name: str) -> None:
        assert self._say(f"{what} {name}") == "0", f"{what}: {self.log.read_text()[-1500:]}"

    def kill(self) -> None:
        if self._daemon:
            self._say(f"kill {self._daemon}")
            self._daemon = 0

    def journal(self) -> str:
        """Returns the log of the present daemon."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[self._log_start :].decode("utf-8", "replace")

    def until(self, holds: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        """Waits until a condition is true. Raises StuckError after `seconds`."""
        deadline = time.monotonic() + seconds
        while not holds():
            if not self.alive():
                raise StuckError(f"the daemon ended before {what}: {self.journal()[-1500:]}")
            if time.monotonic() > deadline:
                raise StuckError(f"not within {seconds:.0f} s: {what}")
            time.sleep(0.03)

    def unmount(self) -> None:
        """Kills the daemon and unmounts the disk, as if the machine were switched off."""
        self.kill()
        self.disk.unmount()

    def close(self) -> None:
        self.kill()
        self.disk.end()
        assert self._zygote.stdin is not None
        self._zygote.stdin.close()
        self._zygote.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _say(self, command: str) -> str:
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(command + "\n")
        self._zygote.stdin.flush()
        return self._zygote.stdout.readline().strip()

    # --- the results --------------------------------------------------------------------------

    def rows(self, query: str, *values: object) -> Sequence[Mapping[str, Any]]:
        """Returns the rows of a query on the database."""
        address = f"file:{self.state}/claraedge.db?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=20)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query, values)]

    def pipeline(self, name: str) -> str:
        """Returns the id of the newest pipeline of this name."""
        query = "SELECT id FROM pipelines WHERE name = ? AND removed IS NULL ORDER BY sequence DESC"
        return str(self.rows(query, name)[0]["id"])

    def unfinished(self) -> list[str]:
        """Describes the work that is left."""
        items = [r for r in self.rows("SELECT * FROM inbox_items")
                 if r["state"] not in ("delivered", "failed")]  # fmt: skip
        jobs = self.rows(
            "SELECT name, state FROM jobs"
            " WHERE state <> 3 AND queue_position IS NOT NULL AND name <> 'forever'"
        )
        due = self.rows(
            "SELECT d.job, d.state FROM deliveries d JOIN jobs j ON j.id = d.job"
            " WHERE d.state <> 'done' AND j.state = 3"
        )
        inbox = os.walk(self.state / "inbox")  # the daemon may empty it meanwhile
        dropped = [Path(folder, name) for folder, _, names in inbox for name in names]
        return [
            *(f"item {row['name']!r} is {row['state']}: {row['reason']}" for row in items),
            *(f"job {row['name']} has state {row['state']}" for row in jobs),
            *(f"the delivery of {row['job']} is {row['state']}" for row in due),
            *(f"{path.relative_to(self.state)} is in the inbox" for path in dropped),
            *(f"{path} is in the spool" for path in (self.state / "spool").iterdir()),
            *self._unread_definitions(),
        ]

    def _unread_definitions(self) -> list[str]:
        rows = self.rows(
            "SELECT d.files FROM pipelines p JOIN definitions d ON d.digest = p.definition"
            " WHERE p.removed IS NULL"
        )
        known = {json.loads(row["files"])[0]["content"] for row in rows}
        paths = (self.state / "pipelines.d").glob("[!.]*.yaml")
        return [f"{path.name} is not read" for path in paths if path.read_text() not in known]

    def rest(self, items: int = 0) -> None:
        """Waits until `items` items have ended and no work is left. Raises StuckError."""
        query = "SELECT id FROM inbox_items WHERE state IN ('delivered', 'failed')"
        try:
            self.until(lambda: len(self.rows(query)) >= items, f"{items} items have ended")
            calm = 0

            def rests() -> bool:
                nonlocal calm  # a new file is found only by the next scan of the inbox
                calm = 0 if self.unfinished() else calm + 1
                return calm >= 4

            self.until(rests, "nothing is left to do")
        except StuckError as error:
            raise StuckError(f"{error}; left: {self.unfinished()[:5]}") from error
