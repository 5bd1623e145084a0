"""An engine on a real SQLite file and real folders, with the in-memory runner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from claraedge.clock import SystemClock
from claraedge.deployments.serving import ServingDeployments
from claraedge.ids import new_id
from claraedge.images.applications import Applications
from claraedge.images.images import Images
from claraedge.jobs.engine.engine import Engine
from claraedge.jobs.jobs import Jobs
from claraedge.jobs.listing import JobFilter, ListedJob
from claraedge.jobs.logs.log_caps import LogCaps
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.model import Job, JobState, Priority
from claraedge.jobs.observing import JobObserver, UnobservedJobs
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.operators.removals import Removals
from claraedge.jobs.operators.values import SharedMemory
from claraedge.jobs.scheduling.scheduler import Resources
from claraedge.models.models import Models
from claraedge.models.tree import ModelTree
from claraedge.payloads.payloads import Payloads
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.checks.device import Device as Totals
from claraedge.pipelines.model import DefinitionFile
from claraedge.pipelines.tmpfs import TmpfsRule
from claraedge.registry.pipelines import Pipelines
from claraedge.runner.protocol import ContainerSpec
from claraedge.services.services import CompanionSettings, Services
from claraedge.store.database import Database
from claraedge.supervised.allocations import Allocations
from claraedge.suspects import UNRECORDED
from tests.rig.deployments import no_deployments
from tests.rig.device import Device
from tests.rig.waiting import DEADLINE, eventually


@dataclass
class EngineRig:
    """One run of an engine, from its start to its end."""

    device: Device
    database: Database
    payloads: Payloads
    models: Models
    pipelines: Pipelines
    jobs: Jobs
    engine: Engine
    log_caps: LogCaps
    """Watches no log before its `prepare` and `run`."""
    machine: Machine
    stopped: list[str]

    async def register(self, text: str) -> str:
        file = DefinitionFile(path="p.yaml", content=text)
        return (await self.pipelines.create([file], {}, None)).id

    async def job(
        self,
        pipeline: str,
        files: Mapping[str, bytes] | None = None,
        *,
        name: str = "job",
        priority: Priority = Priority.NORMAL,
        start: bool = True,
        variables: Mapping[str, str] | None = None,
    ) -> Job:
        job = await self.jobs.create(
            pipeline=pipeline, name=name, priority=priority, input_payloads=(), entries={}
        )
        if files:
            async with await self.payloads.upload(job.payload) as upload:
                for file, content in files.items():
                    await upload.write(file, 0, content)
                await upload.commit()
        return await self.jobs.start(job.id, variables or {}) if start else job

    async def listed(self, wanted: JobFilter | None = None) -> list[ListedJob]:
        """Returns the jobs that a filter selects; without one, the open ones."""
        return [job async for job in self.jobs.select(wanted, lambda job: job, len)]

    async def end(self, job: str) -> Job:
        """Waits until the job has stopped, and returns it."""
        return await self.until(job, lambda found: found.state is JobState.STOPPED)

    async def until(self, job: str, condition: Callable[[Job], object]) -> Job:
        """Waits until the condition is true for the job, and returns the job."""
        found: list[Job] = []

        async def holds() -> bool:
            found[:] = [await self.jobs.get(job)]
            return bool(condition(found[0]))

        await eventually(holds, "the condition for the job", details=lambda: found)
        return found[0]

    async def until_runs(self, operator: str) -> ContainerSpec:
        async with asyncio.timeout(DEADLINE):
            return await self.device.runner.running(operator)

    async def tick(self) -> None:
        """Triggers a scheduling pass of the engine and gives it time to run."""
        self.engine.wake()
        await asyncio.sleep(0.02)

    def expect_orphans(self) -> None:
        """Lets the engine search for containers of nobody, as after an outage of Podman."""
        self.engine.expect_orphans()

    async def listing(self, payload: str) -> list[str]:
        return [file.name for file in (await self.payloads.get(payload)).files]


@asynccontextmanager
async def engine_rig(
    device: Device,
    *,
    run: bool = True,
    observer: JobObserver | None = None,
    deployments: ServingDeployments | None = None,
) -> AsyncIterator[EngineRig]:
    """Opens the state and runs the engine; at exit containers keep running, as after a kill.

    `deployments`: those that jobs may use; None: there are none.
    """
    clock = SystemClock()
    stopped: list[str] = []
    async with Database(device.state / "claraedge.db") as database:
        tree = PayloadTree(device.state)
        payloads = Payloads(database, tree, clock, new_id, device.runner.reclaim)
        await payloads.prepare()
        logs = JobLogs(device.state, lambda log: log_caps.watch(log))
        log_caps = LogCaps(database, logs, limit=1 << 20)
        images = Images(device.runner)
        applications = Applications(
            images, device.runner, device.instance, lambda: Totals(cores=64, memory=1 << 20, gpus=8)
        )
        models = Models(database, ModelTree(device.state), clock, new_id)
        await models.prepare()
        services = Services(
            device.runner,
            images,
            models,
            deployments or no_deployments(database, device.runner),
            clock,
            new_id,
            state=device.state,
            instance=device.instance,
            settings=CompanionSettings(
                services=device.services,
                inference=device.inference,
                grace=0.2,
                profile=device.profile,
                unified=device.unified,
            ),
            gpus=lambda: device.gpus,
            on_lost=lambda job, reason: engine.services_lost(job, reason),
            on_freed=lambda: engine.wake(),
        )
        allocations = Allocations(lambda: engine.wake())
        machine = Machine(
            database=database,
            runner=device.runner,
            removals=Removals(device.runner, device.max_operators, lambda: engine.expect_orphans()),
            payloads=payloads,
            images=images,
            applications=applications,
            logs=logs,
            values=SharedMemory(device.shared_memory, device.instance),
            suspects=UNRECORDED,
            services=services,
            allocations=allocations,
            gpu_fault=device.tried_again,
            profile=device.profile,
            tmpfs_rule=TmpfsRule(),
            clock=clock,
            instance=device.instance,
            boot=device.boot,
            grace=0.2,
            observer=observer or UnobservedJobs(),
        )
        engine = Engine(
            machine,
            resources=Resources(
                operators=device.max_operators,
                cores=device.cores,
                memory=device.memory,
                gpus=lambda: device.gpus,
                gpu_faults=device.faults,
                gpu_memory=lambda: device.gpu_memory,
                unified=device.unified,
            ),
            timeouts=device.timeouts,
            on_stopped=stopped.append,
        )
        jobs = Jobs(
            database,
            engine,
            tree,
            logs,
            clock,
            new_id,
            grace=0.2,
            on_queued=lambda _tx, _job, _pipeline: None,
            applied=applications.applied,
        )
        pipelines = Pipelines(
            database, clock, new_id, lambda: Totals(cores=64, memory=1 << 20, gpus=8)
        )
        await services.prepare({})
        await engine.prepare()
        parts = (services.run(), engine.run()) if run else ()
        running = [asyncio.create_task(part) for part in parts]
        try:
            yield EngineRig(
                device,
                database,
                payloads,
                models,
                pipelines,
                jobs,
                engine,
                log_caps,
                machine,
                stopped,
            )
        finally:
            for part in reversed(running):
                part.cancel()
                await asyncio.gather(part, return_exceptions=True)
