"""What errors mean for the state, and what a check of its files finds."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from claraedge.errors import BrokenDiskError, DamagedStateError, StateFolderError, StorageFullError
from claraedge.store import migrations, soundness
from claraedge.store.database import Database, Transaction
from claraedge.store.migrations import begin, schema_version
from claraedge.store.salvage import salvage
from tests.rig.later_schema import later_schema


def of(code: int | None, text: str = "what SQLite says") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    if code is not None:
        error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (of(sqlite3.SQLITE_CORRUPT), DamagedStateError),
        (of(sqlite3.SQLITE_CORRUPT_INDEX), DamagedStateError),
        (of(sqlite3.SQLITE_NOTADB), DamagedStateError),
        (of(None, "Could not decode to UTF-8 column 'x' with text '\ufffd'"), DamagedStateError),
        (of(sqlite3.SQLITE_IOERR_READ), BrokenDiskError),
        (of(sqlite3.SQLITE_FULL), StorageFullError),
        (of(sqlite3.SQLITE_IOERR_NOMEM), None),
        (of(sqlite3.SQLITE_CONSTRAINT), None),
        (of(sqlite3.SQLITE_BUSY), None),
        (of(sqlite3.SQLITE_READONLY), None),
        (of(None, "a mistake of ours"), None),
        (OSError(28, "No space left on device"), StorageFullError),
        (ValueError("of a caller"), None),
    ],
)
def test_what_an_error_means(
    tmp_path: Path, error: Exception, kind: type[Exception] | None
) -> None:
    found = soundness.explain(error, tmp_path / "claraedge.db")
    assert type(found) is (type(None) if kind is None else kind)
    if kind is not None:
        assert str(tmp_path) in str(found)


def test_an_error_has_a_meaning_also_where_the_disk_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "claraedge.db"
    assert isinstance(soundness.explain(of(sqlite3.SQLITE_IOERR_READ), path), BrokenDiskError)


def raising(error: Exception) -> object:
    def work(tx: Transaction) -> None:
        raise error

    return work


@pytest.mark.parametrize("way", ["read", "write"])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR_READ])
async def test_what_is_met_once_ends_all_work_with_the_state(
    tmp_path: Path, way: str, code: int
) -> None:
    path = tmp_path / "claraedge.db"
    async with Database(path) as database:
        watching = asyncio.create_task(database.watch())
        await database.write(lambda tx: tx.run("put_fact", key="k", value="before"))
        with pytest.raises(StateFolderError, match="what SQLite says"):
            await getattr(database, way)(raising(of(code)))
        async with asyncio.timeout(20):
            with pytest.raises(StateFolderError, match="what SQLite says"):
                await watching
        with pytest.raises(StateFolderError):
            await database.write(lambda tx: tx.run("put_fact", key="k", value="after"))
        with pytest.raises(StateFolderError):
            await database.read(lambda tx: tx.row("fact", key="k"))
        content = path.read_bytes()
    assert path.read_bytes() == content
    async with Database(path) as database:
        row = await database.read(lambda tx: tx.row("fact", key="k"))
        assert row is not None
        assert row["value"] == "before"


async def test_nothing_of_a_batch_is_kept_in_which_damage_is_met(tmp_path: Path) -> None:
    path = tmp_path / "claraedge.db"
    async with Database(path) as database:
        both = await asyncio.gather(
            database.write(lambda tx: tx.run("put_fact", key="k", value="v")),
            database.write(raising(of(sqlite3.SQLITE_CORRUPT))),  # type: ignore[arg-type]
            return_exceptions=True,
        )
    assert isinstance(both[1], DamagedStateError)
    async with Database(path) as database:
        row = await database.read(lambda tx: tx.row("fact", key="k"))
    assert (row is None) is isinstance(both[0], DamagedStateError)


async def test_an_index_that_lacks_a_row_of_its_table_is_found(tmp_path: Path) -> None:
    path = tmp_path / "claraedge.db"
    async with Database(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA writable_schema = ON")
        index = other.execute(
            "SELECT * FROM sqlite_master WHERE name = 'events_by_time'"
        ).fetchone()
        other.execute("DELETE FROM sqlite_master WHERE name = 'events_by_time'")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("INSERT INTO events (time, kind, body) VALUES (1.0, 'job', '{}')")
        other.execute("PRAGMA writable_schema = ON")
        other.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)
    with pytest.raises(DamagedStateError, match="events_by_time"):
        async with Database(path):
            pass


async def test_a_text_that_is_none_any_more_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "claraedge.db"
    async with Database(path) as database:
        await database.write(lambda tx: tx.run("put_fact", key="k", value="a text"))
    path.write_bytes(path.read_bytes().replace(b"a text", b"a t\xff\xfft"))
    async with Database(path) as database:
        with pytest.raises(DamagedStateError, match="UTF-8"):
            await database.read(lambda tx: tx.row("fact", key="k"))


def test_a_damaged_database_of_an_older_version_is_brought_up_to_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "SCHEMA", later_schema())
    steps = schema_version() - 1
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        begin(connection, steps)
        connection.execute(f"PRAGMA user_version = {steps}")
        connection.execute("INSERT INTO facts VALUES ('instance', '0123')")
        connection.execute("INSERT INTO definitions VALUES ('d', '[]')")
        connection.execute("INSERT INTO payloads (id, type, created) VALUES ('p', 1, 1.0)")
        connection.execute(
            "INSERT INTO jobs (id, name, pipeline, pipeline_name, payload, definition, state,"
            " status, priority, created, stopped)"
            " VALUES ('j', 'n', 'x', 'x', 'p', 'd', 3, 1, 2, 1.0, 2.0)"
        )
    tables = {table.name: table for table in salvage(old, new)}
    assert tables["jobs"].rows == tables["artifacts"].rows == 1
    assert all(table.whole for table in tables.values())
    with closing(sqlite3.connect(new)) as connection:
        assert connection.execute("SELECT value FROM facts").fetchall() == [("0123",)]
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)
        assert connection.execute("SELECT later FROM jobs").fetchone() == ("n",)


async def test_another_reader_of_the_open_database_does_not_remove_its_log(
    tmp_path: Path,
) -> None:
    """It did, where the check of the files had released the locks of SQLite on them."""
    path = tmp_path / "claraedge.db"
    reader = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute(sys.argv[2])"
    reader += ".fetchall()); c.close()"
    for _ in range(2):  # a new one, and one that is there
        async with Database(path) as database:
            await database.write(lambda tx: tx.run("put_fact", key="k", value="v"))
            log = soundness.wal(path).stat()
            child = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-c",
                    reader,
                    str(path),
                    "SELECT count(*) FROM facts WHERE key = 'k'",
                ),
                stdout=asyncio.subprocess.PIPE,
            )
            assert (await child.communicate())[0] == b"[(1,)]\n"
            assert soundness.wal(path).stat().st_ino == log.st_ino
            assert soundness.wal(path).stat().st_size == log.st_size
            assert await database.read(lambda tx: tx.row("fact", key="k")) is not None


async def test_a_schema_that_is_no_text_is_damage(tmp_path: Path) -> None:
    """SQLite quotes it in its message, which Python's module cannot decode then."""
    path = tmp_path / "claraedge.db"
    async with Database(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = 'CREATE', name = CAST(x'b3ff' AS TEXT)"
            " WHERE name = 'facts'"
        )
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(DamagedStateError, match="claraedge repair"):
        async with Database(path):
            pass
    assert path.read_bytes() == before
    salvage(path, tmp_path / "new.db")
