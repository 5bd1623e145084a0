"""Waits for an event until a limit: the only implementation of this."""

from __future__ import annotations

import asyncio

from claraedge.clock import Clock


async def wait_set(event: asyncio.Event, *limits: float | None) -> bool:
    """Waits until `event` is set, or until the shortest of `limits` (seconds; None: none) is over.

    Returns whether it was set. Does not clear it: a loop clears its event before it reads what the
    event reports, so that no change is missed. A cancellation is always raised, also one that
    coincides with the event, which `asyncio.wait_for` of Python 3.11 loses; the event remains set.
    """
    limit = min((seconds for seconds in limits if seconds is not None), default=None)
    try:
        async with asyncio.timeout(limit):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


async def wait_until(event: asyncio.Event, clock: Clock, *times: float | None) -> bool:
    """Waits as `wait_set`, until the first of `times` (seconds of the clock's `elapsed`)."""
    now = clock.elapsed()
    return await wait_set(event, *(None if time is None else time - now for time in times))
