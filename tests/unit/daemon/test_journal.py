"""The log: one event is one line, whatever a name in it holds."""

from __future__ import annotations

import json
import logging

import pytest

from claraedge.daemon.journal import JsonFormatter, TextFormatter

NAME = "a\nb\x1b[31m\udcff"


def event(text: str, *arguments: object, **fields: object) -> logging.LogRecord:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, text, arguments, None)
    vars(record).update(fields)
    return record


@pytest.mark.parametrize("prefix", [False, True])
def test_a_name_cannot_forge_a_line_nor_reach_the_terminal(prefix: bool) -> None:
    line = TextFormatter(prefix=prefix).format(event("%s failed", NAME, item=NAME))
    assert line.isprintable()
    assert r"a\nb\x1b[31m\udcff failed  item=" in line
    assert line.startswith("<6>" if prefix else "")


def test_readable_names_stay_as_they_are() -> None:
    line = TextFormatter(prefix=False).format(event("ü ☃.dcm failed", job="1", why="no room"))
    assert line.endswith('ü ☃.dcm failed  job=1 why="no room"')


def test_every_line_of_a_trace_has_its_priority() -> None:
    record = event("broken")
    try:
        raise ValueError("why")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    lines = TextFormatter(prefix=True).format(record).splitlines()
    assert lines[0] == "<6>broken"
    assert len(lines) > 2
    assert all(line.startswith("<6>") for line in lines)


def test_json_is_one_object_a_line() -> None:
    line = JsonFormatter().format(event("%s failed", NAME, item=NAME))
    assert "\n" not in line
    assert json.loads(line)["item"] == NAME
