"""A burst of small files while the daemon is killed, again and again: one job and one result each.

All of the product but Podman, in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.campaign import CAMPAIGN
from tests.inbox_bench import tree_of
from tests.robustness.site import PROGRAM, ROOT

FILES = 10_000 if CAMPAIGN else 500
KILLS = 5
DEADLINE = 1800.0 if CAMPAIGN else 90.0

pytestmark = pytest.mark.timeout(DEADLINE + 120)

SETTINGS = """\
[inbox]
settle_seconds = 0.3
rescan_seconds = 2
max_queued = 20000
[engine]
max_operators = 16
[disk]
soft_mb = 2
hard_mb = 1
"""

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
class Burst:
    """One state folder, and the daemons that live on it one after the other."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    peak: int = 0
    """Bytes that any of them had resident."""
    killed_at: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = self.folder / "state"
        (self.state / "pipelines.d").mkdir(parents=True)
        self.state.chmod(0o700)
        (self.state / "pipelines.d/ct.yaml").write_text(DEFINITION)
        (self.folder / "claraedge.toml").write_text(SETTINGS)
        self.inbox = self.state / "inbox/ct"
        self.inbox.mkdir(parents=True)

    def start(self) -> None:
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, PROGRAM, self.folder],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )

    def end(self, number: int) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self.log()[-4000:]
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                self.peak = max(self.peak, int(line.split()[1]) * 1024)
        self.process.send_signal(number)
        self.process.wait(60)
        self.process = None

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text(errors="replace")

    def rows(self, query: str) -> list[tuple[object, ...]]:
        # Not read-only: the last one to leave a killed daemon's database has to recover it.
        with closing(sqlite3.connect(self.state / "claraedge.db", timeout=60)) as database:
            return database.execute(query).fetchall()

    def figures(self) -> tuple[int, int, int]:
        """Items that are claimed or further, jobs, items that are delivered."""
        if not (self.state / "claraedge.db").exists():
            return (0, 0, 0)
        try:
            (row,) = self.rows(
                "SELECT (SELECT COUNT(*) FROM inbox_items), (SELECT COUNT(*) FROM jobs),"
                " (SELECT COUNT(*) FROM inbox_items WHERE state = 'delivered')"
            )
        except sqlite3.OperationalError as error:  # it is just being made
            assert "no such table" in str(error), error
            return (0, 0, 0)
        return (int(str(row[0])), int(str(row[1])), int(str(row[2])))

    def progress(self) -> float:
        """0: nothing is claimed; 1: all is delivered."""
        return sum(self.figures()) / (3 * FILES)

    def until(self, wanted: float) -> None:
        deadline = time.monotonic() + DEADLINE
        while (now := self.progress()) < wanted:
            assert time.monotonic() < deadline, f"{now:.3f}, not {wanted}: {self.figures()}"
            assert self.process is not None
            assert self.process.poll() is None, self.log()[-4000:]
            time.sleep(0.02)


@pytest.fixture
def burst() -> Iterator[Burst]:
    folder = Path(tempfile.mkdtemp(prefix="ce-"))  # short: a socket's path is at most 107 bytes
    made = Burst(folder)
    try:
        yield made
    finally:
        if made.process is not None:
            made.process.kill()
            made.process.wait()
        shutil.rmtree(folder)


def content(number: int) -> bytes:
    return b"%d " % number * 64


def drop(folder: Path, numbers: Sequence[int]) -> None:
    """As different programs do: written in place, renamed to its name, or in two steps."""
    for number in numbers:
        path, written = folder / f"scan-{number}.dcm", content(number)
        if number % 3 == 0:
            path.write_bytes(written)
        elif number % 3 == 1:
            part = path.with_name(path.name + ".part")
            part.write_bytes(written)
            part.rename(path)
        else:
            with path.open("wb") as file:
                file.write(written[:7])
                file.flush()
                file.write(written[7:])


def test_a_burst_loses_and_doubles_nothing_while_the_daemon_is_killed(burst: Burst) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}", flush=True)
    # Most of it at once; of the rest a part after each kill, while nobody listens.
    most = FILES * 4 // 5
    first, rest = range(most), range(most, FILES)
    parts = [rest[number::KILLS] for number in range(KILLS)]
    burst.start()
    began = time.monotonic()
    writer = threading.Thread(target=drop, args=(burst.inbox, first))
    writer.start()
    for number, part in enumerate(parts):
        # One in each fifth of the work, at any moment of it.
        burst.until((number + chance.random()) / KILLS * 0.9)
        time.sleep(chance.random() * 0.1)
        burst.killed_at.append("claimed %d, jobs %d, delivered %d" % burst.figures())
        burst.end(signal.SIGKILL)
        drop(burst.inbox, part)
        burst.start()
    writer.join()
    burst.until(1.0)
    seconds = time.monotonic() - began
    burst.end(signal.SIGTERM)
    report(burst, seconds)
    check(burst)


def report(burst: Burst, seconds: float) -> None:
    """What came out, in figures."""
    counts = Counter(dict(of_contents(burst)))
    doubled = sum(count - 1 for count in counts.values() if count > 1)
    _, jobs, delivered = burst.figures()
    for place in burst.killed_at:
        print(f"killed at: {place}")
    print(
        f"{FILES} files, {seconds:.1f} s with {KILLS} kills, {FILES / seconds:.0f} files/s,"
        f" {jobs} jobs, {delivered} delivered, {doubled} doubled, {FILES - len(counts)} lost,"
        f" peak {burst.peak / (1 << 20):.0f} MiB resident",
        flush=True,
    )


def of_contents(burst: Burst) -> Iterator[tuple[str, int]]:
    """The digest of each content that became a job's input, with the number of such jobs."""
    query = (
        "SELECT f.sha256, COUNT(*) FROM payload_files f JOIN jobs j ON j.payload = f.payload"
        " WHERE f.name LIKE 'input/%' GROUP BY f.sha256"
    )
    for digest, count in burst.rows(query):
        yield str(digest), int(str(count))


def check(burst: Burst) -> None:
    state = burst.state
    wanted = {hashlib.sha256(content(n)).hexdigest(): f"scan-{n}.dcm" for n in range(FILES)}
    assert len(wanted) == FILES
    assert dict(of_contents(burst)) == dict.fromkeys(wanted, 1)
    assert burst.rows("SELECT COUNT(*) FROM jobs") == [(FILES,)]
    assert burst.rows("SELECT state, COUNT(*) FROM inbox_items GROUP BY state") == [
        ("delivered", FILES)
    ]
    results = list((state / "outbox/ct").iterdir())
    assert len(results) == FILES
    told = [json.loads((path / "result.json").read_text()) for path in results]
    assert {one["job_id"] for one in told} == {job for (job,) in burst.rows("SELECT id FROM jobs")}
    assert {one["status"] for one in told} == {"HEALTHY"}
    given = {one["inputs"][0]["sha256"]: one["inputs"][0]["path"] for one in told}
    assert given == wanted
    assert all((path / "only/hello.txt").read_text() == "hello" for path in results)
    # Each original is there once, as it was dropped; and nothing half done is.
    originals = sorted(tree_of(state / "originals").values())
    assert originals == sorted(content(number) for number in range(FILES))
    for folder in ("inbox/ct", "spool", "failed"):
        assert list((state / folder).iterdir()) == []
    assert [path.name for path in (state / "outbox").iterdir()] == ["ct"]
    assert len(list((state / "payloads").iterdir())) == FILES
    assert "Traceback" not in burst.log()
