"""A job whose service is a deployment that is not up yet keeps nothing from others meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from claraedge.deployments.model import DeploymentPhase
from claraedge.jobs.model import JobStatus
from claraedge.jobs.scheduling.queue import WINDOW
from claraedge.packages.model import Endpoint
from claraedge.runner.protocol import ContainerSpec
from tests.rig.deployments import component, deployment_rig, executable, package
from tests.rig.device import Device, copy
from tests.rig.engine import engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import eventually

WEB = package(
    component(executable(image="web:1"), endpoints=(Endpoint(name="api", port=80, target_port=80),))
)


async def serve(_spec: ContainerSpec) -> int:
    await asyncio.Event().wait()
    return 0


async def accept(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


def asking(deployment: str) -> str:
    text = chain("asks").splitlines()
    text += [
        "  services:",
        "  - name: web",
        f"    deployment: {deployment}",
        "    connections: {http: [{name: WEB}]}",
    ]
    return "\n".join(text) + "\n"


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path / "engine", memory=1000)
    device.state.mkdir()
    device.runner.add_image("copy:1", copy)
    device.runner.add_image("web:1", serve, listens={80: accept})
    return device


@pytest.mark.timeout(120)
async def test_a_job_waits_in_the_queue_until_its_deployment_is_up(
    device: Device, tmp_path: Path
) -> None:
    async with (
        deployment_rig(
            tmp_path / "deployments", device.runner, packages=[WEB], granting=False
        ) as deployments,
        engine_rig(device, deployments=deployments.deployments.serving) as rig,
    ):
        await deployments.deploy("web", WEB)
        await deployments.until("web", lambda view: "memory" in view.waits_for)
        pipeline = await rig.register(asking("web"))
        jobs = [await rig.job(pipeline, {"x": b"1"}) for _ in range(WINDOW + 1)]

        async def waits() -> bool:
            return [wait.text for wait in await rig.jobs.waits(jobs[0].id)] == [
                "the deployment web, which waits for memory and GPUs; its turn comes"
            ]

        await eventually(waits, "its wait is visible")
        assert rig.engine._active == {}, "it occupies nothing"
        plain = await rig.job(await rig.register(chain("plain")), {"x": b"1"})
        assert (await rig.end(plain.id)).status is JobStatus.HEALTHY
        deployments.allocations.grant(1000, (), memory=1000, gpus=())
        await deployments.until_phase("web", DeploymentPhase.SUCCEEDED)
        for job in jobs:  # also the last one, which is behind the head of the queue
            assert (await rig.end(job.id)).status is JobStatus.HEALTHY
        (environment, *_) = [s.environment for s in device.runner.started if "WEB" in s.environment]
        assert environment["WEB"].endswith(":80")


async def test_a_job_whose_deployment_does_not_exist_fails_at_once(device: Device) -> None:
    async with engine_rig(device) as rig:
        job = await rig.job(await rig.register(asking("nobody")), {"x": b"1"})
        ended = await rig.end(job.id)
        assert ended.status is JobStatus.FAULTED
        assert "'nobody', which the job uses as a service, does not exist" in str(ended.messages)
