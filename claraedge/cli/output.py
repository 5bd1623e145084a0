"""Formats text for people: tables, local times, sizes, progress bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import click

#: Bytes of a transfer from which on a progress bar is shown.
_BAR_FROM = 8 * 1024 * 1024


#: Maximum values of one key that are shown.
_SOME = 20
#: Characters of the longest cell that widens its column. UIDs of DICOM studies have 64.
_WIDEST = 64


def clean(text: str) -> str:
    """Returns `text` on one line and safe for a terminal: unprintable characters are escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table with headings and columns two spaces apart.

    A cell longer than `_WIDEST` does not widen its column; it shifts only the rest of its row.
    """
    cells = [list(headings), *([clean(cell) for cell in row] for row in rows)]
    widths = [
        max([len(headings[column]), *(len(r[column]) for r in cells if len(r[column]) <= _WIDEST)])
        for column in range(len(headings))
    ]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def lines(values: Sequence[tuple[str, str]]) -> str:
    """Returns lines of the form `KEY: value`."""
    return "\n".join(f"{key}: {clean(value)}".rstrip() for key, value in values)


def some(key: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """Returns pairs for `lines`: the first values of one key, and the number of the others."""
    rest = len(values) - _SOME
    more = [(key, f"and {rest} more")] if rest > 0 else []
    return [(key, value) for value in values[:_SOME]] + more


def local(moment: datetime | None) -> str:
    """Formats a local time in whole seconds; `-` for None."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else "-"


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], object]]:
    """Shows a progress bar on stderr for long transfers on a terminal.

    Yields the function to call with the bytes of each chunk. `total` is in bytes.
    """
    if total < _BAR_FROM or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update
