"""Copies everything readable of a damaged database into a new one.

SQLite stops at the first damaged page of a scan. So a table is read from its beginning up to the
damage, and then from behind it: the next readable place is searched in steps that double, and from
there the table is also read backwards to the damage.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.store.migrations import begin, migrate, schema_version
from claraedge.store.soundness import FAILURES, IMPOSSIBLE, check

#: Ids and digests are hexadecimal: this number of leading digits is used as a number to order them.
_DIGITS = 15
_END = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The result for one table."""

    name: str
    rows: int
    """Number of rows in the new database."""
    whole: bool
    """No damage was found in it, and none of its rows had to be removed."""


def salvage(old: Path, new: Path) -> Sequence[Table]:
    """Creates `new` from everything readable of `old`, and returns the result for each table.

    `old` is not changed. Rows that refer to lost rows, and rows with impossible values, are lost as
    well. Raises DamagedStateError where the new database is damaged, too.
    """
    with contextlib.closing(sqlite3.connect(new)) as target:
        target.isolation_level = None
        target.execute("PRAGMA synchronous = FULL")
        with contextlib.ExitStack() as stack:
            source = None
            with contextlib.suppress(*FAILURES):
                uri = f"{old.absolute().as_uri()}?mode=ro"
                source = stack.enter_context(contextlib.closing(sqlite3.connect(uri, uri=True)))
                source.execute("PRAGMA cell_size_check = ON")
                # With this, the part of a damaged schema before the damage is used. The first
                # statement fails all the same. Source: SQLite's prepare.c, NoSchemaError.
                source.execute("PRAGMA writable_schema = ON")
                source.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
            met = _copy(source, target)
        migrate(target)
        with without_triggers(target):
            met |= _drop_impossible(target)
            met |= _keep_history(target)
            met |= _drop_orphans(target)
            _complete(target)
        with contextlib.ExitStack() as open_files:
            check(target, new, open_files)
        return [
            Table(
                name=name,
                rows=target.execute(f"SELECT count(*) FROM {name}").fetchone()[0],
                whole=name not in met,
            )
            for name in _tables(target)
        ]


def _tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rootpage"
    )
    return [name for (name,) in rows if not name.startswith(("sqlite_", "_sqlite_"))]


def _copy(source: sqlite3.Connection | None, target: sqlite3.Connection) -> set[str]:
    """Copies all readable rows; returns the tables in which damage was found."""
    steps = schema_version()
    if source is not None:
        with contextlib.suppress(*FAILURES):
            steps = source.execute("PRAGMA user_version").fetchone()[0] or steps
    begin(target, min(steps, schema_version()))
    met = set()
    with without_triggers(target):
        for table in _tables(target):
            target.execute(f"DELETE FROM {table}")
            if source is None or not _Reader(source, target, table).read():
                met.add(table)
    return met


@contextlib.contextmanager
def without_triggers(target: sqlite3.Connection) -> Iterator[None]:
    """Runs a transaction without the triggers of the database.

    They record changes of the state, and copying rows is no such change.
    """
    triggers = target.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall()
    target.execute("BEGIN")
    for name, _ in triggers:
        target.execute(f"DROP TRIGGER {name}")
    yield
    for _, sql in triggers:
        target.execute(sql)
    target.execute("COMMIT")


class _Reader:
    """Copies one table, around any damage in it."""

    def __init__(self, source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
        self._source = source
        self._target = target
        columns = target.execute(f"PRAGMA table_info({table})").fetchall()
        names = ", ".join(f'"{column[1]}"' for column in columns)
        keys = [column[1] for column in sorted(columns, key=lambda c: c[5]) if column[5]]
        with_rowid = "WITHOUT ROWID" not in _sql(target, table)
        self._by_number = with_rowid
        self._key = "rowid" if with_rowid else keys[0]
        self._select = f"SELECT {self._key}, {names} FROM {table}"
        self._up = ", ".join(["rowid"] if with_rowid else keys)
        self._down = ", ".join(f"{key} DESC" for key in (["rowid"] if with_rowid else keys))
        places = ", ".join("?" * len(columns))
        self._insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})"
        self._sound = True

    def read(self) -> bool:
        """Copies the table; returns whether all of it could be read."""
        last, ended = self._scan(f"{self._select} ORDER BY {self._up}", ())
        if ended:
            return self._sound
        at, step = self._after(last, -1), 1
        while at < _END:
            last, ended = self._scan(
                f"{self._select} WHERE {self._key} >= ? ORDER BY {self._up}", (self._place(at),)
            )
            if last is not None:
                self._back(at)
                at, step = self._after(last, at), 1
            else:
                at, step = at + step, step * 2
            if ended and last is not None:
                return False
        self._back(_END)
        return False

    def _back(self, at: int) -> None:
        self._scan(
            f"{self._select} WHERE {self._key} <= ? ORDER BY {self._down}", (self._place(at),)
        )

    def _scan(self, query: str, given: tuple[object, ...]) -> tuple[object, bool]:
        """Copies rows to the end or the damage; returns the last key, and whether all were read."""
        last = None
        try:
            for key, *values in self._source.execute(query, given):
                last = key
                try:
                    self._target.execute(self._insert, values)
                except sqlite3.Error:  # a value that its column does not accept
                    self._sound = False
        except FAILURES:
            return last, False
        return last, True

    def _place(self, at: int) -> object:
        return at if self._by_number else f"{max(0, at):0{_DIGITS}x}"

    def _after(self, last: object, before: int) -> int:
        if isinstance(last, int):
            return last + 1
        with contextlib.suppress(ValueError):
            if isinstance(last, str):
                return max(before + 1, int(last[:_DIGITS], 16) + 1)
        return before + 1


