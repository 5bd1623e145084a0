"""No query and no trigger reads a whole table that grows with the jobs that have been."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest

from claraedge.store.migrations import migrate
from claraedge.store.queries import load_queries

#: Tables with rows of jobs, items and payloads that are done, which are kept for months.
GROWING = frozenset(
    ("artifacts", "deliveries", "events", "inbox_items", "job_log", "job_messages", "jobs", "kept",
     "metadata", "operators", "payload_files", "payloads")
)  # fmt: skip
#: Partial indexes: their rows are those that are in work or wait for something.
OPEN = frozenset(
    ("artifacts_unmeasured", "deliveries_due", "inbox_items_open", "jobs_not_stopped", "jobs_open",
     "kept_undated", "operators_running", "payloads_reusable")
)  # fmt: skip
#: Why a query may read a table, or a part of it that grows.
ALLOWED = {
    "all_items_count": "it counts the rows of the smallest index",
    "all_jobs_count": "it counts the rows of the smallest index",
    "failed_item_counts": "it counts failures by their own index, until retention removes them",
    "find_items_after": "a word that is in no name is searched for in all metadata, once",
    "find_items_before": "a word that is in no name is searched for in all metadata, once",
    "find_jobs_after": "a word that is in no name is searched for in all metadata, once",
    "find_jobs_before": "a word that is in no name is searched for in all metadata, once",
    "all_items": "it lists all items",
    "all_jobs": "it lists all jobs",
    "events_after": "it ends after `:limit` rows",
    "failed_items": "it lists all failures",
    "oldest_event": "it ends after one row",
    "item_counts": "it counts failures by their own index, until retention removes them",
    "newest_record": "it ends after one row",
    "oldest_jobs": "it ends after `:limit` rows, and removes them",
    "prune_events": "it removes the rows that it reads",
    "status_counts": "it counts failures by their own index, until retention removes them",
}

_ALIAS = re.compile(r"\b(?:FROM|JOIN|UPDATE|INTO)\s+(\w+)(?:\s+AS)?\s+(\w+)")
_RANGE = re.compile(r"USING INTEGER PRIMARY KEY \(rowid[<>]")
_OF_INDEX = re.compile(r"USING INDEX sqlite_autoindex_(\w+)_\d+ FOR IN-OPERATOR")
_INDEX = re.compile(r"USING (?:COVERING )?INDEX (\w+)")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


def whole_reads(connection: sqlite3.Connection, text: str) -> list[str]:
    """Returns the lines of a statement's plan that read all of a growing table, or a range of it
    by its rowid.
    """
    names = dict.fromkeys(re.findall(r":(\w+)", text))
    aliases = {alias: table for table, alias in _ALIAS.findall(text)}
    found = []
    for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {text}", names):
        index = _INDEX.search(line)
        if index is not None and index[1] in OPEN:
            continue
        what, table = line.split()[:2]
        if (of := _OF_INDEX.search(line)) is not None:  # perhaps the outer loop
            what, table = "SCAN", of[1]
        # Without an index it is MIN or MAX, which reads up to the first row that matches.
        is_whole = what == "SCAN" or _RANGE.search(line) or line == f"SEARCH {table}"
        if is_whole and aliases.get(table, table) in GROWING:
            found.append(line)
    return found


def triggers(connection: sqlite3.Connection) -> Mapping[str, list[str]]:
    """Returns the statements of each trigger, with parameters for the changed row."""
    found = {}
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    for name, text in rows.fetchall():
        body = text[re.search(r"\bBEGIN\b", text).end() : text.rindex("END")]  # type: ignore[union-attr]
        parameters = re.sub(r"\b(NEW|OLD)\.(\w+)", r":\1_\2", body)
        found[name] = [part for part in parameters.split(";") if part.strip()]
    return found


@pytest.mark.parametrize("name", sorted(load_queries()))
def test_a_query_reads_no_whole_table_that_grows(connection: sqlite3.Connection, name: str) -> None:
    found = whole_reads(connection, load_queries()[name])
    assert bool(found) == (name in ALLOWED), found


def test_a_trigger_reads_no_whole_table_that_grows(connection: sqlite3.Connection) -> None:
    found = triggers(connection)
    assert len(found) > 20
    for name, statements in found.items():
        for statement in statements:
            assert whole_reads(connection, statement) == [], name


def test_a_foreign_key_to_a_row_that_is_removed_has_an_index(
    connection: sqlite3.Connection,
) -> None:
    """Without one, each removal of the other row reads the whole table."""
    for table in GROWING:
        for key in connection.execute(f"PRAGMA foreign_key_list({table})").fetchall():
            column = key[3]
            plan = connection.execute(
                f"EXPLAIN QUERY PLAN SELECT 1 FROM {table} WHERE {column} = 'x'"
            ).fetchall()
            assert all(line.startswith("SEARCH") for *_, line in plan), (table, column)


def test_a_whole_read_is_noticed(connection: sqlite3.Connection) -> None:
    for text in (
        "SELECT * FROM jobs j WHERE j.name = :name",
        "SELECT * FROM jobs WHERE sequence > :after ORDER BY sequence",
        "SELECT MIN(sequence) FROM jobs WHERE created > :time",
        "SELECT id FROM inbox_items WHERE id NOT IN (SELECT id FROM payloads)",
        "DELETE FROM inbox_seen WHERE id NOT IN (SELECT id FROM inbox_items)",
    ):
        assert whole_reads(connection, text), text
    assert not whole_reads(connection, "SELECT * FROM jobs WHERE id = :id")
