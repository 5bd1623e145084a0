"""Limits the time in which only the program behind a route has something to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class ProgramTurn:
    """Measures how long one request has waited for its program, and for nobody else.

    The time begins again with each part that the program reads or the client gets. It does not run
    while the client has to send or to read, nor between the parts of an answer.
    """

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long the program may take."""
        self.limit = asyncio.timeout(None)
        """Cancels whoever waits within it once the program has taken too long."""
        self._seconds = seconds
        self._unread = self._sent = self._answered = self._client_reads = False

    @contextmanager
    def of_reader(self) -> Iterator[None]:
        """Notes that the program has to read a part of the request, until the context is left."""
        self._unread = True
        self._begin()
        try:
            yield
        finally:
            self._unread = False
            self._begin()

    @contextmanager
    def of_client(self) -> Iterator[None]:
        """Notes that the client has to read a part of the answer, until the context is left."""
        self._client_reads = True
        self._begin()
        try:
            yield
        finally:
            self._client_reads = False
            self._begin()

    def sent(self) -> None:
        """Notes that the program has the whole request, and so has to answer."""
        self._sent = True
        self._begin()

    def answered(self) -> None:
        """Notes that the program has begun its answer."""
        self._answered = True
        self._begin()

    def _begin(self) -> None:
        if self.limit.expired():
            return
        waits = (self._unread or (self._sent and not self._answered)) and not self._client_reads
        now = asyncio.get_running_loop().time()
        self.limit.reschedule(now + self._seconds if waits else None)
