"""Work that is repeated until it can be done, and work that ends when nobody wants it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from claraedge.errors import ClaraedgeError, RunnerUnavailableError, StorageFullError
from claraedge.waiting.backoff import Backoff

#: Seconds between two attempts: the first pause, and the longest.
_PAUSES = (1.0, 30.0)
#: The same after an error that is not expected to pass by itself.
_AFTER_ERRORS = (1.0, 60.0)


async def patiently(
    work: Callable[[], Awaitable[object]],
    on_wait: Callable[[ClaraedgeError | OSError], None],
    *,
    always: bool = False,
) -> None:
    """Does work; repeats it while Podman does not answer or a disk is full.

    `on_wait` is called with the error before each pause. `always`: it is repeated whatever the
    error. Raises any other error.
    """
    pauses = Backoff(*_PAUSES)
    while True:
        try:
            await work()
        except (ClaraedgeError, OSError) as error:
            if not (always or isinstance(error, RunnerUnavailableError | StorageFullError)):
                raise
            on_wait(error)
        else:
            return
        await asyncio.sleep(pauses.next())


async def while_wanted(
    work: Coroutine[Any, Any, None], wanted: Callable[[], bool], changed: asyncio.Event
) -> None:
    """Does work until it is done, or is not wanted any more: then it is cancelled.

    `changed` is set whenever `wanted` may have changed. Raises what the work raises.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done() and wanted():
            changed.clear()
            change = asyncio.ensure_future(changed.wait())
            try:
                await asyncio.wait({task, change}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                change.cancel()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def until_done(
    attempt: Callable[[bool], Awaitable[None]], on_error: Callable[[Exception], object]
) -> None:
    """Makes attempts until one returns: work on one thing, whose errors end nothing else.

    `attempt` gets whether an earlier one has failed. `on_error` is called before each pause.
    """
    pauses, failed = Backoff(*_AFTER_ERRORS), False
    while True:
        try:
            await attempt(failed)
        except Exception as error:  # noqa: BLE001 - it fails alone
            failed = True
            on_error(error)
            await asyncio.sleep(pauses.next())
        else:
            return
