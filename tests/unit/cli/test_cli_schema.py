"""`claraedge schema` prints the schema that is shipped."""

from __future__ import annotations

from collections.abc import Callable

from claraedge.pipelines.export import schema


def test_the_schema_is_printed(claraedge: Callable) -> None:
    answer = claraedge("schema")
    assert (answer.code, answer.out, answer.err) == (0, schema.text(), "")
