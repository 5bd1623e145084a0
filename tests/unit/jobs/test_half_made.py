"""What a Podman that was killed had made of a container goes, where it is this daemon's."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.ids import new_id
from claraedge.jobs.model import JobStatus
from claraedge.runner.memory import MemoryRunner
from tests.rig.device import Device, copy
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually


@pytest.fixture
def podman() -> MemoryRunner:
    runner = MemoryRunner()
    runner.add_image("copy:1", copy)
    return runner


@pytest.fixture
def device(tmp_path: Path, podman: MemoryRunner) -> Device:
    return Device(state=tmp_path, runner=podman)


async def test_a_half_made_container_of_a_known_job_goes_unless_it_is_being_made(
    device: Device, podman: MemoryRunner
) -> None:
    podman.block("runs")
    async with engine_rig(device) as rig:
        pipeline = await rig.register(chain("runs", "next"))
        job = await rig.job(pipeline, {"x": b"1"})
        await rig.until_runs("runs")
        left = f"claraedge-{job.id}-0-7"
        strangers = f"claraedge-{new_id()}-0-1"
        service = "claraedge-service-x-1"
        worked_on = f"claraedge-{job.id}-1-1"
        podman.halves |= {left, strangers, service, worked_on}
        ended = await rig.job(await rig.register(chain("done")), {"x": b"1"})
        assert (await rig.end(ended.id)).status is JobStatus.HEALTHY
        podman.halves.add(f"claraedge-{ended.id}-0-1")
        rig.expect_orphans()
        await eventually(
            lambda: f"claraedge-{ended.id}-0-1" not in podman.halves,
            "that of the ended job is removed",
        )
        # The one that runs, and the one that is made ahead of its turn, are seen to by their tasks.
        assert podman.halves == {left, strangers, service, worked_on}
        podman.release("runs")
        assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        rig.expect_orphans()
        await eventually(
            lambda: podman.halves == {strangers, service}, "only those of others are left"
        )
