"""Reads rows from a text of separated values, such as CSV. Pure.

The `Sniffer` of Python's `csv` needs minutes for some texts (python/cpython#109638), so it is not
used.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from claraedge.web.console.results.excerpts import Excerpt, fitted, width_of

#: What may separate values. Of several that fit equally well, the first one is used: where a comma
#: is part of numbers, as in `1,5;2,5`, it does not separate.
_SEPARATORS = "\t;|,"
#: Lines that are compared to find it.
_COMPARED = 50
_ROWS, _COLUMNS, _CHARACTERS = 1000, 60, 300
#: Lines of one value in quotes.
_LINES = 50
#: Bytes of a page for all cells, and those of the elements of one.
_SHOWN, _CELL = 110_000, 12
#: The first line of some spreadsheets: `sep=;`.
_SAID = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[-+]?[\d.,]*\d[\d.,]*(?:[eE][-+]?\d+)?\s*%?\s*")


@dataclass(frozen=True, slots=True)
class ValueTable:
    """Rows of values."""

    head: list[str]
    """The names of the columns; empty if the file has none."""
    rows: list[list[str]]
    """All have the same length."""
    more_rows: bool
    more_columns: bool
    separator: str


def table_of(excerpt: Excerpt) -> ValueTable | None:
    """Returns the rows of a text; None if it has no two columns and no two rows."""
    text = excerpt.text
    said = _SAID.match(text)
    if said is not None:
        text = text[said.end() :]
    separator = said[1] if said is not None else _separator(text)
    rows, whole = _rows(text, separator, whole=excerpt.whole)
    columns = max(map(len, rows), default=0)
    if len(rows) < 2 and columns < 2:
        return None
    width = min(columns, _COLUMNS)
    rows = [row[:width] + [""] * (width - len(row)) for row in rows]
    head = rows.pop(0) if _has_head(rows) else []
    return ValueTable(
        head=head,
        rows=rows,
        more_rows=not whole,
        more_columns=columns > _COLUMNS,
        separator=separator,
    )


def _separator(text: str) -> str:
    """Returns the separator with which most of the first lines have the same number of values."""
    lines = [line for line in text.split("\n", _COMPARED)[:_COMPARED] if line.strip()]
    best, most = ",", 0
    for separator in _SEPARATORS:
        counts = Counter(_count(line, separator) for line in lines)
        del counts[0]
        number = max(counts.values(), default=0)
        if number > most:
            best, most = separator, number
    return best


def _count(line: str, separator: str) -> int:
    """Returns how often a separator stands outside of quotes in a line."""
    return sum(part.count(separator) for part in line.split('"')[::2])


def _rows(text: str, separator: str, *, whole: bool) -> tuple[list[list[str]], bool]:
    """Returns the rows that fit on a page, and whether these are all.

    A row has a cell more than `_COLUMNS` where it had more. The last row of a text that is not
    whole is left out: it may be a part.
    """
    found: list[list[str]] = []
    left, last = _SHOWN, None
    quoting: Literal[0, 3] = (
        csv.QUOTE_NONE if _has_open_quote(text, separator) else csv.QUOTE_MINIMAL
    )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting)
    try:
        for row in reader:
            if not row:
                continue
            if last is not None:
                found.append(last)
            last = [_cell(value) for value in row[: _COLUMNS + 1]]
            left -= sum(width_of(cell) + _CELL for cell in last)
            if left < 0 or len(found) >= _ROWS:
                return found, False
    except csv.Error:  # a value of more than 128 KiB
        whole = False
    if last is not None and (whole or not found):
        found.append(last)
    return found, whole


def _has_open_quote(text: str, separator: str) -> bool:
    """Returns whether a value seems to continue over so many lines that its quote is no quote."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        return any(cell.count("\n") > _LINES for row in reader for cell in row)
    except csv.Error:
        return True


def _cell(value: str) -> str:
    text = fitted(Excerpt(value[: _CHARACTERS + 1], "", whole=True)).text
    return f"{text[:_CHARACTERS]}…" if len(text) > _CHARACTERS else text


def _has_head(rows: list[list[str]]) -> bool:
    """Returns whether the first row has names: no number, and all of them different."""
    first = [cell.strip() for cell in rows[0]]
    return (
        len(rows) > 1
        and len(set(first)) == len(first)
        and not any(_NUMBER.fullmatch(cell) for cell in first)
    )
