"""Logs of operators: one file per attempt, written by conmon, kept with the job.

A log over its limit loses its middle to a hole (`log_caps`). Readers find the hole by SEEK_DATA,
not by searching for zeros, which an operator may print, and show one line in its place.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

from claraedge.fs import files
from claraedge.jobs.logs.history import NAMES
from claraedge.jobs.logs.log_holes import data_from, hole_from
from claraedge.runner.log_lines import LineDecoder, decode

_READ = 1024 * 1024

#: Shown instead of a removed log. It existed: a job's log folder is made before any attempt is
#: recorded.
_REMOVED = (
    "[claraedge: the logs of this job's operators were removed, to keep within the device's limits"
    f" for what stopped jobs leave; the log of the job itself, {NAMES[0]}, is kept]\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLog:
    """Identifies the log of one attempt of an operator."""

    job: str
    operator: str
    attempt: int


class JobLogs:
    """The folder tree with the logs of jobs."""

    def __init__(
        self, state: Path, on_prepared: Callable[[AttemptLog], None] = lambda _log: None
    ) -> None:
        """`on_prepared` is called, in any thread, for each log that is about to be written."""
        self.root = state / "jobs"
        self._on_prepared = on_prepared

    def folder(self, job: str) -> Path:
        """Returns the folder with all logs of a job."""
        return self.root / job

    def path(self, job: str, operator: str, attempt: int) -> Path:
        """Returns the path of the log of one attempt."""
        return self.folder(job) / "logs" / operator / f"{attempt}.log"

    def prepare(self, job: str, operator: str, attempt: int) -> Path:
        """Creates the folder of a log without syncing it; returns the log's path."""
        path = self.path(job, operator, attempt)
        files.new_folders(path.parent)
        self._on_prepared(AttemptLog(job=job, operator=operator, attempt=attempt))
        return path

    def lines(self, job: str, operator: str, attempt: int) -> Iterator[str]:
        """Yields the present lines of an attempt; none if it has written none.

        One line stands for the part left out in the middle, and one for a log that was removed.
        """
        try:
            with self.path(job, operator, attempt).open("rb", buffering=0) as file:
                yield from _lines(file.fileno(), 0)
        except FileNotFoundError:
            yield from self._removed(job, attempt)

    def tail(self, job: str, operator: str, attempt: int, count: int) -> list[str]:
        """Returns the last `count` lines of an attempt; reads at most the last mebibyte."""
        try:
            with self.path(job, operator, attempt).open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                # If this offset is within a hole, the data before it is not needed.
                start = data_from(file.fileno(), max(0, size - _READ), size) if size > _READ else 0
                return list(deque(_lines(file.fileno(), start), maxlen=count))
        except FileNotFoundError:
            return self._removed(job, attempt)
        except OSError as error:  # a damaged log must not block a failure's report
            return [f"[claraedge: the log cannot be read: {error.strerror}]\n"]

    def grows(self, job: str, operator: str, attempt: int, tail: int) -> GrowingLog:
        """Returns the log of an attempt, to be read while it is written; see `GrowingLog`."""
        return GrowingLog(self.path(job, operator, attempt), tail)

    def missing(self, job: str, operator: str, attempt: int) -> list[str]:
        """Returns a line that stands for a log that was removed; none if it was not. Blocks."""
        return [] if self.path(job, operator, attempt).exists() else self._removed(job, attempt)

    def _removed(self, job: str, attempt: int) -> list[str]:
        return [_REMOVED] if attempt > 0 and not self.folder(job).exists() else []


@dataclass(frozen=True, slots=True)
class _Gap:
    size: int

    def text(self) -> str:
        return (
            f"[claraedge: {self.size:,} bytes of this log were left out here;"
            " it passed engine.operator_log_mb]\n"
        )


class GrowingLog:
    """A log that is read while it is written. A context manager; its methods block."""

    def __init__(self, path: Path, tail: int) -> None:
        """`tail`: only so many of the last lines that are there at the first read; 0: all."""
        self._path = path
        self._tail = tail
        self._file: FileIO | None = None
        self._parts: Iterator[bytes | _Gap] = iter(())
        self._end = 0
        self._decoder = LineDecoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def more(self) -> list[str]:
        """Returns the next lines, about a mebibyte; none if nothing was written meanwhile."""
        if self._file is None and not self._open():
            return []
        lines: deque[str] = deque(maxlen=self._tail or None)
        while not lines or self._tail:  # the last lines are not known before the end
            part = next(self._parts, None)
            if part is None and not self._continues():
                break
            if part is not None:
                lines += self._text(part)
        self._tail = 0
        return list(lines)

    def rest(self) -> list[str]:
        """Returns the last line if its end is missing."""
        return list(self._decoder.rest())

    def _open(self) -> bool:
        try:
            self._file = self._path.open("rb", buffering=0)
        except FileNotFoundError:
            return False
        self._end = size = os.fstat(self._file.fileno()).st_size
        start = 0
        if self._tail and size > _READ:
            start = data_from(self._file.fileno(), size - _READ, size)
        self._parts = _parts(self._file.fileno(), start, size)
        return True

    def _continues(self) -> bool:
        """Continues with what was written since the last end; returns whether it is something."""
        if self._file is None or self._tail:
            return False
        start, self._end = self._end, os.fstat(self._file.fileno()).st_size
        if self._end == start:
            return False
        self._parts = _parts(self._file.fileno(), start, self._end, whole=True)
        return True

    def _text(self, part: bytes | _Gap) -> Iterator[str]:
        if isinstance(part, _Gap):
            yield from self._decoder.rest()
            yield part.text()
        else:
            yield from self._decoder.feed(part)


def _lines(descriptor: int, start: int) -> Iterator[str]:
    """Yields the lines from `start` to the present end, so that it ends for a fast writer too.

    A line that is divided by the gap is shown as two.
    """
    end = os.fstat(descriptor).st_size
    for is_gap, parts in groupby(_parts(descriptor, start, end), lambda p: isinstance(p, _Gap)):
        if is_gap:
            yield _Gap(sum(part.size for part in parts if isinstance(part, _Gap))).text()
        else:
            yield from decode(part for part in parts if isinstance(part, bytes))


def _parts(descriptor: int, start: int, end: int, *, whole: bool = False) -> Iterator[bytes | _Gap]:
    """Yields bytes, and gaps that reach from the last complete record to the next.

    If `start` is not the file's beginning, the first bytes are most likely a part of a record, and
    are dropped, unless `whole` says that what comes before them is known.
    """
    position = last = start  # `last`: the end of the last whole record
    torn = start > 0 and not whole
    gap = False
    while position < end:
        piece = os.pread(descriptor, min(_READ, end - position), position)
        if not piece:
            break
        # After the read: a hole that is punched in the meantime reads as zeros, and holes are never
        # filled.
        data = data_from(descriptor, position, end)
        if data > position:
            position, torn, gap = data, True, True
            continue
        piece = piece[: hole_from(descriptor, position, end) - position]
        position += len(piece)
        if torn:
            _, newline, piece = piece.partition(b"\n")
            if not newline:
                continue
            torn = False
            begins = position - len(piece)
            if gap:
                yield _Gap(begins - last)
                gap = False
            last = begins
        if (newline_at := piece.rfind(b"\n")) >= 0:
            last = position - len(piece) + newline_at + 1
        if piece:
            yield piece
    if gap:
        yield _Gap(end - last)
