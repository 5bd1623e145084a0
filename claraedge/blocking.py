"""The one way from the loop to blocking work: SQLite reads, fsync, podman-py, copies."""

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
    """Threads of their own, for calls to a part that may hang: they keep no other work waiting."""

    def __init__(self, count: int, name: str) -> None:
        self.pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs blocking work in one of them and returns its result."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, lambda: work(*args, **kwargs))


_SHARED = Threads(16, "blocking")
#: Apart from those: twenty uploads that wait for their fsync hold up nobody's look at the database.
_LONG = Threads(16, "long")
#: Apart from both: each of those folders may be a share whose server is dead, and hold its threads
#: for ever. How many work on one folder is for the caller to bound.
_FOLDERS = Threads(64, "folders")


class CancelledWorkError(Exception):
    """The caller went away while a thread still worked for it."""


class CancelFlag:
    """Asked by long work every few MiB, so that a caller's cancel ends it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def check(self) -> None:
        """Raises CancelledWorkError once the caller is gone."""
        if self._event.is_set():
            raise CancelledWorkError


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs short blocking work in a thread and returns its result."""
    return await _SHARED.run(work, *args, **kwargs)


async def in_cancellable_thread(
    work: Callable[Concatenate[CancelFlag, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Runs long blocking work that looks at a flag, its first argument.

    Where the caller is cancelled, the flag is set and the thread's end awaited, so that nothing of
    the work outlives the call.
    """
    return await _cancellable(_LONG, work, *args, **kwargs)


async def in_folder_thread(
    work: Callable[Concatenate[CancelFlag, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """The same, of work on the inbox, the outbox and the folders beside them."""
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
        if not work_of_thread.cancel():  # else it never began
            await wait_out(future)
        raise


#: The loop itself holds tasks weakly.
_unfinished: set[asyncio.Task[Any]] = set()


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Runs what must not stop half-way: a caller that is cancelled goes, and the work goes on."""
    task = asyncio.ensure_future(work)
    _unfinished.add(task)
    task.add_done_callback(_unfinished.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_tell)
        raise


def _tell(task: asyncio.Task[Any]) -> None:
    """Logs how work ended whose caller has gone. A refusal was for the caller alone."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, ClaraedgeError):
        _log.error("work failed whose caller had gone", exc_info=error)


async def wait_out(future: asyncio.Future[Any]) -> None:
    """Waits for what must not be left behind, however often the caller is cancelled meanwhile.

    Its result and its error are dropped. A cancellation is raised once it has ended.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if not future.cancelled():
        future.exception()  # taken here, or the loop reports it as never retrieved
    if cancelled is not None:
        raise cancelled
