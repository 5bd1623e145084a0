"""Logs of operators: files that conmon writes, one for each attempt, kept with the job.

Format (k8s-file): `RFC3339 stdout|stderr P|F bytes`; a line longer than 8 KiB, or one that was read
in two pieces, comes as P pieces that an F ends. Source: measured with conmon 2.1.6.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from claraedge.files import make_folders

MAX_LINE = 64 * 1024
_READ = 1024 * 1024


class JobLogs:
    """Where the logs of jobs lie."""

    def __init__(self, state: Path) -> None:
        self.root = state / "jobs"

    def path(self, job: str, operator: str, attempt: int) -> Path:
        return self.root / job / "logs" / operator / f"{attempt}.log"

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
        try:
            with self.path(job, operator, attempt).open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _READ))
                if size > _READ:
                    file.readline()  # most likely a piece of a record
                return list(decode([file.read()]))[-count:]
        except FileNotFoundError:
            return []


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """What the file holds now: who writes faster than we read must not keep us here."""
    left = os.fstat(file.fileno()).st_size
    while left > 0 and (piece := file.read(min(_READ, left))):
        left -= len(piece)
        yield piece


def decode(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a k8s-file log: each ends in a newline, has no time stamp, and is UTF-8.

    Pieces are joined up to MAX_LINE bytes; invalid bytes become U+FFFD. A last line without a
    newline of its own gets one.
    """
    pending = {b"stdout": b"", b"stderr": b""}
    rest = b""
    for chunk in chunks:
        records = (rest + chunk).split(b"\n")
        rest = records.pop()
        for record in records:
            _, _, tail = record.partition(b" ")
            stream, _, tail = tail.partition(b" ")
            kind, _, text = tail.partition(b" ")
            if stream not in pending:
                continue
            joined = pending[stream] + text
            while len(joined) > MAX_LINE:
                cut = _cut(joined)
                yield joined[:cut].decode("utf-8", "replace") + "\n"
                joined = joined[cut:]
            pending[stream] = joined if kind == b"P" else b""
            if kind != b"P":
                yield joined.decode("utf-8", "replace") + "\n"
    for text in pending.values():
        if text:
            yield text.decode("utf-8", "replace") + "\n"


def _cut(line: bytes) -> int:
    """Where a line that is too long is cut: at MAX_LINE bytes, or before the character there."""
    for cut in range(MAX_LINE, MAX_LINE - 4, -1):
        if line[cut] & 0xC0 != 0x80:  # no byte inside of a character
            return cut
    return MAX_LINE
