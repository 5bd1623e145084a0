"""Work in threads: what a cancelled caller leaves running, and what it does not."""

from __future__ import annotations

import asyncio
import threading

import pytest

from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread

DEADLINE = 20.0


async def test_the_loop_goes_on_while_a_thread_works() -> None:
    gate = threading.Event()
    working = asyncio.ensure_future(in_thread(gate.wait, DEADLINE))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not working.done()
    gate.set()
    assert await working is True


async def test_what_the_work_raises_reaches_the_caller() -> None:
    def breaks(*_: object) -> None:
        raise LookupError("no such slice")

    for call in (in_thread(breaks), in_cancellable_thread(breaks)):
        with pytest.raises(LookupError, match="no such slice"):
            await call


async def test_a_cancelled_caller_ends_the_work_and_waits_for_its_end() -> None:
    entered, ended = threading.Event(), threading.Event()

    def work(flag: CancelFlag) -> None:
        entered.set()
        try:
            while True:
                flag.check()
                threading.Event().wait(0.001)
        finally:
            ended.set()

    call = asyncio.ensure_future(in_cancellable_thread(work))
    assert await in_thread(entered.wait, DEADLINE)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()


async def test_work_that_ends_well_though_its_caller_was_cancelled_is_no_trouble() -> None:
    entered, gate = threading.Event(), threading.Event()
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def work(flag: CancelFlag) -> str:
        entered.set()
        assert gate.wait(DEADLINE)
        raise LookupError("nobody asks any more")

    call = asyncio.ensure_future(in_cancellable_thread(work))
    assert await in_thread(entered.wait, DEADLINE)
    call.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.sleep(0)
    assert reported == []
