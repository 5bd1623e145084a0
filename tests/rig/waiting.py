"""Waits for conditions: each has a deadline, and a failure says what was waited for."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

#: Seconds that a condition is waited for. Only a failure lasts so long, so it is generous.
DEADLINE = 60.0
#: Seconds between two checks of a condition; longer where a check itself lasts longer.
PAUSE = 0.005

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T | None]],
    what: str,
    seconds: float | None = None,
    details: Callable[[], object] = ...,
) -> T: ...


@overload
async def eventually(
    condition: Callable[[], T | None],
    what: str,
    seconds: float | None = None,
    details: Callable[[], object] = ...,
) -> T: ...


async def eventually(
    condition: Callable[[], Any],
    what: str,
    seconds: float | None = None,
    details: Callable[[], object] = lambda: "",
) -> Any:
    """Waits until the condition, which may be a coroutine function, is true; returns its value.

    Raises AssertionError after `seconds`, with `what` and the details at that time.
    """
    limit = DEADLINE if seconds is None else seconds
    try:
        async with asyncio.timeout(limit) as deadline:
            while True:
                began = time.monotonic()
                value = condition()
                if inspect.isawaitable(value):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(max(PAUSE, time.monotonic() - began))
    except TimeoutError:
        if not deadline.expired():  # the condition raised it
            raise
        raise AssertionError(f"not within {limit:g} s: {what} {details()}") from None


def until(
    what: str,
    condition: Callable[[], T | None],
    seconds: float | None = None,
    details: Callable[[], object] = lambda: "",
) -> T:
    """Does the same as `eventually` in a thread without an event loop."""
    limit = DEADLINE if seconds is None else seconds
    end = (began := time.monotonic()) + limit
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {limit:g} s: {what} {details()}"
        time.sleep(max(PAUSE, time.monotonic() - began))
        began = time.monotonic()
    return value


async def until_still(value: Callable[[], object], what: str, seconds: float) -> None:
    """Waits until the value has been the same for `seconds`."""

    async def still() -> bool:
        before = value()
        await asyncio.sleep(seconds)
        return value() == before

    await eventually(still, what, details=value)
