"""Reads the logs of executables."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

from claraedge.blocking import in_thread
from claraedge.errors import InvalidDeploymentError
from claraedge.runner.log_lines import decode, tail
from claraedge.supervised.start_logs import last, numbers, path_of

_READ = 1 << 20
#: Seconds between two reads of a log that a client follows: its writer does not report changes.
_PAUSE = 0.5


def tail_of(folder: Path, key: str, lines: int) -> Sequence[str]:
    """Returns the last lines of the log of the last start, without their ends. Blocks."""
    return [line.rstrip("\n") for line in tail(last(folder, key), lines)]


async def follow(
    folder: Path, key: str, *, attempt: int, tail: int, ended: Callable[[], bool]
) -> AsyncIterator[tuple[int, Sequence[str]]]:
    """Yields lines of an executable's logs as they come, with the number of the start that printed
    them: the last `tail` (0: all) of a start, then new ones.

    `attempt`: the number of the start; 0: the last one, and then those that come after it. It ends
    when that start has ended, or `ended` is true, and all is read. A log that was cut is read from
    its beginning. Raises InvalidDeploymentError if the log of that start is not kept.
    """
    known = await in_thread(numbers, folder, key)
    if attempt and attempt not in known:
        kept = ", ".join(map(str, known)) or "none"
        raise InvalidDeploymentError(
            f"attempt: no log of the start {attempt} of {key} is kept; those of these starts are:"
            f" {kept}"
        )
    number = attempt or (known or [1])[-1]
    path = path_of(folder, key, number)
    position = await in_thread(_start, path) if tail else 0
    rest = b""
    while True:
        over = ended()
        later = [each for each in await in_thread(numbers, folder, key) if each > number]
        chunk, position = await in_thread(_read, path, position)
        whole, separator, rest = (rest + chunk).rpartition(b"\n")
        lines = [line.rstrip("\n") for line in decode([whole + separator])]
        if tail:
            lines, tail = lines[-tail:], 0
        if lines:
            yield number, lines
        if chunk:
            continue
        if over or (later and attempt):
            return
        if later:  # a start has ended before the next one has a log
            number, position, rest = later[0], 0, b""
            path = path_of(folder, key, number)
        else:
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
