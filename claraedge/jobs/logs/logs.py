"""Logs of operators: files that conmon writes, one for each attempt, kept with the job.

A log that passes its limit loses its middle to a hole (`log_caps`). Readers find it by SEEK_DATA,
never by looking for zeros, which an operator may print, and put one line in its place.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from claraedge.fs import files
from claraedge.jobs.logs.history import NAMES
from claraedge.jobs.logs.log_holes import data_from, hole_from
from claraedge.runner.log_lines import decode

_READ = 1024 * 1024

#: Answers for a log that was there: the folder of its job is made before any attempt is recorded.
_REMOVED = (
    "[claraedge: the logs of this job's operators were removed, to keep within the device's limits"
    f" for what stopped jobs leave; the log of the job itself, {NAMES[0]}, is kept]\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLog:
    """Names the log of one attempt of an operator."""

    job: str
    operator: str
    attempt: int


class JobLogs:
    """Where the logs of jobs lie."""

    def __init__(self, state: Path) -> None:
        self.root = state / "jobs"
        self.on_prepared: Callable[[AttemptLog], None] = lambda _log: None
        """Is told, in any thread, of each log that is to be written soon."""

    def folder(self, job: str) -> Path:
        """All that is kept of a job's logs."""
        return self.root / job

    def path(self, job: str, operator: str, attempt: int) -> Path:
        return self.folder(job) / "logs" / operator / f"{attempt}.log"

    def prepare(self, job: str, operator: str, attempt: int) -> Path:
        """Makes the folder for a log, which no start waits to be durable; returns its path."""
        path = self.path(job, operator, attempt)
        files.new_folders(path.parent)
        self.on_prepared(AttemptLog(job=job, operator=operator, attempt=attempt))
        return path

    def lines(self, job: str, operator: str, attempt: int) -> Iterator[str]:
        """The lines of an attempt as they are now; none where it wrote none yet.

        One line stands for what was left out in the middle, and one for a log that was removed.
        """
        try:
            with self.path(job, operator, attempt).open("rb", buffering=0) as file:
                yield from _lines(file.fileno(), 0)
        except FileNotFoundError:
            yield from self._missing(job, attempt)

    def tail(self, job: str, operator: str, attempt: int, count: int) -> list[str]:
        """The last lines of an attempt; looks at no more than the last megabyte."""
        try:
            with self.path(job, operator, attempt).open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                # Where this is within a hole, what lies before it is of no interest.
                start = data_from(file.fileno(), max(0, size - _READ), size) if size > _READ else 0
                return list(deque(_lines(file.fileno(), start), maxlen=count))
        except FileNotFoundError:
            return self._missing(job, attempt)
        except OSError as error:  # nothing that has failed waits for a log that is damaged
            return [f"[claraedge: the log cannot be read: {error.strerror}]\n"]

    def _missing(self, job: str, attempt: int) -> list[str]:
        return [_REMOVED] if attempt > 0 and not self.folder(job).exists() else []


@dataclass(frozen=True, slots=True)
class _Gap:
    size: int


def _lines(descriptor: int, start: int) -> Iterator[str]:
    """The lines from `start` to the present end: who writes faster than we read must not keep us.

    A line whose pieces the gap parts is shown as two.
    """
    end = os.fstat(descriptor).st_size
    for is_gap, parts in groupby(_parts(descriptor, start, end), lambda p: isinstance(p, _Gap)):
        if is_gap:
            size = sum(part.size for part in parts if isinstance(part, _Gap))
            yield (
                f"[claraedge: {size:,} bytes of this log were left out here;"
                " it passed engine.operator_log_mb]\n"
            )
        else:
            yield from decode(part for part in parts if isinstance(part, bytes))


def _parts(descriptor: int, start: int, end: int) -> Iterator[bytes | _Gap]:
    """What lies between: bytes, and gaps from the last whole record to the next.

    With a `start` that is not the file's, the first bytes are a piece of a record, most likely, and
    are dropped.
    """
    position = last = start  # `last`: where the last whole record ended
    torn = start > 0
    gap = False
    while position < end:
        piece = os.pread(descriptor, min(_READ, end - position), position)
        if not piece:
            break
        # Only now: a hole that is made meanwhile reads as zeros, and none is ever filled.
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
