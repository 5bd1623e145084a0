"""The queue of the writer of the database: tasks in batches, and the answers to their callers."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from claraedge.errors import UnavailableError

S = TypeVar("S")
T = TypeVar("T")

#: Most tasks in one batch.
_BATCH = 256


@dataclass(slots=True)
class WriteTask(Generic[S, T]):
    """One change: `work` is called with a transaction (S) and returns the result for the caller."""

    work: Callable[[S], T]
    future: asyncio.Future[T]
    loop: asyncio.AbstractEventLoop
    result: T | None = None
    error: BaseException | None = None

    def answer(self) -> None:
        """Gives the result or error to the caller, in the caller's event loop."""

        def settle() -> None:
            if self.future.done():  # the caller was cancelled; the change is kept all the same
                return
            if self.error is not None:
                self.future.set_exception(self.error)
            else:
                self.future.set_result(cast("T", self.result))

        # A closed loop means that the process is ending; the commit is kept.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(settle)


class WriteQueue(Generic[S]):
    """Tasks of event loops for one thread, in their order."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[WriteTask[S, Any] | None] = queue.SimpleQueue()

    def put(self, work: Callable[[S], T]) -> asyncio.Future[T]:
        """Adds a task; returns the future of its result, in the running event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._tasks.put(WriteTask(work, future, loop))
        return future

    def close(self) -> None:
        """Ends `batches` after the tasks that are in the queue now."""
        self._tasks.put(None)

    def batches(self) -> Iterator[list[WriteTask[S, Any]]]:
        """Waits for tasks and yields them, at most 256 in one batch, until the queue is closed."""
        while True:
            task = self._tasks.get()
            batch: list[WriteTask[S, Any]] = []
            while task is not None:
                batch.append(task)
                if len(batch) == _BATCH:
                    break
                try:
                    task = self._tasks.get_nowait()
                except queue.Empty:
                    break
            if batch:
                yield batch
            if task is None:
                return

    def refuse_rest(self) -> None:
        """Answers the tasks that are left with UnavailableError."""
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                return
            if task is not None:
                task.error = UnavailableError("the state is closed; try again once it runs")
                task.answer()
