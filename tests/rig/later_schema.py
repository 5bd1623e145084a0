"""A schema that is one migration longer than the product's: what the next version will have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlite_utils import Migrations

from claraedge.store import migrations

NAME = "later"


def _later(db: Any) -> None:
    db.execute("ALTER TABLE jobs ADD COLUMN later TEXT")
    db.execute("UPDATE jobs SET later = name")


@contextmanager
def longer_schema() -> Iterator[None]:
    """Gives this process the longer schema while the context is open."""
    before, migrations.SCHEMA = migrations.SCHEMA, later_schema()
    try:
        yield
    finally:
        migrations.SCHEMA = before


def later_schema(change: Callable[[Any], None] = _later) -> Migrations:
    """Returns the migrations of the product and one more; by default it changes each job."""
    schema = Migrations("claraedge")
    for step in migrations.SCHEMA._migrations:
        schema(name=step.name)(step.fn)
    schema(name=NAME)(change)
    return schema
