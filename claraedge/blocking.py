"""The only way to run blocking work from the event loop: SQLite reads, fsync, podman-py, copies."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from claraedge.errors import ClaraedgeError

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A separate thread pool, for calls to a component that may hang: other work is not blocked."""

    def __init__(self, count: int, name: str) -> None:
        self.pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs blocking work in a thread of the pool and returns its result."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, lambda: work(*args, **kwargs))


_SHARED = Threads(16, "blocking")
#: Separate from the shared pool: twenty uploads that wait for fsync do not block database reads.
_LONG = Threads(16, "long")
#: Separate from both: each of these folders may be on a network share whose server is dead, which
#: blocks its threads for ever. The caller bounds the number of threads that work on one folder.
_FOLDERS = Threads(64, "folders")


class CancelledWorkError(Exception):
    """The caller was cancelled while a thread still worked for it."""


class CancelFlag:
    """A flag that long work checks every few MiB, so that cancelling the caller ends the work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Requests the end of the work."""
        self._event.set()

    def check(self) -> None:
        """Raises CancelledWorkError once the caller was cancelled."""
        if self._event.is_set():
            raise CancelledWorkError


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs short blocking work in a thread and returns its result."""
    return await _SHARED.run(work, *args, **kwargs)


async def in_cancellable_thread(
    work: Callable[Concatenate[CancelFlag, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Runs long blocking work that checks a cancel flag, its first argument; returns its result.

    If the caller is cancelled, the flag is set and the end of the thread is awaited, so that no
    part of the work outlives the call.
    """
    return await _cancellable(_LONG, work, *args, **kwargs)


async def in_folder_thread(
    work: Callable[Concatenate[CancelFlag, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Same as `in_cancellable_thread`, for work on the inbox, the outbox and related folders."""
    return await _cancellable(_FOLDERS, work, *args, **kwargs)


async def _cancellable(
    threads: Threads,
    work: Callable[Concatenate[CancelFlag, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    flag = CancelFlag()
    work_of_thread = threads.pool.submit(lambda: work(flag, *args, **kwargs))
    future = asyncio.wrap_future(work_of_thread)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        flag.set()
        if not work_of_thread.cancel():  # otherwise it never started
            await wait_out(future)
        raise


#: Strong references: the event loop itself keeps only weak references to tasks.
_unfinished: set[asyncio.Task[Any]] = set()


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Runs work that must not stop half-way: if the caller is cancelled, the work continues."""
    task = asyncio.ensure_future(work)
    _unfinished.add(task)
    task.add_done_callback(_unfinished.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_log_failure)
        raise


def _log_failure(task: asyncio.Task[Any]) -> None:
    """Logs the failure of work whose caller was cancelled, except refusals (ClaraedgeError).

    A refusal concerned only that caller.
    """
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, ClaraedgeError):
        _log.error("work failed whose caller had gone", exc_info=error)


async def wait_out(future: asyncio.Future[Any]) -> None:
    """Waits until `future` is done, even if the caller is cancelled several times meanwhile.

    The result and the error of `future` are dropped. A cancellation is raised again at the end.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if not future.cancelled():
        future.exception()  # retrieved here; otherwise the loop reports it as never retrieved
    if cancelled is not None:
        raise cancelled
