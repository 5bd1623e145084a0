"""The named queries: each is there once, and SQLite accepts every one of them."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from claraedge.store.database import Database
from claraedge.store.queries import load_queries

PACKAGE = Path(__file__).parents[3] / "claraedge"


async def test_sqlite_accepts_every_query(tmp_path: Path) -> None:
    async with Database(tmp_path / "claraedge.db") as database:
        with closing(sqlite3.connect(database.path)) as connection:
            for text in load_queries().values():
                names = set(re.findall(r":([a-z_][a-z0-9_]*)", text))
                connection.execute(f"EXPLAIN {text}", dict.fromkeys(names))


def test_no_query_is_left_over_and_none_is_missing() -> None:
    code = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    called = set(re.findall(r"\b(?:rows|row|run|run_many)\(\s*\"([a-z_]+)\"", code))
    known = set(load_queries())
    assert called - known == set()
    assert {name for name in known if f'"{name}"' not in code} == set()
    assert len(called) > 30


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- name: one\nSELECT 1;\n")
    (tmp_path / "b.sql").write_text("-- name: one\nSELECT 2;\n")
    with pytest.raises(KeyError, match="stands twice"):
        load_queries(tmp_path)
