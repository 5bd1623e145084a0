"""Queries of tests that the product has no use for."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from claraedge.store.database import Database


def query(database: Database, text: str, *values: object) -> list[tuple[Any, ...]]:
    """Runs one statement on a connection of its own, in which it is committed; returns its rows."""
    with closing(sqlite3.connect(database.path, timeout=60, isolation_level=None)) as connection:
        return connection.execute(text, values).fetchall()
