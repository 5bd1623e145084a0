"""The schema, as the migrations that lead to it. A released migration is never changed.

Two records say which migrations a file has: the table of sqlite-utils, and `user_version` in the
file's header, which is readable without opening the file as a database.
"""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path
from typing import Any

import sqlite_utils
from sqlite_utils import Migrations

from claraedge.errors import NewerStateError, StateFolderError
from claraedge.store.soundness import damaged

SCHEMA = Migrations("claraedge")

_SCRIPTS = Path(__file__).parent / "schema"

_HEADER = b"SQLite format 3\x00"
_USER_VERSION_AT = 60


#: The scripts of the first migration, in their order: tables, views and triggers by owner.
_FIRST = (
    "facts", "pipelines", "payloads", "jobs", "deliveries", "inbox", "models",
    "events", "job_log", "artifacts", "kept", "packages", "deployments",
    "routes", "networks", "bags", "search",
)  # fmt: skip


@SCHEMA()
def first(db: Any) -> None:
    """Creates the schema of the first release."""
    for name in _FIRST:
        _run(db, (_SCRIPTS / f"{name}.sql").read_text(encoding="utf-8"))


def _run(db: Any, script: str) -> None:
    """Runs a script inside the transaction of its migration, which executescript would end.

    The semicolon of each statement must be at the end of a line.
    """
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
    assert not statement.strip(), "the last statement lacks its semicolon"


def schema_version() -> int:
    """Returns the number of migrations that this version knows."""
    return len(SCHEMA._migrations)


def steps_taken(connection: sqlite3.Connection) -> int:
    """Returns the number of migrations that a database of ours has; 0 for an empty one."""
    database = sqlite_utils.Database(connection)
    if Migrations.migrations_table not in database.table_names():
        return 0
    return len(SCHEMA.applied(database))


def refuse_newer(path: Path) -> None:
    """Raises NewerStateError where a newer claraedge wrote the file. Reads only 100 bytes.

    Raises DamagedStateError where the file does not begin like a database.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return
    if not header:
        return
    if len(header) < 100 or not header.startswith(_HEADER):
        raise damaged(path, "it does not begin as a database does")
    (version,) = struct.unpack_from(">I", header, _USER_VERSION_AT)
    if version > schema_version():
        raise _newer(path, version)


def _path(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA database_list").fetchone()[2])


def _newer(path: Path | str, version: int) -> NewerStateError:
    return NewerStateError(
        f"{path} was written by a newer claraedge (schema {version}, this one knows"
        f" {schema_version()}); install that version again, or put back a copy of before, from"
        f" {Path(path).parent / 'copies'} (docs/state.md)"
    )


def begin(connection: sqlite3.Connection, steps: int) -> None:
    """Creates the tables of an empty file as they were after the first `steps` migrations."""
    following = [step.name for step in SCHEMA._migrations[steps:]]
    SCHEMA.apply(sqlite_utils.Database(connection), stop_before=following[:1])


def refuse_foreign(connection: sqlite3.Connection) -> None:
    """Raises NewerStateError where a newer claraedge created the tables.

    Raises StateFolderError where another program did.
    """
    database = sqlite_utils.Database(connection)
    (recorded,) = connection.execute("PRAGMA user_version").fetchone()
    unknown = {m.name for m in SCHEMA.applied(database)} - {m.name for m in SCHEMA._migrations}
    if recorded > schema_version() or unknown:  # after a crash, the header may not show it
        raise _newer(_path(connection), max(recorded, schema_version() + len(unknown)))
    tables = set(database.table_names())
    if tables and Migrations.migrations_table not in tables:
        raise StateFolderError(
            f"{_path(connection)} is a database of another program; move it elsewhere, or choose"
            " another state folder"
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Applies the missing migrations, each in its own transaction. Raises as `refuse_foreign`."""
    refuse_foreign(connection)
    database = sqlite_utils.Database(connection)
    (recorded,) = connection.execute("PRAGMA user_version").fetchone()
    pending = bool(SCHEMA.pending(database))
    if pending:
        SCHEMA.apply(database)
    if pending or recorded != schema_version():  # a crash may have come between the two records
        connection.execute(f"PRAGMA user_version = {schema_version()}")
        # The header in the file must show it, even while all other changes are only in the WAL.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
