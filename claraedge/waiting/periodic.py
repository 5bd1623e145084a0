"""Periodic work of which each run fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from claraedge.bugs import Known, known


async def every(
    seconds: float,
    work: Callable[[], Awaitable[object]],
    what: str,
    failed: Callable[[Known], object],
) -> None:
    """Runs `work` now, and again `seconds` after the end of each run, until cancelled.

    A run fails on its own: `failed` is called with its error, for the log, after `known`, to which
    `what` names the run. Raises what `failed` raises, and CancelledWorkError.
    """
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - it fails alone
            failed(known(error, what))
        await asyncio.sleep(seconds)
