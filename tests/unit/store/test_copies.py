"""A copy of the database is made before another version changes it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from claraedge.errors import NewerStateError, StorageFullError
from claraedge.fs import room
from claraedge.store import copies, migrations
from claraedge.store.database import Database
from claraedge.store.migrations import begin, schema_version, steps_taken
from tests.rig.later_schema import later_schema

#: Opens the database with one step more than the version that made it, and dies at a statement.
KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from claraedge.store import copies, migrations
from claraedge.store.database import Database

path, at = Path(sys.argv[1]), int(sys.argv[2])

@migrations.SCHEMA()
def following(db):
    db.execute("CREATE TABLE following (id INTEGER)")
    db.execute("UPDATE facts SET value = 'changed' WHERE key = 'k'")

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if at < 0:
    copies.files.sync_file = die
else:
    migrate = migrations.migrate
    count = 0
    def traced(connection):
        def see(text):
            global count
            count += 1
            if count == at:
                die()
        connection.set_trace_callback(see)
        migrate(connection)
        connection.set_trace_callback(None)
    from claraedge.store import database
    database.migrate = traced

async def main():
    async with Database(path):
        pass

asyncio.run(main())
"""


async def opened(path: Path) -> None:
    async with Database(path) as database:
        await database.write(lambda tx: tx.run("put_fact", key="k", value="kept"))


def copied(path: Path) -> list[Path]:
    return sorted((path.parent / "copies").glob("*"))


def value(path: Path) -> str:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return str(connection.execute("SELECT value FROM facts WHERE key = 'k'").fetchone()[0])


def made_by(path: Path, version: str, steps: int) -> None:
    """A database as an older version left it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        begin(connection, steps)
        connection.execute(f"PRAGMA user_version = {steps}")
        connection.execute("INSERT INTO facts VALUES ('k', 'kept')")
        connection.execute("INSERT INTO facts VALUES ('version', ?)", (version,))


async def test_a_database_of_this_version_is_not_copied(path: Path) -> None:
    await opened(path)
    await opened(path)
    assert not (path.parent / "copies").exists()


async def test_an_older_schema_is_copied_before_it_is_changed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "SCHEMA", later_schema())
    before = schema_version() - 1
    made_by(path, "0.9.1", before)
    await opened(path)
    (copy,) = copied(path)
    assert copy.name.startswith(f"claraedge-0.9.1-schema{before}-")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert value(copy) == "kept"
    with closing(sqlite3.connect(copy)) as connection:
        assert steps_taken(connection) == before
    await opened(path)
    assert copied(path) == [copy]


async def test_another_version_of_the_same_schema_copies_as_well(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "1.1", "1.2", "1.3"):
        monkeypatch.setattr(copies, "__version__", version)
        await opened(path)
    assert [copy.name.split("-")[1] for copy in copied(path)] == ["1.1", "1.2"]


async def test_the_copy_stays_whatever_the_clock_says(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "1.1", "1.2"):
        monkeypatch.setattr(copies, "__version__", version)
        await opened(path)
    for copy in copied(path):  # a board without a battery for its clock starts in 1970
        os.utime(copy, (2**33, 2**33))
    monkeypatch.setattr(copies, "__version__", "1.3")
    await opened(path)
    assert "1.2" in [copy.name.split("-")[1] for copy in copied(path)]


async def test_the_older_version_continues_with_the_copy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(path)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "SCHEMA", later_schema())
        patch.setattr(copies, "__version__", "99")
        await opened(path)
    with pytest.raises(NewerStateError, match=str(path.parent / "copies")):
        await opened(path)
    (copy,) = copied(path)
    copy.rename(path)
    await opened(path)
    assert value(path) == "kept"


async def test_without_room_for_the_copy_nothing_is_changed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "SCHEMA", later_schema())
    before = schema_version() - 1
    made_by(path, "0.9.1", before)

    def full(folder: Path, size: int, *, source: int) -> None:
        raise room.NoRoomError(28, "1 MiB are needed, and 0 MiB are free", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(copies, "need_room", full)
        with pytest.raises(StorageFullError):
            await opened(path)
    with closing(sqlite3.connect(path)) as connection:
        assert steps_taken(connection) == before
    await opened(path)


@pytest.mark.parametrize("at", [-1, *range(1, 12, 2)])
async def test_a_kill_in_the_middle_leaves_the_old_or_the_new_one(path: Path, at: int) -> None:
    await opened(path)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(path), str(at), stderr=subprocess.PIPE
    )
    _, said = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == -signal.SIGKILL, said
    with closing(sqlite3.connect(path)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        steps = steps_taken(connection)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (found,) = connection.execute("SELECT value FROM facts WHERE key = 'k'").fetchone()
    new = "following" in tables
    assert (steps, found) == ((schema_version() + new), "changed" if new else "kept")
    whole = [copy for copy in copied(path) if copy.suffix == ".db"]
    assert len(whole) == (at >= 0)
    assert all(value(copy) == "kept" for copy in whole)
