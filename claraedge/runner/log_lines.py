"""Reads the lines of a container's log, as conmon writes it.

Format (k8s-file): `RFC3339 stdout|stderr P|F bytes`. A line longer than 8 KiB, or one that was read
in two pieces, is written as P pieces followed by one F piece. Source: measured with conmon 2.1.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

MAX_LINE = 64 * 1024
_READ = 1024 * 1024


def tail(path: Path, count: int) -> list[str]:
    """Returns the last `count` lines of a log, reading at most its last megabyte; none where the
    file does not exist. Blocks.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _READ))
            if size > _READ:
                file.readline()  # most likely the rest of a record
            return list(decode([file.read()]))[-count:]
    except FileNotFoundError:
        return []


def decode(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yields the lines of a k8s-file log, without time stamps, as UTF-8, each ending in a newline.

    Pieces are joined up to MAX_LINE bytes; invalid bytes become U+FFFD. A last line without a
    newline gets one.
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
    """Returns where a line that is too long is cut: at MAX_LINE bytes, or before the character
    there.
    """
    for cut in range(MAX_LINE, MAX_LINE - 4, -1):
        if line[cut] & 0xC0 != 0x80:  # not inside of a character
            return cut
    return MAX_LINE
