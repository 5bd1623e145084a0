"""An engine whose step does not end reports that: its daemon has to be restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from claraedge.jobs.engine import engine
from claraedge.runner.memory import MemoryRunner
from claraedge.runner.protocol import Container
from tests.rig.device import Device
from tests.rig.engine import engine_rig
from tests.rig.waiting import DEADLINE, eventually


async def test_a_step_that_does_not_end_is_reported_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_STUCK", 0.05)
    podman = MemoryRunner()
    proceed, asked = asyncio.Event(), asyncio.Event()
    containers = podman.containers

    async def hangs(labels: Mapping[str, str]) -> Sequence[Container]:
        asked.set()
        await proceed.wait()
        return await containers(labels)

    async with engine_rig(Device(state=tmp_path, runner=podman)) as rig, asyncio.timeout(DEADLINE):
        await asyncio.sleep(0.1)
        assert rig.engine.stuck() is None  # there is nothing to do
        monkeypatch.setattr(podman, "containers", hangs)
        rig.expect_orphans()
        await asked.wait()
        reported = await eventually(rig.engine.stuck, "it is stuck")
        assert reported.startswith("the engine has been at one step for")
        proceed.set()
        await eventually(lambda: rig.engine.stuck() is None, "it continues")
