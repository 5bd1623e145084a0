"""Programs of containers in memory, and packages with them."""

from __future__ import annotations

import asyncio

from claraedge.packages.model import Package, RestartPolicy
from claraedge.runner.protocol import ContainerSpec
from tests.rig.deployments import component, executable, package


async def serve(_spec: ContainerSpec) -> int:
    await asyncio.Event().wait()
    return 0


async def fail(_spec: ContainerSpec) -> int:
    return 3


class Ending:
    """A program that ends with a code when it is asked to."""

    def __init__(self) -> None:
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.starts = 0
        self.specs: list[ContainerSpec] = []

    async def __call__(self, spec: ContainerSpec) -> int:
        self.starts += 1
        self.specs.append(spec)
        self.code = asyncio.get_running_loop().create_future()
        return await self.code

    def end(self, code: int) -> None:
        self.code.set_result(code)


def app(
    image: str = "serve:1",
    restart: RestartPolicy = RestartPolicy.ALWAYS,
    name: str = "app",
    **more: object,
) -> Package:
    """Returns a package with one executable; `more`: its other fields."""
    return package(component(executable(image=image, **more), restart=restart), name=name)
