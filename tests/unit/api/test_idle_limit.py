"""A call waits for its client only so long; what the daemon does meanwhile does not count."""

from __future__ import annotations

import asyncio

import pytest

from claraedge.api.transport.idle import IdleLimit
from claraedge.errors import CallTimeoutError

DEADLINE = 20.0
SHORT = 0.05


async def forever() -> None:
    await asyncio.Event().wait()


async def value() -> int:
    await asyncio.sleep(0)
    return 7


@pytest.mark.parametrize("seconds", [None, DEADLINE])
async def test_it_returns_what_is_awaited(seconds: float | None) -> None:
    with IdleLimit(seconds) as idle:
        assert [await idle.wait("sent no message", value()) for _ in range(3)] == [7, 7, 7]


async def test_a_wait_that_lasts_too_long_is_an_error() -> None:
    with IdleLimit(SHORT) as idle:
        assert await idle.wait("sent no message", value()) == 7
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(CallTimeoutError, match=r"sent no message for 0\.05 s"):
                await idle.wait("sent no message", forever())
            await asyncio.sleep(0)  # the task is not cancelled any more


async def test_time_between_waits_does_not_count() -> None:
    loop = asyncio.get_running_loop()
    with IdleLimit(SHORT) as idle:
        assert await idle.wait("sent no message", value()) == 7
        passed = asyncio.Event()
        loop.call_later(2 * SHORT, passed.set)
        await passed.wait()
        assert await idle.wait("sent no message", value()) == 7
        began = loop.time()
        with pytest.raises(CallTimeoutError):
            await idle.wait("sent no message", forever())
        assert loop.time() - began >= SHORT * 0.9


async def test_another_cancellation_stays_one() -> None:
    async def waiting() -> None:
        with IdleLimit(DEADLINE) as idle:
            await idle.wait("sent no message", forever())

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_end_of_the_call_leaves_no_timer() -> None:
    with IdleLimit(SHORT) as idle:
        await idle.wait("sent no message", value())
        timer = idle._timer
    assert timer is not None
    assert timer.cancelled()
