"""Waits for conditions: each has a deadline, and a failure says what was waited for."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

#: Seconds that a condition is waited for. Only a failure lasts so long, so it is generous.
DEADLINE = 60.0
#: Seconds between two checks of a condition.
PAUSE = 0.005

T = TypeVar("T")


async def eventually(
    condition: Callable[[], Awaitable[T] | T],
    what: str | Callable[[], str],
    seconds: float | None = None,
) -> T:
    """Waits until the condition is true, and returns its value.

    The condition may be a coroutine function; `what` may be a function that is called on failure.
    """
    limit = seconds or DEADLINE
    try:
        async with asyncio.timeout(limit) as deadline:
            while True:
                value = condition()
                if inspect.isawaitable(value):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        if not deadline.expired():  # the condition raised it
            raise
        said = what if isinstance(what, str) else what()
        raise AssertionError(f"not within {limit:g} s: {said}") from None


def until(what: str, condition: Callable[[], T], seconds: float | None = None) -> T:
    """Waits, in a thread without an event loop, until the condition is true; returns its value."""
    limit = seconds or DEADLINE
    end = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {limit:g} s: {what}"
        time.sleep(PAUSE)
    return value
