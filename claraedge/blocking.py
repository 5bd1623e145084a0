"""The one way from the loop to blocking work: SQLite reads, fsync, podman-py, copies."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

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
    flag = CancelFlag()
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(_SHARED.pool, lambda: work(flag, *args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        flag.set()
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # taken here, or the loop reports it as never retrieved
        raise
