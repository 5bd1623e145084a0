"""One run of the deployments of a device, on the runner in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from claraedge.bags.bags import Bags
from claraedge.bags.kind import BAGS
from claraedge.bags.recorder import BagSite
from claraedge.bags.storing import BagStore
from claraedge.clock import Clock, SystemClock
from claraedge.config import DeploymentsSettings, ImagesSettings
from claraedge.deployments.deployments import Deployments, DeploymentView
from claraedge.deployments.job_uses import JobUses
from claraedge.deployments.model import DeploymentPhase, DeploymentRequest, DeviceFacts
from claraedge.deployments.networks.live import NetworkSite
from claraedge.deployments.networks.networks import MASTERS, PrivateNetworks
from claraedge.deployments.running.kind import DEPLOYMENTS
from claraedge.deployments.running.networks import DeploymentNetworks
from claraedge.deployments.running.site import Site
from claraedge.deployments.running.volumes import DeploymentVolumes
from claraedge.deployments.serving import ServingDeployments
from claraedge.errors import PackageNotFoundError
from claraedge.ids import new_id
from claraedge.images.images import Images
from claraedge.packages import records
from claraedge.packages.ids import new_kind_id
from claraedge.packages.model import Component, Executable, Package, Plan, RestartPolicy
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.tree import PayloadTree
from claraedge.runner.protocol import Runner
from claraedge.store.database import Database, Transaction
from claraedge.store.unknown import Unknown
from claraedge.supervised.allocations import Allocations
from claraedge.supervised.workshop import Workshop
from tests.rig.waiting import eventually

INSTANCE = "0" * 32
UNSTATED = 64


@dataclass
class DeploymentRig:
    """What a test arranges and reads."""

    state: Path
    runner: Runner
    database: Database
    allocations: Allocations
    deployments: Deployments
    site: Site
    bags: Bags
    payloads: Payloads
    packages: dict[str, Package] = field(default_factory=dict)
    free_memory: int | None = None
    gpus: tuple[str, ...] = ()
    blocked: list[str | None] = field(default_factory=lambda: [None])
    """Why nothing new may be stored now."""

    async def deploy(self, name: str, package: Package, **more: object) -> DeploymentView:
        request = DeploymentRequest(name=name, package=package.id, **more)  # type: ignore[arg-type]
        return await self.deployments.create(request)

    async def until(
        self, name: str, condition: Callable[[DeploymentView], object], what: str = "it is so"
    ) -> DeploymentView:
        """Waits until the condition is true for a deployment, and returns that."""
        found: list[DeploymentView] = []

        async def holds() -> bool:
            found[:] = [await self.deployments.get(name)]
            return bool(condition(found[0]))

        await eventually(holds, f"{name}: {what}", details=lambda: found)
        return found[0]

    async def until_phase(self, name: str, phase: DeploymentPhase) -> DeploymentView:
        return await self.until(name, lambda v: v.deployment.phase is phase, phase.value)

    async def containers(self) -> Sequence[str]:
        """Returns the names of all containers that exist, without their random ends."""
        found = await self.runner.containers({})
        return sorted(container.name.rpartition("-")[0] for container in found)


def package(
    *components: Component, name: str = "app", version: str = "v1.0.0", singleton: bool = False
) -> Package:
    plan = Plan(id=new_kind_id("plan"), name="default", components=components, singleton=singleton)
    return Package(id=new_kind_id("pkg"), name=name, version=version, plans=(plan,))


def component(
    *executables: Executable,
    name: str = "main",
    restart: RestartPolicy = RestartPolicy.ALWAYS,
    **more: object,
) -> Component:
    return Component(
        id=new_kind_id("comp"),
        name=name,
        executables=executables,
        restart_policy=restart,
        **more,  # type: ignore[arg-type]
    )


def executable(name: str = "run", image: str = "serve:1", **more: object) -> Executable:
    return Executable(id=new_kind_id("exec"), name=name, image=image, **more)  # type: ignore[arg-type]


def no_deployments(database: Database, runner: Runner) -> ServingDeployments:
    """What jobs use of deployments on a device that has none."""
    return ServingDeployments(database, runner, JobUses(), dict, lambda _deployment: None)


def _add(tx: Transaction, packages: Sequence[Package]) -> None:
    for each in packages:
        if tx.row("package", id=each.id) is None:
            records.add(tx, each)


async def _run(deployments: Deployments, bags: Bags, networks: PrivateNetworks) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(networks.run())
        group.create_task(deployments.run())
        group.create_task(bags.run())


@asynccontextmanager
async def deployment_rig(
    state: Path,
    runner: Runner,
    *,
    instance: str = INSTANCE,
    grace: float = 0.1,
    packages: Sequence[Package] = (),
    settings: DeploymentsSettings | None = None,
    pulls: ImagesSettings | None = None,
    memory: int = 1 << 20,
    gpus: tuple[str, ...] = (),
    granting: bool = True,
    clock: Clock | None = None,
) -> AsyncIterator[DeploymentRig]:
    """Runs the deployments of a state folder; at exit they are cancelled wherever they are.

    `granting`: whether memory and GPUs are granted at once, as by an engine without jobs.
    """
    state.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 a test alone
    settings = settings or DeploymentsSettings(up_seconds=0.1)
    known = {package.id: package for package in packages}
    clock = clock or SystemClock()
    blocked: list[str | None] = [None]

    async def find(text: str) -> Package:
        if text not in known:
            raise PackageNotFoundError(f"no package has the id {text}; create it")
        return known[text]

    async with Database(state / "claraedge.db") as database:
        await database.write(lambda tx: _add(tx, packages))

        def grant() -> None:
            if granting:
                asyncio.get_running_loop().call_soon(give)

        def give() -> None:
            allocated = allocations.allocated()
            free = memory - allocated.memory
            unused = [gpu for gpu in gpus if gpu not in allocated.gpus]
            allocations.grant(free, unused, memory=memory, gpus=gpus)

        allocations = Allocations(grant)
        images = Images(runner, pulls or ImagesSettings())
        payloads = Payloads(database, PayloadTree(state), clock, new_id, runner.reclaim)
        await payloads.prepare()
        bags = Bags(
            BagSite(
                store=BagStore(
                    database,
                    payloads,
                    clock,
                    new_kind_id,
                    runner,
                    state / "deployments" / "bags",
                    Unknown(state),
                ),
                workshop=Workshop(
                    runner,
                    new_id,
                    kind=BAGS,
                    folder=state / "deployments",
                    instance=instance,
                    grace=grace,
                    why_unusable=images.why_unusable,
                    on_left=lambda: bags.expect_orphans(),
                ),
                allocations=allocations,
                clock=clock,
                up_seconds=settings.up_seconds,
            ),
            new_kind_id,
            lambda: blocked[0],
        )
        masters = Workshop(
            runner,
            new_id,
            kind=MASTERS,
            folder=state / "networks",
            instance=instance,
            grace=grace,
            why_unusable=images.why_unusable,
            on_left=lambda: networks.expect_orphans(),
        )
        network_site = NetworkSite(
            workshop=masters,
            images=images,
            allocations=allocations,
            clock=clock,
            ros_images=settings.ros_images,
            outside=settings.network == "outside",
            memory=UNSTATED,
        )
        networks = PrivateNetworks(database, network_site, lambda: {"eth0"}, new_kind_id)
        site = Site(
            database=database,
            images=images,
            workshop=Workshop(
                runner,
                new_id,
                kind=DEPLOYMENTS,
                folder=state / "deployments",
                instance=instance,
                grace=grace,
                why_unusable=images.why_unusable,
                on_left=lambda: deployments.expect_orphans(),
            ),
            private_networks=networks,
            networks=DeploymentNetworks(runner, instance, outside=settings.network == "outside"),
            volumes=DeploymentVolumes(state / "volumes", settings.host_folders),
            allocations=allocations,
            clock=clock,
            settings=settings,
            unstated_memory=UNSTATED,
            device={"RIO_DEVICE_ID": "d"},
            sidecars=bags,
        )
        facts = DeviceFacts(
            architecture="amd64",
            memory=memory,
            gpus=len(gpus),
            host_folders=tuple(map(str, settings.host_folders)),
            unstated_memory=UNSTATED,
        )
        deployments = Deployments(site, find, lambda: facts, new_kind_id)
        await networks.prepare()
        await bags.prepare()
        await deployments.prepare()
        running = asyncio.create_task(_run(deployments, bags, networks))
        try:
            yield DeploymentRig(
                state,
                runner,
                database,
                allocations,
                deployments,
                site,
                bags,
                payloads,
                known,
                memory,
                gpus,
                blocked,
            )
        finally:
            running.cancel()
            (error,) = await asyncio.gather(running, return_exceptions=True)
            if error is not None and not isinstance(error, asyncio.CancelledError):
                raise error


async def gone_after_commit(patch: pytest.MonkeyPatch, call: Coroutine[Any, Any, object]) -> None:
    """Makes a call whose client disconnects after the first commit, before the answer."""
    mine = ContextVar("mine", default=False)
    write, committed, answered = Database.write, asyncio.Event(), asyncio.Event()

    async def slow(self: Database, work: Any) -> Any:
        found = await write(self, work)
        if mine.get() and not committed.is_set():
            committed.set()
            await answered.wait()
        return found

    async def make() -> None:
        mine.set(True)
        await call

    patch.setattr(Database, "write", slow)
    calling = asyncio.ensure_future(make())
    await asyncio.wait_for(committed.wait(), 30)
    calling.cancel()
    await asyncio.wait({calling})
    answered.set()


def noted(patch: pytest.MonkeyPatch, owner: type, name: str) -> list[object]:
    """Returns a list that gets the first argument of each call of a method from now on."""
    real, calls = getattr(owner, name), list[object]()

    def call(self: object, first: object, *more: object) -> object:
        calls.append(first)
        return real(self, first, *more)

    patch.setattr(owner, name, call)
    return calls
