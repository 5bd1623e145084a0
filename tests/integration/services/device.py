"""A device with services over real Podman, for tests and for the process that they kill."""

from __future__ import annotations

import asyncio
import contextlib
import io
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claraedge.clock import SystemClock
from claraedge.config import InferenceSettings, ServicesSettings
from claraedge.ids import new_id
from claraedge.images.images import Images
from claraedge.models.model import ModelType
from claraedge.models.models import Models
from claraedge.models.tree import ModelTree
from claraedge.pipelines.contract import command, environment
from claraedge.pipelines.model import (
    ContainerDefinition,
    HttpConnection,
    Operator,
    Pipeline,
    Service,
    VolumeConnection,
)
from claraedge.pipelines.requests import Profile
from claraedge.runner.podman import PodmanRunner
from claraedge.runner.protocol import (
    LABEL_INSTANCE,
    LABEL_JOB,
    LABEL_OPERATOR,
    LABEL_SERVICES,
    ContainerSpec,
)
from claraedge.runner.service.service import PodmanService
from claraedge.services.model import Lease
from claraedge.services.services import CompanionSettings, Services
from claraedge.store.database import Database
from tests.rig.deployments import DeploymentRig, no_deployments
from tests.rig.waiting import eventually

BUSYBOX = "localhost/ce-test/busybox:1"
SERVER = "localhost/ce-test/models-server:1"
ECHO = ("sh", "-c", "echo up; while true; do busybox nc -l -p 8080 -e cat; done")


@dataclass
class Device:
    """One life of a daemon's part."""

    service: PodmanService
    runner: PodmanRunner
    services: Services
    models: Models
    instance: str
    folder: Path

    async def store(self, name: str, weights: str, config: str = "", **files: str) -> None:
        """Puts a model into the repository; `files` lie next to its weights."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(f"{name}/config.pbtxt", config or f'name: "{name}"')
            for file, text in ({"weights": weights} | files).items():
                archive.writestr(f"{name}/1/{file}", text)
        async with self.models.upload() as upload:
            await upload.write(content.getvalue())
            await upload.commit(name, ModelType.UNKNOWN, {})

    async def start(self, lease: Lease, operator: Operator) -> str:
        """Starts an operator as the engine does; the container's id."""
        variables = environment(
            operator,
            job_id=lease.job,
            job_name="n",
            triton=lease.triton,
            connections=lease.connections(operator),
        )
        image = await self.runner.find_image(operator.container.reference)
        assert image is not None
        container = await self.runner.create(
            ContainerSpec(
                name=f"ce-test-{new_id()}",
                image=image.id,
                command=command(operator, variables),
                environment=variables,
                mounts=lease.mounts(operator),
                networks=lease.networks(operator),
                labels={
                    LABEL_INSTANCE: self.instance,
                    LABEL_JOB: lease.job,
                    LABEL_OPERATOR: operator.name,
                },
                log_path=self.folder / f"{new_id()}.log",
            )
        )
        await self.runner.start(container)
        return container

    async def run(self, lease: Lease, operator: Operator) -> int | None:
        """The exit code of an operator."""
        container = await self.start(lease, operator)
        end = await self.runner.wait(container)
        await self.runner.remove(container)
        return end.code

    async def left(self) -> tuple[int, int]:
        """The numbers of service containers and networks."""
        found = await self.runner.containers({LABEL_SERVICES: self.instance})
        networks = await self.runner.networks({LABEL_INSTANCE: self.instance})
        return len(found), len(networks)

    async def until_nothing_is_left(self) -> None:
        async def nothing_is_left() -> bool:
            return await self.left() == (0, 0)

        await eventually(nothing_is_left, "no container or network is left", 30)


@asynccontextmanager
async def device(
    folder: Path,
    runtime: Path,
    instance: str,
    running: tuple[str, ...] = (),
    inference: dict[str, Any] | None = None,
    deployments: DeploymentRig | None = None,
    **own: Any,
) -> AsyncIterator[Device]:
    """Opens it; what runs continues after its end."""
    async with (
        PodmanService(runtime) as service,
        PodmanRunner(service, runtime) as runner,
        Database(folder / "claraedge.db") as database,
    ):
        clock = SystemClock()
        models = Models(database, ModelTree(folder), clock, new_id)
        await models.prepare()
        services = Services(
            runner,
            Images(runner),
            models,
            deployments.deployments.serving if deployments else no_deployments(database, runner),
            clock,
            new_id,
            state=folder,
            instance=instance,
            settings=CompanionSettings(
                services=ServicesSettings(**({"start_seconds": 20.0} | own)),
                inference=InferenceSettings(
                    **({"image": SERVER, "command": ("--explicit",)} | (inference or {}))
                ),
                grace=2.0,
                profile=Profile.CLARA_0_8,
                unified=False,
            ),
            gpus=lambda: (),
            on_lost=lambda _job, _reason: None,
            on_freed=lambda: None,
        )
        await services.prepare(dict.fromkeys(running, pipeline("")))
        part = asyncio.create_task(services.run())
        try:
            yield Device(service, runner, services, models, instance, folder)
        finally:
            part.cancel()
            await asyncio.gather(part, return_exceptions=True)


def echo(**changes: Any) -> Service:
    """A service that returns what it receives."""
    return Service(
        **(
            {
                "name": "echo",
                "container": ContainerDefinition(
                    image="localhost/ce-test/busybox", tag="1", command=ECHO
                ),
                "http": (HttpConnection(name="ECHO", port=8080),),
                "volumes": (VolumeConnection(name="SHARED", path="/data"),),
            }
            | changes
        )
    )


def pipeline(script: str, *services: Service, models: tuple[str, ...] = ()) -> Pipeline:
    """Of one operator that runs a script of the shell."""
    return Pipeline(
        api_version="0.4.0",
        name="p",
        operators=(
            Operator(
                name="uses",
                container=ContainerDefinition(
                    image="localhost/ce-test/busybox", tag="1", command=("sh", "-c", script)
                ),
                services=services,
                models=models,
            ),
        ),
    )


async def _for_ever(folder: Path, runtime: Path, instance: str) -> None:
    """Jobs that come and go until the process is killed."""
    async with device(folder, runtime, instance, idle_seconds=0.05) as made:
        await made.store("m", "w")
        print("ready", flush=True)

        async def jobs(models: tuple[str, ...]) -> None:
            for _ in range(1000):
                job = new_id()
                lease = await made.services.acquire(job, pipeline("exit 0", echo(), models=models))
                await made.run(lease, pipeline("exit 0", echo(), models=models).operators[0])
                await made.services.release(job)

        await asyncio.gather(jobs(()), jobs(("m",)))


def child(folder: Path, runtime: Path, instance: str) -> subprocess.Popen[str]:
    """Starts such a process, in a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.services.device", folder, runtime, instance],
        cwd=Path(__file__).resolve().parents[3],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_for_ever(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
