"""The logs of the starts of a container that is kept running: one file per start, numbered from 1.

The numbers continue after a restart of the daemon, because the file with the highest one is never
removed. All functions block.
"""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"(?P<key>.+)\.(?P<number>[1-9][0-9]{0,9})\.log")


def path_of(folder: Path, key: str, number: int) -> Path:
    """Returns the path of the log of a start."""
    return folder / f"{key}.{number}.log"


def numbers(folder: Path, key: str) -> list[int]:
    """Returns the numbers of the starts of a key whose logs are kept, in ascending order."""
    if not folder.is_dir():
        return []
    found = (_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    return sorted(int(name["number"]) for name in found if name and name["key"] == key)


def last(folder: Path, key: str) -> Path:
    """Returns the path of the last log of a key; that of the first start if there is none."""
    return path_of(folder, key, (numbers(folder, key) or [1])[-1])


def begin(folder: Path, key: str, kept: int) -> Path:
    """Returns the path for the log of a new start, and removes the oldest logs: `kept` are left,
    with the new one. Raises OSError.
    """
    known = numbers(folder, key)
    for number in known[: len(known) + 1 - kept]:
        path_of(folder, key, number).unlink(missing_ok=True)
    return path_of(folder, key, known[-1] + 1 if known else 1)
