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
    decoder = LineDecoder()
    for chunk in chunks:
        yield from decoder.feed(chunk)
    yield from decoder.rest()


class LineDecoder:
    """Does the same as `decode` for a log that is read while it is written."""

    def __init__(self) -> None:
        self._pieces = {b"stdout": b"", b"stderr": b""}
        self._record = b""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yields the lines that are complete with this chunk."""
        records = (self._record + chunk).split(b"\n")
        self._record = records.pop()
        for record in records:
            _, _, tail = record.partition(b" ")
            stream, _, tail = tail.partition(b" ")
            kind, _, text = tail.partition(b" ")
            if stream not in self._pieces:
                continue
            joined = self._pieces[stream] + text
            while len(joined) > MAX_LINE:
                cut = _cut(joined)
                yield joined[:cut].decode("utf-8", "replace") + "\n"
                joined = joined[cut:]
            self._pieces[stream] = joined if kind == b"P" else b""
            if kind != b"P":
                yield joined.decode("utf-8", "replace") + "\n"

    def rest(self) -> Iterator[str]:
        """Yields the lines that are not complete, and drops them; a gap may follow."""
        pieces, self._record = [*self._pieces.values()], b""
        self._pieces = dict.fromkeys(self._pieces, b"")
        for text in pieces:
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
