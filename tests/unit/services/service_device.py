"""A device for tests of services: the real parts, over a runner in memory."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from claraedge.blocking import in_thread
from claraedge.clock import SystemClock
from claraedge.config import InferenceSettings, ServicesSettings
from claraedge.deployments.serving import ServingDeployments
from claraedge.ids import new_id
from claraedge.images.images import Images
from claraedge.models.model import Model, ModelType
from claraedge.models.models import Models
from claraedge.models.tree import ModelTree
from claraedge.pipelines.model import (
    ContainerDefinition,
    HttpConnection,
    Operator,
    Pipeline,
    Requests,
    Service,
    VolumeConnection,
)
from claraedge.pipelines.requests import Profile
from claraedge.runner.memory import MemoryRunner, write_log
from claraedge.runner.protocol import LABEL_SERVICES, ContainerSpec
from claraedge.services.services import CompanionSettings, Services
from claraedge.store.database import Database
from tests.rig.deployments import no_deployments
from tests.rig.models_server import PORT, ModelsServer

VIEWER = "site/viewer:1"
SERVER = "site/models-server:1"
INSTANCE = "i" * 32


class TickingClock(SystemClock):
    """The machine's clock, which a test sets forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def elapsed(self) -> float:
        return super().elapsed() + self.ahead


class ServiceDevice:
    """A device with two images; `services` is the present daemon's part."""

    def __init__(self, state: Path, database: Database) -> None:
        self.state = state
        self.database = database
        self.runner = MemoryRunner()
        self.clock = TickingClock()
        self.gpus: tuple[str, ...] = ("nvidia.com/gpu=0",)
        self.models = Models(database, ModelTree(state), self.clock, new_id)
        self.server = ModelsServer(state / "services/inference/models", crash=self.crash)
        self.lost: list[tuple[str, str]] = []
        self.services: Services
        self.exits = asyncio.Event()
        self.runner.add_image(VIEWER, self.run_viewer, ports=(8080, 9090), listens={8080: accept})
        self.runner.add_image(SERVER, self.run_server, listens={PORT: self.server.handle})

    async def run_viewer(self, spec: ContainerSpec) -> int:
        write_log(spec, "viewer: no licence")
        await self.exits.wait()
        self.exits.clear()
        return 7

    async def run_server(self, _spec: ContainerSpec) -> int:
        self.server.restarted()
        await self.exits.wait()
        self.exits.clear()
        return 3

    def crash(self) -> None:
        """The one service that runs ends by itself."""
        self.exits.set()

    @asynccontextmanager
    async def daemon(
        self,
        running: tuple[str, ...] = (),
        inference: dict[str, Any] | None = None,
        deployments: ServingDeployments | None = None,
        pipeline: Pipeline | None = None,
        **own: Any,
    ) -> AsyncIterator[Services]:
        """One life of the daemon; containers outlive it. `pipeline`: of the `running` jobs."""
        self.services = Services(
            self.runner,
            Images(self.runner),
            self.models,
            deployments or no_deployments(self.database, self.runner),
            self.clock,
            new_id,
            state=self.state,
            instance=INSTANCE,
            settings=CompanionSettings(
                services=ServicesSettings(**({"start_seconds": 5.0} | own)),
                inference=InferenceSettings(
                    **({"image": SERVER, "gpus": 0, "start_seconds": 5.0} | (inference or {}))
                ),
                grace=1.0,
                profile=Profile.CLARA_0_8,
                unified=False,
            ),
            gpus=lambda: self.gpus,
            on_lost=lambda job, reason: self.lost.append((job, reason)),
            on_freed=lambda: None,
        )
        await self.services.prepare(dict.fromkeys(running, pipeline or using()))
        running_part = asyncio.create_task(self.services.run())
        try:
            yield self.services
        finally:
            running_part.cancel()
            await asyncio.gather(running_part, return_exceptions=True)

    async def containers(self) -> list[str]:
        found = await self.runner.containers({LABEL_SERVICES: INSTANCE})
        return [container.id for container in found]

    async def networks(self) -> list[str]:
        return [network.name for network in await self.runner.networks({})]

    async def store(
        self, name: str, weights: str = "w", of: Sequence[str] = (), config: str = "", **files: str
    ) -> Model:
        """Puts a model into the repository, an ensemble where it is `of` others; `files` lie next
        to its weights, `config` is added to its configuration.
        """
        steps = "".join(f'step {{ model_name: "{part}" model_version: -1 }}\n' for part in of)
        ensemble = f'platform: "ensemble"\nensemble_scheduling {{\n{steps}}}\n' if of else ""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr(f"{name}/config.pbtxt", f'name: "{name}"\n{ensemble}{config}')
            for file, text in ({"weights": weights} | files).items():
                archive.writestr(f"{name}/1/{file}", text)
        async with self.models.upload() as upload:
            await upload.write(content.getvalue())
            return await upload.commit(name, ModelType.UNKNOWN, {})


async def accept(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


def viewer(
    name: str = "viewer",
    command: tuple[str, ...] = (),
    port: int | None = None,
    volume: str | None = None,
    gpu: int | None = None,
    image: str = VIEWER,
    variables: dict[str, str] | None = None,
) -> Service:
    repository, tag = image.rsplit(":", 1)
    return Service(
        name=name,
        container=ContainerDefinition(image=repository, tag=tag, command=command),
        variables=variables or {},
        requests=Requests(gpu=gpu),
        http=(HttpConnection(name="VIEWER", port=port),),
        volumes=(VolumeConnection(name="SHARED", path=volume),) if volume else (),
    )


def using(*services: Service, models: tuple[str, ...] = ()) -> Pipeline:
    """A pipeline of one operator that uses these, and one that uses nothing."""
    image = ContainerDefinition(image="site/app", tag="1")
    return Pipeline(
        api_version="0.4.0",
        name="p",
        operators=(
            Operator(name="uses", container=image, services=services, models=models),
            Operator(name="alone", container=image),
        ),
    )


async def read(path: Path) -> str:
    return await in_thread(path.read_text)
