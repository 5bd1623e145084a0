"""Signs of life, read from a real datagram socket: none where work makes no progress."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claraedge.appliance import watchdog
from claraedge.appliance.watchdog import Watchdog, period
from claraedge.errors import StorageFullError
from claraedge.store.database import Database
from tests.rig.waiting import eventually

PERIOD = 0.2
DEADLINE = 10.0


class Supervisor:
    """What systemd is to the daemon."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(folder / "notify"))
        self.environment = {
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": str(int(PERIOD * 1e6)),
            "WATCHDOG_PID": str(os.getpid()),
        }

    def received(self) -> list[bytes]:
        """Returns all messages since the last call."""
        found = []
        try:
            while True:
                found.append(self.socket.recv(4096))
        except BlockingIOError:
            return found

    def signs(self) -> int:
        """Returns the number of signs of life since the last call."""
        return self.received().count(b"WATCHDOG=1")

    async def until_received(self, word: bytes, times: int = 1) -> None:
        count = 0

        def received() -> bool:
            nonlocal count
            count += self.received().count(word)
            return count >= times

        await eventually(received, f"{times} x {word!r} came")


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path)
    yield made
    made.socket.close()


async def answers(work: Callable[[Any], None]) -> None:
    work(None)


def fine() -> None:
    return None


async def test_a_daemon_that_lives_says_so_at_each_half_of_the_time(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    async with (
        Database(tmp_path / "claraedge.db") as database,
        Watchdog(supervisor.environment) as tested,
    ):
        task = asyncio.create_task(tested.run(database.write, fine))
        begun = time.monotonic()
        await supervisor.until_received(b"WATCHDOG=1", times=4)
        assert time.monotonic() - begun >= 3 * PERIOD / 2 - 0.05
        task.cancel()


async def test_a_loop_that_does_not_turn_says_nothing(supervisor: Supervisor) -> None:
    async with Watchdog(supervisor.environment) as tested:
        task = asyncio.create_task(tested.run(answers, fine))
        await supervisor.until_received(b"WATCHDOG=1")
        time.sleep(2 * PERIOD)  # noqa: ASYNC251 - the loop hangs
        assert supervisor.signs() == 0
        await supervisor.until_received(b"WATCHDOG=1")
        task.cancel()


async def test_a_state_that_accepts_nothing_sends_no_sign(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    hangs = asyncio.Event()

    async def never(_work: Callable[[Any], None]) -> None:
        await hangs.wait()

    async with Watchdog(supervisor.environment) as tested:
        task = asyncio.create_task(tested.run(never, fine))
        await eventually(lambda: "no sign of life" in caplog.text, "it is logged")
        assert supervisor.signs() == 0
        hangs.set()
        await supervisor.until_received(b"WATCHDOG=1")
        task.cancel()
    assert caplog.text.count("no sign of life") == 1


async def test_a_writer_that_has_ended_is_no_life(supervisor: Supervisor, tmp_path: Path) -> None:
    async with Database(tmp_path / "claraedge.db") as database:
        pass
    async with Watchdog(supervisor.environment) as tested:
        task = asyncio.create_task(tested.run(database.write, fine))
        await asyncio.wait([task], timeout=2 * PERIOD)
        assert not task.done()
        assert supervisor.signs() == 0
        task.cancel()


@pytest.mark.parametrize(
    "error", [StorageFullError("the disk is full"), sqlite3.OperationalError("disk I/O error")]
)
async def test_a_full_or_broken_disk_is_no_reason_for_a_restart(
    supervisor: Supervisor, error: Exception
) -> None:
    async def full(_work: Callable[[Any], None]) -> None:
        raise error

    async with Watchdog(supervisor.environment) as tested:
        task = asyncio.create_task(tested.run(full, fine))
        await supervisor.until_received(b"WATCHDOG=1", times=2)
        task.cancel()


async def test_an_engine_without_progress_is_no_life(supervisor: Supervisor) -> None:
    trouble: list[str] = ["one step for 900 s"]
    async with Watchdog(supervisor.environment) as tested:
        task = asyncio.create_task(tested.run(answers, lambda: trouble[0] if trouble else None))
        await asyncio.wait([task], timeout=2 * PERIOD)
        assert supervisor.signs() == 0
        trouble.clear()
        await supervisor.until_received(b"WATCHDOG=1")
        task.cancel()


async def test_a_long_start_asks_for_more_time_until_it_is_over(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "_ASK", 0.01)
    async with Watchdog(supervisor.environment) as tested:
        await supervisor.until_received(b"EXTEND_TIMEOUT_USEC=120000000", times=3)
        task = asyncio.create_task(tested.run(answers, fine))
        await supervisor.until_received(b"WATCHDOG=1")
        supervisor.received()
        await supervisor.until_received(b"WATCHDOG=1")
        assert set(supervisor.received()) <= {b"WATCHDOG=1"}
        task.cancel()


async def test_a_start_that_hangs_asks_for_no_more_at_last(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "_ASK", 0.01)
    monkeypatch.setattr(watchdog, "_LONGEST", 0.05)
    async with Watchdog(supervisor.environment) as tested:
        assert tested._starting is not None
        await asyncio.wait_for(tested._starting, DEADLINE)
        assert 1 <= len(supervisor.received()) <= 6


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "120000000"}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": str(os.getpid())}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": str(os.getppid())}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "1234567"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_what_systemd_expects(environment: dict[str, str], seconds: float | None) -> None:
    assert period(environment) == seconds


async def test_where_nothing_is_expected_nothing_is_sent(supervisor: Supervisor) -> None:
    del supervisor.environment["WATCHDOG_USEC"]
    async with Watchdog(supervisor.environment) as tested:
        await asyncio.wait_for(tested.run(answers, fine), DEADLINE)
    assert supervisor.signs() == 0
