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


@SCHEMA()
def first(db: Any) -> None:
    """Creates pipelines, payloads, jobs, deliveries and the inbox."""
    _run(db, _FIRST)


@SCHEMA()
def events(db: Any) -> None:
    """Adds the log of state changes, which triggers write."""
    _run(db, (_SCRIPTS / "events.sql").read_text(encoding="utf-8"))


@SCHEMA()
def job_log(db: Any) -> None:
    """Adds the log of each job, which triggers write."""
    _run(db, (_SCRIPTS / "job_log.sql").read_text(encoding="utf-8"))


@SCHEMA()
def engine(db: Any) -> None:
    """Adds running times of jobs, and attempts that follow failures."""
    _run(db, (_SCRIPTS / "engine.sql").read_text(encoding="utf-8"))


@SCHEMA()
def leavings(db: Any) -> None:
    """Adds the data that stopped jobs leave, recorded by triggers."""
    _run(db, (_SCRIPTS / "leavings.sql").read_text(encoding="utf-8"))


@SCHEMA()
def inbox(db: Any) -> None:
    """Adds groups, options of triggers, duplicates, and entries that are seen and not claimed."""
    _run(db, (_SCRIPTS / "inbox.sql").read_text(encoding="utf-8"))


@SCHEMA()
def pipeline_files(db: Any) -> None:
    """Adds which file of pipelines.d defines a pipeline."""
    _run(db, (_SCRIPTS / "pipeline_files.sql").read_text(encoding="utf-8"))


@SCHEMA()
def kept(db: Any) -> None:
    """Adds records of results, failures and originals, and digests of the files of payloads."""
    _run(db, (_SCRIPTS / "kept.sql").read_text(encoding="utf-8"))


@SCHEMA()
def groups(db: Any) -> None:
    """Adds an index to find the items of one study or series."""
    _run(db, (_SCRIPTS / "groups.sql").read_text(encoding="utf-8"))


@SCHEMA()
def disposable(db: Any) -> None:
    """Adds the files of the state that may be removed (see `disposable`)."""
    _run(db, (_SCRIPTS / "disposable.sql").read_text(encoding="utf-8"))


@SCHEMA()
def remedy(db: Any) -> None:
    """Renames the command that helps with an item to `remedy`."""
    _run(db, (_SCRIPTS / "remedy.sql").read_text(encoding="utf-8"))


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


