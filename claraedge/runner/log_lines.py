"""The lines of a container's log, as conmon writes it.

Format (k8s-file): `RFC3339 stdout|stderr P|F bytes`; a line longer than 8 KiB, or one that was read
in two pieces, comes as P pieces that an F ends. Source: measured with conmon 2.1.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

MAX_LINE = 64 * 1024
_READ = 1024 * 1024


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a log, none where there is no such file; looks at no more than the last
    megabyte. Blocking.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _READ))
            if size > _READ:
                file.readline()  # most likely a piece of a record
            return list(decode([file.read()]))[-count:]
    except FileNotFoundError:
        return []


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
