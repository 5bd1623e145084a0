"""Limits how long a call waits for its client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self, TypeVar

from claraedge.errors import CallTimeoutError

T = TypeVar("T")


class IdleLimit:
    """The limit for each wait of one call, which waits for one thing at a time.

    All waits share one timer: setting and cancelling one for each message of a large file costs
    as much as reading the message.
    """

    def __init__(self, seconds: float | None) -> None:
        """`seconds`: None for no limit."""
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._since = 0.0
        self._expired = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def wait(self, what: str, awaited: Awaitable[T]) -> T:
        """Returns what is awaited.

        Raises CallTimeoutError if it lasts too long; `what` says what the client did not do.
        """
        if self._seconds is None:
            return await awaited
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "a call is a task"
        self._waiting, self._since, before = task, loop.time(), task.cancelling()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._check)
        try:
            return await awaited
        except asyncio.CancelledError:
            if self._expired and task.uncancel() <= before:  # otherwise the call is cancelled
                raise CallTimeoutError(
                    f"the client {what} for {self._seconds:g} s, so the call is ended; try again,"
                    " or raise api.idle_seconds"
                ) from None
            raise
        finally:
            self._waiting = None

    def _check(self) -> None:
        self._timer = None
        if self._waiting is None or self._seconds is None:
            return  # the next wait sets the timer again
        loop, due = asyncio.get_running_loop(), self._since + self._seconds
        if due > loop.time():
            self._timer = loop.call_at(due, self._check)
        else:
            self._expired = True
            self._waiting.cancel()