_FIRST = """
CREATE TABLE facts (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE definitions (
    digest TEXT PRIMARY KEY,        -- sha256 of the files, so that equal ones are stored once
    files TEXT NOT NULL             -- JSON [{path, content}]
) STRICT, WITHOUT ROWID;

CREATE TABLE pipelines (
    sequence INTEGER PRIMARY KEY,   -- order of creation
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    definition TEXT NOT NULL REFERENCES definitions (digest),
    created REAL NOT NULL,
    removed REAL
) STRICT;
CREATE INDEX pipelines_by_name ON pipelines (name_folded, sequence) WHERE removed IS NULL;

CREATE TABLE metadata (
    owner TEXT NOT NULL,            -- id of a pipeline, job, reusable payload or model
    key_folded TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, key_folded)
) STRICT, WITHOUT ROWID;

CREATE TABLE payloads (
    id TEXT PRIMARY KEY,
    type INTEGER NOT NULL,          -- 1 a job's own, 2 reusable
    created REAL NOT NULL,
    sealed INTEGER NOT NULL DEFAULT 0,  -- 1: clients change it no more
    deleted REAL
) STRICT, WITHOUT ROWID;

CREATE TABLE payload_files (
    payload TEXT NOT NULL REFERENCES payloads (id),
    name TEXT NOT NULL,             -- relative to the payload's root, as a client sees it
    size INTEGER NOT NULL,          -- bytes
    mode INTEGER NOT NULL,          -- permission bits, as reported
    blob BLOB NOT NULL,             -- path of the bytes, relative to the payload's folder
    PRIMARY KEY (payload, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    sequence INTEGER PRIMARY KEY,   -- order of creation
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    pipeline TEXT NOT NULL,         -- id; the pipeline may be removed meanwhile
    pipeline_name TEXT NOT NULL,
    payload TEXT NOT NULL UNIQUE REFERENCES payloads (id),
    definition TEXT NOT NULL REFERENCES definitions (digest),
    snapshot TEXT,                  -- the resolved pipeline, from Start on
    variables TEXT,                 -- JSON object, from Start on
    state INTEGER NOT NULL,         -- numbers of the wire: 1 pending, 2 running, 3 stopped
    status INTEGER NOT NULL,        -- 1 healthy, 2 faulted, 3 canceled, 4 evicted, 5 terminated
    priority INTEGER NOT NULL,      -- 1 lower, 2 normal, 3 higher, 4 immediate
    queue_position INTEGER UNIQUE,  -- order of Start; NULL: never started
    cancel_reason TEXT,             -- set: the job is being cancelled, or was
    created REAL NOT NULL,
    started REAL,
    stopped REAL
) STRICT;
CREATE INDEX jobs_not_stopped ON jobs (queue_position) WHERE state < 3;

CREATE TABLE job_messages (
    job TEXT NOT NULL REFERENCES jobs (id),
    position INTEGER NOT NULL,
    time REAL NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE operators (
    job TEXT NOT NULL REFERENCES jobs (id),
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    status INTEGER NOT NULL,        -- 1 pending, 2 running, 3 completed, 4 faulted
    attempt INTEGER NOT NULL DEFAULT 0,       -- of the running or the last one; 0: none yet
    interruptions INTEGER NOT NULL DEFAULT 0, -- attempts that the machine ended
    image TEXT,                     -- id that the attempt ran
    container TEXT,                 -- Podman's id of the attempt's container
    exit_code INTEGER,
    boot TEXT,                      -- the kernel's boot id when it was started
    created REAL NOT NULL,
    started REAL,
    stopped REAL,
    PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    job TEXT PRIMARY KEY REFERENCES jobs (id),
    folder TEXT NOT NULL,           -- result folder: <pipeline>/<slug>-<8 digits of the job id>
    outputs TEXT NOT NULL,          -- JSON [operator or operator/output] that the trigger names
    item TEXT,                      -- the inbox item, where there is one
    state TEXT NOT NULL,            -- waiting (job runs), due, parked, done
    reason TEXT NOT NULL DEFAULT '',
    path TEXT                       -- where the results or the failure are, once done
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (state) WHERE state <> 'done';

CREATE TABLE inbox_items (
    sequence INTEGER PRIMARY KEY,   -- order of the claims
    id TEXT NOT NULL UNIQUE,        -- also that of the payload that is made of it
    folder TEXT NOT NULL,           -- absolute path of the folder that it was dropped into
    name BLOB NOT NULL,             -- raw bytes of the entry's name
    pipeline TEXT NOT NULL,         -- name or id, as the trigger has it
    deliver TEXT NOT NULL,          -- JSON [operator or operator/output] that the trigger names
    state TEXT NOT NULL,            -- claimed, parked (held), submitted, delivered, failed
    reason TEXT NOT NULL DEFAULT '',
    mend TEXT NOT NULL DEFAULT '',  -- a command that takes the reason away
    fingerprint TEXT NOT NULL,      -- of all stat values of the entry and what is in it
    content TEXT NOT NULL,          -- of those that a rename leaves as they are
    size INTEGER NOT NULL,          -- bytes
    job TEXT REFERENCES jobs (id),
    path TEXT,                      -- where its results or its failure lie
    first_seen REAL NOT NULL,
    changed REAL NOT NULL
) STRICT;
CREATE INDEX inbox_items_open ON inbox_items (state) WHERE state IN ('claimed', 'parked');

CREATE TABLE models (
    sequence INTEGER PRIMARY KEY,   -- order of the first uploads
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,      -- of its folder, and in the inference server
    type INTEGER NOT NULL,          -- numbers of the wire: 1 TensorFlow, 2 TensorRT, 3 PyTorch
    generation INTEGER NOT NULL,    -- counts the uploads; names the folder of the present files
    created REAL NOT NULL
) STRICT;

CREATE TABLE model_sets (
    sequence INTEGER PRIMARY KEY,   -- order of creation
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,             -- catalog, instance
    created REAL NOT NULL
) STRICT;

CREATE TABLE model_set_members (
    model_set TEXT NOT NULL REFERENCES model_sets (id),
    model TEXT NOT NULL REFERENCES models (id),
    position INTEGER NOT NULL,
    PRIMARY KEY (model_set, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX model_set_members_of_model ON model_set_members (model);
"""


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
            f"{_path(connection)} is a database of another program; move it away, or choose another"
            " state folder"
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
