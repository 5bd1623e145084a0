"""A database that is removed, emptied, older, locked or damaged: the reports, and what is left.

The table is printed (`pytest -s`). In each row no file of a payload is deleted, and no job is lost
without a word.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from claraedge.store.soundness import wal
from tests import campaign
from tests.field.state_site import BUGS, StateSite, site, spoil
from tests.rig.waiting import until

PAGE = 4096
#: Seconds for which another process has the lock.
LOCKED = 60.0 if campaign.CAMPAIGN else 3.0
#: Each page is damaged in the campaign, else so many.
PAGES = 3

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


@dataclass(frozen=True)
class Outcome:
    """One row of the table."""

    state: str
    reported: str
    left: str
    deleted: int
    """Files of payloads and models that are nowhere any more."""
    silent: int
    """Jobs that are neither there nor reported."""


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[list[Outcome]]:
    found: list[Outcome] = []
    yield found
    print(
        "\n| state | reported | left | deleted | lost without a word |"
        "\n| --- | --- | --- | --- | --- |"
    )
    for row in found:
        print(f"| {row.state} | {row.reported} | {row.left} | {row.deleted} | {row.silent} |")


@contextmanager
def copy_of(sound: StateSite) -> Iterator[StateSite]:
    with site() as made:
        shutil.copytree(sound.folder, made.folder, dirs_exist_ok=True)
        (made.folder / "daemon.log").write_text("")
        yield made


def contents(state: Path) -> Counter[bytes]:
    """What the files of payloads, models and the spool hold, wherever they lie now; once each,
    since `input` of a payload is links.
    """
    found: dict[tuple[int, int], bytes] = {}
    for path in state.rglob("*"):
        if path.is_file() and {"payloads", "models", "spool"} & set(path.parts):
            status = path.stat()
            found[status.st_dev, status.st_ino] = path.read_bytes()
    return Counter(found.values())


def gone(before: Counter[bytes], state: Path) -> int:
    return (before - contents(state)).total()


def payloads_of(database: Path) -> dict[str, str]:
    """Job -> payload."""
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT id, payload FROM jobs").fetchall())


def silent(jobs: dict[str, str], there: Container[str], reported: str) -> int:
    """How many jobs are neither there, nor reported by their id or that of their payload."""
    return len(
        [j for j, p in jobs.items() if j not in there and j not in reported and p not in reported]
    )


def refusal(made: StateSite) -> str:
    said = made.refused()
    return "73: " + re.sub(r"/\S+/", "", said.removeprefix("claraedge: "))[:60]


def unlink(database: Path) -> None:
    database.unlink()
    wal(database).unlink(missing_ok=True)


def empty(database: Path) -> None:
    os.truncate(database, 0)
    wal(database).unlink(missing_ok=True)


@pytest.mark.parametrize(("state", "harm"), [("removed", unlink), ("emptied", empty)])
def test_a_database_that_is_gone(
    sound: StateSite, table: list[Outcome], state: str, harm: Callable[[Path], None]
) -> None:
    with copy_of(sound) as made:
        before, jobs = contents(made.state), payloads_of(made.database)
        harm(made.database)
        reported = refusal(made)
        kept = gone(before, made.state)
        done = made.run("repair", "state", "--state-dir", made.state)
        assert done.returncode == 0, done.stderr
        lost = silent(jobs, (), done.stdout)
        made.start()
        made.stop()
        row = Outcome(
            state,
            reported,
            "all files, in damaged-* after a repair",
            gone(before, made.state),
            lost,
        )
        table.append(row)
        assert (kept, row.deleted, row.silent) == (0, 0, 0)


def test_a_database_that_is_older(sound: StateSite, table: list[Outcome], tmp_path: Path) -> None:
    with copy_of(sound) as made:
        older = tmp_path / "older.db"
        made.start()
        image = made.folder / "image.bin"
        reusable = made.say("create", "payload", "-f", image)["payload_id"]
        pipeline = made.say("list", "pipelines")["pipelines"][0]["id"]
        removed = made.say("create", "payload", "-f", image)["payload_id"]
        made.stop()
        shutil.copy(made.database, older)
        known = payloads_of(older)

        made.start()
        (made.folder / "new.bin").write_bytes(b"newer than the copy")
        new = made.say(
            *("create", "job", "-n", "newer", "-p", pipeline, "-f", made.folder / "new.bin"),
            "--start",
        )
        made.say("create", "payload", "-f", made.folder / "new.bin")
        made.say("upload", reusable, made.folder / "new.bin")
        made.say("delete", "payloads", removed)
        (made.state / "inbox" / "copy" / "newer.dcm").write_bytes(b"dropped after the copy")
        made.until("its job ran", lambda: len(made.jobs()) == len(known) + 2)
        made.until("they ended", lambda: list(made.jobs().values()).count("HEALTHY") == 17)
        made.stop()
        newer = {j: p for j, p in payloads_of(made.database).items() if j not in known}
        assert new["job_id"] in newer
        before = contents(made.state)
        (made.folder / "daemon.log").write_text("")

        wal(made.database).unlink(missing_ok=True)
        shutil.copy(older, made.database)
        made.start()
        warnings = [w for w in made.say("status")["warnings"] if "unknown" in w]
        made.until("all is checked", lambda: "ready  " in made.log)
        assert set(made.jobs()) == set(known)
        made.stop()
        deleted = gone(before, made.state)
        assert deleted == 0
        unknown = {path.name for path in (made.state / "unknown" / "payloads").iterdir()}
        reported = made.log.count("an older one was put back")
        lost = silent(newer, (), made.log)
        row = Outcome(
            "older",
            "status and journal: unknown/",
            f"{reported} folders and files in unknown",
            deleted,
            lost,
        )
        table.append(row)
        assert (row.deleted, row.silent) == (0, 0)
        assert len(warnings) == 1
        assert new["payload_id"] in unknown
        assert reported >= 4  # payloads of two jobs, a reusable one, a file of one that is known
        assert removed not in unknown  # given up on purpose
        assert not [bug for bug in BUGS if bug in made.log], made.log


@contextmanager
def locked(database: Path) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        try:
            yield child
        finally:
            child.stdin.close()


@pytest.mark.parametrize("when", ["at start", "at work"])
def test_a_database_that_is_locked(sound: StateSite, table: list[Outcome], when: str) -> None:
    with copy_of(sound) as made:
        before, jobs = contents(made.state), payloads_of(made.database)
        if when == "at work":
            made.start()
        began = time.monotonic()
        with locked(made.database) as child:
            if when == "at start":
                made.launch()
            for name in ("one", "two"):
                (made.state / "inbox" / "copy" / f"{name}.dcm").write_bytes(name.encode())
            reported = f"the process {child.pid} (python"
            made.until("it is reported", lambda: reported in made.log)
            assert made.process is not None
            with pytest.raises(subprocess.TimeoutExpired):  # it lives as long as that
                made.process.wait(began + LOCKED - time.monotonic())
        made.until("it continues", lambda: "the state can be written again" in made.log)
        made.until("it serves", lambda: "ready  " in made.log)
        made.until("both ran", lambda: list(made.jobs().values()).count("HEALTHY") == 17)
        lost = silent(jobs, made.jobs(), "")
        made.stop()
        deleted = gone(before, made.state)
        table.append(
            Outcome(
                f"locked {when}, {LOCKED:g} s",
                "journal: which process",
                "all; work waits",
                deleted,
                lost,
            )
        )
        assert (deleted, lost) == (0, 0)
        assert not [bug for bug in BUGS if bug in made.log], made.log


def started(made: StateSite) -> int | None:
    """Starts the daemon; returns its exit code, or None once it serves."""
    made.launch()
    process = made.process
    assert process is not None
    until("it serves or ends", lambda: "ready  " in made.log or process.poll() is not None)
    return process.poll()


def test_a_database_of_which_the_schema_of_jobs_is_damaged(sound: StateSite) -> None:
    """Its pages lie between those of the tables: most tables are lost, and with them all events."""
    with closing(sqlite3.connect(sound.database)) as connection:
        rows = connection.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0")
        pages = {page: name for name, page in rows}
    first, last = (min(p for p, name in pages.items() if name == n) for n in ("jobs", "operators"))
    own = sorted(set(range(first, last)) - set(pages))
    assert own
    jobs = payloads_of(sound.database)
    for page in own:
        with copy_of(sound) as made:
            spoil(made.database, page, random.Random(page).randbytes(PAGE))
            done = made.run("repair", "state", "--state-dir", made.state)
            assert done.returncode == 0, done.stderr
            assert silent(jobs, payloads_of(made.database), done.stdout) == 0, page


@pytest.mark.timeout(3600 if campaign.CAMPAIGN else 120)
def test_a_database_of_which_a_page_is_damaged(sound: StateSite, table: list[Outcome]) -> None:
    count = sound.database.stat().st_size // PAGE
    pages = range(1, count + 1)
    chosen = pages if campaign.CAMPAIGN else sorted(random.Random(4).sample(pages, PAGES))
    found: Counter[str] = Counter()
    for page in chosen:
        with copy_of(sound) as made:
            before, jobs = contents(made.state), payloads_of(made.database)
            spoil(made.database, page, random.Random(page).randbytes(PAGE))
            if (code := started(made)) is None:
                found["a free page: serves"] += 1
                there, said = set(made.jobs()), ""
                made.stop()
            else:
                assert code == 73, made.log
                assert "claraedge repair state" in made.log
                found["73, and what to do"] += 1
                done = made.run("repair", "state", "--state-dir", made.state)
                assert done.returncode == 0, done.stderr
                there, said = set(payloads_of(made.database)), done.stdout
            assert not [bug for bug in BUGS if bug in made.log], made.log
            assert gone(before, made.state) == 0, page
            assert silent(jobs, there, said) == 0, page
    for reported, number in found.items():
        table.append(
            Outcome(
                f"{number} of {len(chosen)} pages damaged",
                reported,
                "all files; what can be read after a repair",
                0,
                0,
            )
        )
    assert found["73, and what to do"] > len(chosen) / 2
