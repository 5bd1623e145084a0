"""Text for people: tables, times in local time, sizes, progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import click

_BAR_FROM = 8 * 1024 * 1024


#: Values of one key that are shown.
_SOME = 20
#: Characters: the longest cell that all rows make room for. UIDs of studies have 64.
_WIDEST = 64


def clean(text: str) -> str:
    """`text` on one line, safe for a terminal: what is not printable is escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns, two spaces apart, with headings; a cell beyond `_WIDEST` moves its own row alone."""
    cells = [list(headings), *([clean(cell) for cell in row] for row in rows)]
    widths = [
        max([len(headings[column]), *(len(r[column]) for r in cells if len(r[column]) <= _WIDEST)])
        for column in range(len(headings))
    ]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def lines(values: Sequence[tuple[str, str]]) -> str:
    """`KEY: value`, one a line."""
    return "\n".join(f"{key}: {clean(value)}".rstrip() for key, value in values)


def some(key: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """Values of one key for `lines`: the first ones, and how many more there are."""
    rest = len(values) - _SOME
    more = [(key, f"and {rest} more")] if rest > 0 else []
    return [(key, value) for value in values[:_SOME]] + more


def local(moment: datetime | None) -> str:
    """Local time to the second; `-` where it has not happened."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else "-"


def size(count: int) -> str:
    """Bytes with a unit."""
    value, units = float(count), ["KiB", "MiB", "GiB", "TiB"]
    if count < 1024:
        return f"{count} B"
    unit = ""
    while value >= 1024 and units:
        value, unit = value / 1024, units.pop(0)
    return f"{value:.1f} {unit}"


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], object]]:
    """A bar on stderr for long transfers at a terminal; the function takes the bytes of a chunk."""
    if total < _BAR_FROM or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update
