"""Logs of operators: files that conmon writes, one for each attempt, kept with the job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from claraedge.files import make_folders
from claraedge.runner.log_lines import decode, tail

_READ = 1024 * 1024


class JobLogs:
    """Where the logs of jobs lie."""

    def __init__(self, state: Path) -> None:
        self.root = state / "jobs"

    def folder(self, job: str) -> Path:
        """All that is kept of a job's logs."""
        return self.root / job

    def path(self, job: str, operator: str, attempt: int) -> Path:
        return self.folder(job) / "logs" / operator / f"{attempt}.log"

    def prepare(self, job: str, operator: str, attempt: int) -> Path:
        """Makes the folder for a log; returns the log's path."""
        path = self.path(job, operator, attempt)
        make_folders(path.parent)
        return path

    def lines(self, job: str, operator: str, attempt: int) -> Iterator[str]:
        """The lines of an attempt as they are now; none where it wrote none yet."""
        try:
            with self.path(job, operator, attempt).open("rb") as file:
                yield from decode(_pieces(file))
        except FileNotFoundError:
            return

    def tail(self, job: str, operator: str, attempt: int, count: int) -> list[str]:
        """The last lines of an attempt; looks at no more than the last megabyte."""
        return tail(self.path(job, operator, attempt), count)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """What the file holds now: who writes faster than we read must not keep us here."""
    left = os.fstat(file.fileno()).st_size
    while left > 0 and (piece := file.read(min(_READ, left))):
        left -= len(piece)
        yield piece
