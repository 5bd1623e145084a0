"""What services and operators leave in folders that they share is for one pipeline alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.jobs.model import JobStatus
from claraedge.runner.protocol import LABEL_SERVICES, ContainerSpec
from tests.rig.device import Device, copy
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain

KEEPER = """\
  services:
  - name: keeper
    container: {image: keeper, tag: '1'}
    connections:
      http: [{name: URI, port: 8080}]
"""
FOLDER = "      volume: [{name: SHARED, path: /data}]\n"


async def serve(_spec: ContainerSpec) -> int:
    await asyncio.Event().wait()
    return 0


async def accept(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


class Visitors:
    """Operators that note what they find in the folder, and leave their name there."""

    def __init__(self) -> None:
        self.found: list[list[str]] = []

    async def __call__(self, spec: ContainerSpec) -> int:
        for mount in spec.mounts:
            if mount.target == "/clara/volumes/SHARED":
                self.found.append(sorted(path.name for path in mount.source.glob("secret-*")))
                (mount.source / f"secret-{len(self.found)}").touch()
        return await copy(spec)


@pytest.fixture
def visitors() -> Visitors:
    return Visitors()


@pytest.fixture
def device(tmp_path: Path, visitors: Visitors) -> Device:
    device = Device(tmp_path)
    device.runner.add_image("copy:1", visitors)
    device.runner.add_image("keeper:1", serve, listens={8080: accept})
    return device


async def test_what_a_job_leaves_with_a_service_is_closed_to_another_pipeline(
    device: Device, visitors: Visitors
) -> None:
    text = chain("visits") + KEEPER + FOLDER
    async with engine_rig(device) as rig:
        mine, others = await rig.register(text), await rig.register(text)
        for pipeline in (mine, others, mine):
            job = await rig.job(pipeline, {"x": b"1"})
            ended = await rig.end(job.id)
            assert ended.status is JobStatus.HEALTHY, ended.messages
        assert visitors.found == [[], [], ["secret-1"]]
        assert len(await device.runner.containers({LABEL_SERVICES: device.instance})) == 2


async def test_one_without_folders_is_shared_by_all_pipelines(device: Device) -> None:
    text = chain("visits") + KEEPER
    async with engine_rig(device) as rig:
        for pipeline in (await rig.register(text), await rig.register(text)):
            job = await rig.job(pipeline, {"x": b"1"})
            ended = await rig.end(job.id)
            assert ended.status is JobStatus.HEALTHY, ended.messages
        assert len(await device.runner.containers({LABEL_SERVICES: device.instance})) == 1
