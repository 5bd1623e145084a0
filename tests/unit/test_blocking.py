"""Work in threads: what a cancelled caller leaves running, and what it does not."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from claraedge.blocking import (
    CancelFlag,
    in_cancellable_thread,
    in_folder_thread,
    in_thread,
    to_its_end,
    wait_out,
)
from claraedge.errors import JobNotFoundError

DEADLINE = 20.0


async def test_the_loop_continues_while_a_thread_works() -> None:
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


async def test_work_whose_caller_is_cancelled_twice_is_still_waited_for() -> None:
    entered, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def work(_: CancelFlag) -> None:
        entered.set()
        assert gate.wait(DEADLINE)
        ended.set()

    call = asyncio.ensure_future(in_cancellable_thread(work))
    assert await in_thread(entered.wait, DEADLINE)
    for _ in range(3):
        call.cancel()
        await asyncio.sleep(0)
    assert not call.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()


async def test_work_that_waits_for_a_thread_never_begins_once_its_caller_is_gone() -> None:
    gate, begun = threading.Event(), threading.Event()

    def keeps(_: CancelFlag) -> None:
        assert gate.wait(DEADLINE)

    def work(_: CancelFlag) -> None:
        begun.set()

    busy = [asyncio.ensure_future(in_cancellable_thread(keeps)) for _ in range(16)]
    await asyncio.sleep(0)
    call = asyncio.ensure_future(in_cancellable_thread(work))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    # Long work does not delay short work.
    assert await in_thread(lambda: "served") == "served"
    gate.set()
    await asyncio.gather(*busy)
    assert await in_cancellable_thread(lambda _: "idle") == "idle"
    assert not begun.is_set()


@pytest.mark.parametrize(
    ("error", "logged"), [(JobNotFoundError("gone"), False), (LookupError("a bug"), True)]
)
async def test_what_must_not_stop_half_way_continues_without_its_caller(
    error: Exception, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    gate, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await gate.wait()
        ended.set()
        raise error

    call = asyncio.ensure_future(to_its_end(work()))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.set()
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(DEADLINE):
            await ended.wait()
        for _ in range(5):
            await asyncio.sleep(0)
    assert reported == []
    assert ("whose caller had gone" in caplog.text) is logged


async def test_a_wait_raises_a_cancellation_only_at_the_end() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    call = asyncio.ensure_future(wait_out(future))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.sleep(0)
    assert not call.done()
    future.set_exception(LookupError("dropped"))
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_dead_shares_block_no_thread_of_uploads_and_of_the_engine() -> None:
    gate = threading.Event()

    def hangs(_: CancelFlag) -> None:
        gate.wait(DEADLINE)

    hanging = [asyncio.ensure_future(in_folder_thread(hangs)) for _ in range(100)]
    try:
        assert await asyncio.wait_for(in_cancellable_thread(lambda _: True), DEADLINE / 2)
        assert await asyncio.wait_for(in_thread(lambda: True), DEADLINE / 2)
        assert not any(call.done() for call in hanging)
    finally:
        gate.set()
        await asyncio.gather(*hanging)