def _sql(connection: sqlite3.Connection, table: str) -> str:
    query = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
    return str(connection.execute(query, (table,)).fetchone()[0])


def _drop_impossible(target: sqlite3.Connection) -> set[str]:
    return {
        table
        for table, condition in IMPOSSIBLE.items()
        if target.execute(f"DELETE FROM {table} WHERE {condition}").rowcount
    }


def _keep_history(target: sqlite3.Connection) -> set[str]:
    """Keeps stopped jobs whose definition or payload is lost: both count as removed.

    Returns the tables that lost rows.
    """
    removed = target.execute(
        "DELETE FROM pipelines WHERE definition NOT IN (SELECT digest FROM definitions)"
    ).rowcount
    ended = (
        "FROM jobs WHERE state = 3"
        " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.job = jobs.id AND d.state <> 'done')"
    )
    target.execute(
        f"INSERT OR IGNORE INTO definitions (digest, files) SELECT definition, '[]' {ended}"
    )
    target.execute(
        "INSERT OR IGNORE INTO payloads (id, type, created, sealed, deleted)"
        f" SELECT payload, 1, created, 1, coalesce(stopped, created) {ended}"
    )
    return {"pipelines"} if removed else set()


def _drop_orphans(target: sqlite3.Connection) -> set[str]:
    """Removes rows that refer to lost rows, repeatedly until none is left; returns the tables."""
    found: set[str] = set()
    while more := set(_orphans(target)):
        found |= more
    return found


def _orphans(target: sqlite3.Connection) -> Iterator[str]:
    for table in _tables(target):
        for foreign in target.execute(f"PRAGMA foreign_key_list({table})").fetchall():
            parent, column, theirs = foreign[2:5]
            removed = target.execute(
                f"DELETE FROM {table} WHERE {column} IS NOT NULL"
                f" AND {column} NOT IN (SELECT {theirs} FROM {parent})"
            ).rowcount
            if removed:
                yield table
    # An item with a job ends when that is delivered: without a delivery it would wait for ever.
    if target.execute(
        "DELETE FROM inbox_items WHERE state = 'submitted' AND duplicate_of IS NULL"
        " AND (job IS NULL OR job NOT IN (SELECT job FROM deliveries))"
    ).rowcount:
        yield "inbox_items"


def _complete(target: sqlite3.Connection) -> None:
    """Creates rows that follow from other rows, and makes watchers of events start again."""
    target.execute("DELETE FROM facts WHERE key = 'epoch'")
    target.execute(
        "INSERT INTO artifacts (job, payload, stopped)"
        " SELECT j.id, p.id, coalesce(j.stopped, j.created) FROM jobs j"
        " LEFT JOIN payloads p ON p.id = j.payload AND p.deleted IS NULL"
        " WHERE j.state = 3 AND j.id NOT IN (SELECT job FROM artifacts) ORDER BY j.sequence"
    )
    for kind in ("result", "failure", "original"):
        target.execute(
            "INSERT OR REPLACE INTO kept_totals (kind, count, size)"
            " SELECT ?, count(*), coalesce(sum(size), 0) FROM kept WHERE kind = ?",
            (kind, kind),
        )
    target.execute("DELETE FROM artifact_totals")
    target.execute(
        "INSERT INTO artifact_totals (jobs, payloads, payload_bytes, logs, log_bytes)"
        " SELECT count(*), count(payload), coalesce(sum(payload_size), 0),"
        " coalesce(sum(logs), 0), coalesce(sum(log_size), 0) FROM artifacts"
    )
