"""How the daemon ends: a signal is a stop, a bug never looks like one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from claraedge import daemon
from claraedge.config import Config, load_config
from claraedge.inbox.inbox import Inbox
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import Runner

DEADLINE = 30.0


@asynccontextmanager
async def in_memory(_config: Config) -> AsyncIterator[Runner]:
    yield MemoryRunner()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(daemon, "serve", partial(daemon.serve, open_runner=in_memory))
    folders = {"state_dir": str(tmp_path / "state"), "runtime_dir": str(tmp_path / "run")}
    return load_config(None, {"HOME": str(tmp_path)}, folders)


async def until_served(config: Config) -> None:
    async with asyncio.timeout(DEADLINE):
        while not config.socket.exists():
            await asyncio.sleep(0.01)


async def test_a_part_that_dies_ends_the_daemon_with_an_error(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def dies(_inbox: Inbox) -> None:
        await until_served(config)
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a bug")

    monkeypatch.setattr(Inbox, "run", dies)
    async with asyncio.timeout(DEADLINE):
        assert await daemon._main(config) == 1
    assert "a bug" in caplog.text


async def test_a_signal_ends_it_without_one(config: Config) -> None:
    running = asyncio.create_task(daemon._main(config))
    await until_served(config)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(DEADLINE):
        assert await running == 0
    assert not config.socket.exists()
