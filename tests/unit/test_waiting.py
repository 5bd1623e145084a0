"""Waits for events with a limit, growing pauses, and periodic work whose runs fail alone."""

from __future__ import annotations

import asyncio
import logging

import pytest

from claraedge.blocking import CancelledWorkError
from claraedge.bugs import Known
from claraedge.errors import ClaraedgeError, StorageFullError
from claraedge.waiting.backoff import Backoff
from claraedge.waiting.periodic import every
from claraedge.waiting.until import wait_set, wait_until

LONG = 3600.0


class At:
    """A clock that stands still."""

    def __init__(self, elapsed: float) -> None:
        self._elapsed = elapsed

    def now(self) -> float:
        raise AssertionError("the wall clock may jump")

    def elapsed(self) -> float:
        return self._elapsed


async def steps(count: int) -> None:
    """Lets the other tasks of the loop run `count` steps."""
    for _ in range(count):
        await asyncio.sleep(0)


# --- events -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [(), (None,), (LONG,), (None, LONG, 2 * LONG)])
async def test_an_event_ends_the_wait_and_remains_set(limits: tuple[float | None, ...]) -> None:
    event = asyncio.Event()
    waiting = asyncio.ensure_future(wait_set(event, *limits))
    await steps(3)
    assert not waiting.done()
    event.set()
    assert await waiting
    assert event.is_set()


@pytest.mark.parametrize("limits", [(0.0,), (-1.0,), (LONG, 0.0, None)])
async def test_the_shortest_limit_ends_the_wait(limits: tuple[float | None, ...]) -> None:
    assert not await wait_set(asyncio.Event(), *limits)


async def test_an_event_that_is_set_needs_no_time() -> None:
    event = asyncio.Event()
    event.set()
    assert await wait_set(event, 0.0)


@pytest.mark.parametrize("times", [(100.0,), (99.0, None), (100.0 + LONG, 1.0)])
async def test_the_first_time_that_the_clock_has_reached_ends_the_wait(
    times: tuple[float | None, ...],
) -> None:
    assert not await wait_until(asyncio.Event(), At(100.0), *times)


async def test_a_time_to_come_is_waited_for() -> None:
    event = asyncio.Event()
    waiting = asyncio.ensure_future(wait_until(event, At(100.0), None, 100.0 + LONG))
    await steps(3)
    assert not waiting.done()
    event.set()
    assert await waiting


async def test_a_cancellation_that_coincides_with_the_event_is_raised() -> None:
    event = asyncio.Event()
    waiting = asyncio.ensure_future(wait_set(event, LONG))
    await steps(1)
    event.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert event.is_set()


@pytest.mark.parametrize("count", [1, 2])
async def test_a_cancellation_that_coincides_with_the_limit_is_raised(count: int) -> None:
    waiting = asyncio.ensure_future(wait_set(asyncio.Event(), 0.0))
    await steps(count)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_event_that_is_cleared_at_once_counts() -> None:
    event = asyncio.Event()
    waiting = asyncio.ensure_future(wait_set(event, LONG))
    await steps(1)
    event.set()
    event.clear()
    assert await waiting


async def test_an_event_that_coincides_with_the_limit_counts() -> None:
    event = asyncio.Event()
    waiting = asyncio.ensure_future(wait_set(event, 0.0))
    await steps(1)
    event.set()
    assert await waiting


# --- pauses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backoff", "pauses"),
    [
        (Backoff(2.0, 60.0), [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]),
        (Backoff(1.0, 3.0, factor=1.5), [1.0, 1.5, 2.25, 3.0, 3.0]),
        (Backoff(5.0, 5.0), [5.0, 5.0]),
        (Backoff(9.0, 5.0), [9.0, 5.0, 5.0]),
    ],
)
def test_pauses_grow_up_to_the_longest_and_begin_again(
    backoff: Backoff, pauses: list[float]
) -> None:
    assert [backoff.next() for _ in pauses] == pauses
    backoff.reset()
    assert [backoff.next() for _ in pauses] == pauses


# --- periodic work ------------------------------------------------------------------------------


class Work:
    """Work of which each run meets what `meets` says; the first run without an entry blocks."""

    def __init__(self, *meets: BaseException | None) -> None:
        self._meets = list(meets)
        self.failures: list[Known] = []
        self.over = asyncio.Event()

    async def run(self) -> None:
        if not self._meets:
            self.over.set()
            await asyncio.Event().wait()
        met = self._meets.pop(0)
        if met is not None:
            raise met


async def ended(work: Work) -> None:
    """Runs the work periodically until all its entries are used, and cancels it."""
    running = asyncio.ensure_future(every(0.0, work.run, "a test", work.failures.append))
    over = asyncio.ensure_future(work.over.wait())
    await asyncio.wait([running, over], return_when=asyncio.FIRST_COMPLETED)
    over.cancel()
    running.cancel()
    await running


async def test_a_run_that_fails_is_reported_and_followed_by_others() -> None:
    full, unreadable = StorageFullError("full"), OSError("unreadable")
    work = Work(None, full, unreadable, None, full)
    with pytest.raises(asyncio.CancelledError):
        await ended(work)
    assert work.failures == [full, unreadable, full]


async def test_a_bug_in_a_run_is_logged_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    work = Work(LookupError("no such slice"), None)
    with caplog.at_level(logging.ERROR), pytest.raises(asyncio.CancelledError):
        await ended(work)
    assert [type(failure) for failure in work.failures] == [ClaraedgeError]
    assert "a test met a bug" in caplog.text
    assert "no such slice" in caplog.text


@pytest.mark.parametrize("error", [CancelledWorkError(), asyncio.CancelledError(), GeneratorExit()])
async def test_what_is_no_failure_of_a_run_ends_the_work(error: BaseException) -> None:
    work = Work(error, None)
    with pytest.raises(type(error)):
        await ended(work)
    assert not work.over.is_set()
    assert not work.failures


async def test_what_the_report_raises_ends_the_work() -> None:
    def refuse(_: Known) -> None:
        raise LookupError("refused")

    with pytest.raises(LookupError, match="refused"):
        await every(0.0, Work(StorageFullError("full")).run, "a test", refuse)


async def test_a_run_begins_after_a_pause_since_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []

    async def run() -> None:
        happened.append("run")

    async def sleep(seconds: float) -> None:
        happened.append(f"pause {seconds:g}")
        if len(happened) == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await every(60.0, run, "a test", lambda _: None)
    assert happened == ["run", "pause 60", "run", "pause 60"]
