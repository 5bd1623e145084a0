"""An engine that does not go on says so: its daemon is to be started again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from claraedge.jobs.engine import engine
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import Container
from tests.engine_bench import DEADLINE, Device, bench


async def test_a_step_that_does_not_end_is_told_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_STUCK", 0.05)
    podman = MemoryRunner()
    goes_on, asked = asyncio.Event(), asyncio.Event()
    containers = podman.containers

    async def hangs(labels: Mapping[str, str]) -> Sequence[Container]:
        asked.set()
        await goes_on.wait()
        return await containers(labels)

    async with bench(Device(state=tmp_path, runner=podman)) as b, asyncio.timeout(DEADLINE):
        await asyncio.sleep(0.1)
        assert b.engine.stuck() is None  # there is nothing to do
        monkeypatch.setattr(podman, "containers", hangs)
        b.engine._context.expect_orphans()
        await asked.wait()
        while (told := b.engine.stuck()) is None:
            await asyncio.sleep(0.005)
        assert told.startswith("the engine has been at one step for")
        goes_on.set()
        while b.engine.stuck() is not None:
            await asyncio.sleep(0.005)
