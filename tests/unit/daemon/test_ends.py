"""How the daemon ends: a signal is a regular stop, a bug never is."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from claraedge.config import Config, load_config
from claraedge.daemon import process
from claraedge.inbox.inbox import Inbox
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import Runner
from tests.rig.waiting import eventually

DEADLINE = 30.0


@asynccontextmanager
async def in_memory(_config: Config) -> AsyncIterator[Runner]:
    yield MemoryRunner()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(process, "serve", partial(process.serve, open_runner=in_memory))
    folders = {"state_dir": str(tmp_path / "state"), "runtime_dir": str(tmp_path / "run")}
    return load_config(None, {"HOME": str(tmp_path)}, folders)


async def until_served(config: Config) -> None:
    await eventually(config.socket.exists, "the daemon serves")


async def test_a_part_that_dies_ends_the_daemon_with_an_error(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def dies(_inbox: Inbox) -> None:
        await until_served(config)
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a bug")

    monkeypatch.setattr(Inbox, "run", dies)
    async with asyncio.timeout(DEADLINE):
        assert await process._main(config) == 1
    assert "a bug" in caplog.text


async def test_a_signal_ends_it_without_one(config: Config) -> None:
    running = asyncio.create_task(process._main(config))
    await until_served(config)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(DEADLINE):
        assert await running == 0
    assert not config.socket.exists()


@pytest.mark.parametrize("terminal", [False, True])
async def test_a_hangup_ends_it_only_where_a_terminal_went(
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    terminal: bool,
) -> None:
    monkeypatch.setattr(process, "_has_terminal", lambda: terminal)
    running = asyncio.create_task(process._main(config))
    await until_served(config)
    os.kill(os.getpid(), signal.SIGHUP)
    if not terminal:
        await eventually(lambda: "SIGHUP does nothing" in caplog.text, "it is logged")
        assert not running.done()
        os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(DEADLINE):
        assert await running == 0


async def test_it_notifies_its_supervisor_that_it_is_ready_and_then_that_it_lives(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(address))
        supervisor.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        running = asyncio.create_task(process._main(config))
        received: list[str] = []
        async with asyncio.timeout(DEADLINE):
            while received.count("WATCHDOG=1") < 2:
                message = await asyncio.get_running_loop().sock_recv(supervisor, 4096)
                received.append(message.decode())
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            assert await running == 0
    words = [each.partition("=")[0] for each in received]
    assert set(words[: words.index("READY")]) == {"EXTEND_TIMEOUT_USEC"}
    assert set(words[words.index("READY") + 1 :]) == {"WATCHDOG"}
