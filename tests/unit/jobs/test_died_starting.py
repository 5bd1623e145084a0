"""Podman dies while it starts a container, and calls it never started afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from claraedge.errors import RunnerUnavailableError
from claraedge.jobs.model import JobStatus
from claraedge.runner.memory import MemoryRunner
from tests.rig.device import Device, copy
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain


class Podman(MemoryRunner):
    """One that dies in the first start, of a container that prints so much."""

    def __init__(self, printed: bytes) -> None:
        super().__init__()
        self.printed: bytes | None = printed

    async def start(self, container: str) -> None:
        if self.printed is not None:
            (spec,) = (e.spec for e in self._containers.values() if e.id == container)
            spec.log_path.write_bytes(self.printed)
            self.printed = None
            raise RunnerUnavailableError("it broke off")
        await super().start(container)


@pytest.mark.parametrize(
    ("printed", "messages"),
    [
        (b"", ()),
        (
            b"2026-01-01T00:00:00.000000000Z stdout F on\n",
            ("operator one: interrupted (Podman ended while it started it); run again",),
        ),
    ],
    ids=["nothing printed", "printed"],
)
async def test_what_printed_was_started_and_counts_as_interrupted(
    tmp_path: Path, printed: bytes, messages: tuple[str, ...]
) -> None:
    podman = Podman(printed)
    podman.add_image("copy:1", copy)
    async with engine_rig(Device(state=tmp_path, runner=podman)) as rig:
        job = await rig.job(await rig.register(chain("one")), {"x": b"1"})
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.HEALTHY
        assert tuple(ended.messages) == messages
        assert len(podman.created) == 2
