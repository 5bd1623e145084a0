"""How a state file grows with the versions, and what is refused."""

from __future__ import annotations

import os
import sqlite3
import struct
from pathlib import Path

import pytest
import sqlite_utils
from sqlite_utils import Migrations

from claraedge.errors import NewerStateError, StateFolderError
from claraedge.store import migrations
from claraedge.store.database import Database
from claraedge.store.migrations import migrate, schema_version
from tests.rig.later_schema import later_schema
from tests.rig.queries import query


async def made(path: Path) -> None:
    async with Database(path) as database:
        await database.write(lambda tx: tx.run("put_fact", key="k", value="kept"))


async def fact(path: Path) -> str:
    async with Database(path) as database:
        row = await database.read(lambda tx: tx.row("fact", key="k"))
    assert row is not None
    return str(row["value"])


def trace(path: Path) -> object:
    """All by which somebody who opened the file could be noticed, the lock apart."""
    status = path.stat()
    names = sorted(p.name for p in path.parent.iterdir() if p.suffix != ".lock")
    return path.read_bytes(), status.st_mtime_ns, status.st_ino, names


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def header_version(path: Path) -> int:
    (version,) = struct.unpack_from(">I", path.read_bytes(), 60)
    return int(version)


async def test_the_version_is_in_the_header_while_the_file_is_open(path: Path) -> None:
    async with Database(path):
        assert header_version(path) == schema_version()


async def test_opening_again_changes_no_schema(path: Path) -> None:
    await made(path)
    async with Database(path) as database:
        before = query(database, "PRAGMA schema_version")
    async with Database(path) as database:
        assert query(database, "PRAGMA schema_version") == before


async def test_a_newer_file_is_refused_and_not_touched(path: Path) -> None:
    await made(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema_version() + 1}")
    connection.close()
    os.utime(path, ns=(1, 1))
    before = trace(path)
    with pytest.raises(NewerStateError, match="install that version again, or put back a copy"):
        async with Database(path):
            pass
    assert trace(path) == before


async def test_a_newer_file_whose_header_was_not_written_yet_is_refused(path: Path) -> None:
    """A newer version that is killed between its two records leaves the old number."""
    await made(path)
    newer = Migrations("claraedge")

    @newer(name="second")
    def second(db: sqlite_utils.Database) -> None:
        db.execute("CREATE TABLE second (id INTEGER)")

    connection = sqlite3.connect(path)
    newer.apply(sqlite_utils.Database(connection))
    connection.close()
    assert header_version(path) == schema_version()
    with pytest.raises(NewerStateError):
        await fact(path)
    assert header_version(path) == schema_version()


async def test_a_crash_between_the_two_records_is_corrected(path: Path) -> None:
    await made(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 0")
    connection.close()
    assert header_version(path) == 0
    assert await fact(path) == "kept"
    assert header_version(path) == schema_version()


async def test_a_step_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(path)

    def following(db: sqlite_utils.Database) -> None:
        db.execute("CREATE TABLE half (id INTEGER)")
        db.execute("CREATE TABLE facts (id INTEGER)")  # is there already

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "SCHEMA", later_schema(following))
        with pytest.raises(StateFolderError, match="already exists"):
            await fact(path)
    assert header_version(path) == schema_version()
    assert await fact(path) == "kept"


def test_a_step_and_its_record_are_one_transaction(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    migrate(connection)
    first = next(i for i, text in enumerate(seen) if "CREATE TABLE facts" in text)
    last = next(i for i, text in enumerate(seen) if text.startswith('INSERT INTO "_sqlite'))
    ends = ("COMMIT", "RELEASE", "END")
    assert not any(text.upper().startswith(ends) for text in seen[first:last])
    connection.close()


async def test_a_database_of_another_program_is_refused_and_kept(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (id INTEGER)")
    connection.close()
    with pytest.raises(StateFolderError, match="another program"):
        await fact(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("photos",)]
    connection.close()


async def test_an_empty_file_becomes_a_state(path: Path) -> None:
    write(path, b"")
    await made(path)
    assert await fact(path) == "kept"
