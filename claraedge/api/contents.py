"""Reads files for answers: what the system has in memory on the event loop, the rest in threads."""

from __future__ import annotations

import os
from io import FileIO

from claraedge.blocking import CancelFlag, in_cancellable_thread

#: Bytes of a file in one message. gRPC keeps copies of messages that a slow reader has not read.
MESSAGE = 256 * 1024
#: Reads at the position of the descriptor (preadv2).
_POSITION = -1
#: Where the event loop reads into, for each call: it copies from it before it does anything else.
_buffer = memoryview(bytearray(MESSAGE))


async def next_bytes(content: FileIO, most: int = MESSAGE) -> bytes:
    """Returns the next bytes of a file, at most `most` and at most `MESSAGE`; none at the end."""
    most = min(most, MESSAGE)
    return _read_cached(content, most) or await in_cancellable_thread(_read, content, most)


def _read_cached(content: FileIO, most: int) -> bytes:
    """Reads bytes that the system has in memory, without blocking.

    No bytes: a thread has to read, as from the disk; and at the end of the file, since Linux 5.9
    and 5.10 also return 0 bytes where a read would have to wait.
    """
    try:
        count = os.preadv(content.fileno(), [_buffer[:most]], _POSITION, os.RWF_NOWAIT)
    except OSError:  # where it is no such wait, the thread meets it again
        return b""
    return bytes(_buffer[:count])


def _read(_: CancelFlag, content: FileIO, most: int) -> bytes:
    return content.read(most)
