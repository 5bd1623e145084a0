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
    what: str,
    seconds: float | None = None,
    details: Callable[[], object] = lambda: "",
) -> T:
    """Waits until the condition, which may be a coroutine function, is true; returns its value.

    Raises AssertionError after `seconds`, with `what` and the details at that time.
    """
    limit = DEADLINE if seconds is None else seconds
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
        raise AssertionError(f"not within {limit:g} s: {what} {details()}") from None


def until(
    what: str,
    condition: Callable[[], T],
    seconds: float | None = None,
    details: Callable[[], object] = lambda: "",
) -> T:
    """Does the same as `eventually` in a thread without an event loop."""
    limit = DEADLINE if seconds is None else seconds
    end = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {limit:g} s: {what} {details()}"
        time.sleep(PAUSE)
    return value
