"""Reads the logs of executables."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

from claraedge.blocking import in_thread
from claraedge.runner.log_lines import decode, tail

_READ = 1 << 20
#: Seconds between two reads of a log that a client follows: its writer does not report changes.
_PAUSE = 0.5


def tail_of(path: Path, lines: int) -> Sequence[str]:
    """Returns the last lines of a log, without their ends. Blocks."""
    return [line.rstrip("\n") for line in tail(path, lines)]


async def follow(
    path: Path, *, tail: int, ended: Callable[[], bool]
) -> AsyncIterator[Sequence[str]]:
    """Yields lines of a log as they come: the last `tail` of them (0: all), then new ones.

    It ends when `ended` is true and all is read. A log that was cut is read from its beginning.
    """
    position = await in_thread(_start, path) if tail else 0
    rest = b""
    while True:
        over = ended()
        chunk, position = await in_thread(_read, path, position)
        whole, separator, rest = (rest + chunk).rpartition(b"\n")
        lines = [line.rstrip("\n") for line in decode([whole + separator])]
        if tail:
            lines, tail = lines[-tail:], 0
        if lines:
            yield lines
        if not chunk:
            if over:
                return
            await asyncio.sleep(_PAUSE)


def remove_logs(folder: Path, deployments: Iterable[str]) -> None:
    """Removes the logs of deployments. Blocks."""
    for deployment in deployments:
        for path in folder.glob(f"{deployment}.*.log"):
            with contextlib.suppress(OSError):
                path.unlink()


def _start(path: Path) -> int:
    """Returns where the last part of a log begins, at the beginning of a line."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size <= _READ:
                return 0
            file.seek(size - _READ)
            file.readline()
            return file.tell()
    except FileNotFoundError:
        return 0


def _read(path: Path, position: int) -> tuple[bytes, int]:
    """Returns the next bytes, and where they end."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < position:
                position = 0  # it was cut
            file.seek(position)
            chunk = file.read(_READ)
            return chunk, position + len(chunk)
    except FileNotFoundError:
        return b"", 0
