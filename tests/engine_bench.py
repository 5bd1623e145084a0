"""A test rig: an engine on a real SQLite file and real folders, with the in-memory runner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from claraedge import config
from claraedge.clock import SystemClock
from claraedge.ids import new_id
from claraedge.images.applications import Applications
from claraedge.images.images import Images
from claraedge.jobs.engine.engine import Engine
from claraedge.jobs.engine.timeouts import Timeouts
from claraedge.jobs.jobs import Jobs
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.model import Job, JobState, Priority
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
from claraedge.pipelines.requests import Profile
from claraedge.pipelines.tmpfs import TmpfsRule
from claraedge.registry.pipelines import Pipelines
from claraedge.runner.memory import MemoryRunner, host_path, write_log
from claraedge.runner.protocol import ContainerSpec
from claraedge.services.services import Services, Settings
from claraedge.store.database import Database
from claraedge.suspects import UNRECORDED

#: Seconds that a condition is waited for.
DEADLINE = 20.0


@dataclass
class Device:
    """What outlives a daemon: the state folder, the containers of the runner, the GPUs."""

    state: Path
    runner: MemoryRunner = field(default_factory=MemoryRunner)
    gpus: tuple[str, ...] = ()
    cores: int = 2
    max_operators: int = 4
    memory: int | None = None
    gpu_faults: dict[str, str] = field(default_factory=dict)
    """Reasons why GPUs cannot be used, by CDI name."""
    gpu_memory: int | None = None
    unified: bool = False
    timeouts: Timeouts = Timeouts(default=600, maximum=1800)  # noqa: RUF009 it is frozen
    boot: str = "boot-1"
    instance: str = field(default_factory=new_id)
    shared_memory: Path = Path("/dev/shm")
    profile: Profile = Profile.CLARA_0_8
    services: config.Services = config.Services()  # noqa: RUF009 it is frozen
    inference: config.Inference = config.Inference()  # noqa: RUF009 it is frozen

    async def faults(self) -> Mapping[str, str]:
        return self.gpu_faults

    async def tried_again(self, devices: Sequence[str]) -> str | None:
        return next((self.gpu_faults[d] for d in devices if d in self.gpu_faults), None)


@dataclass
class Bench:
    """One run of an engine, from its start to its end."""

    device: Device
    database: Database
    payloads: Payloads
    models: Models
    pipelines: Pipelines
    jobs: Jobs
    engine: Engine
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

    async def end(self, job: str) -> Job:
        """Waits until the job has stopped, and returns it."""
        async with asyncio.timeout(DEADLINE):
            while True:
                found = await self.jobs.get(job)
                if found.state is JobState.STOPPED:
                    return found
                await asyncio.sleep(0.005)

    async def until_runs(self, operator: str) -> ContainerSpec:
        async with asyncio.timeout(DEADLINE):
            return await self.device.runner.running(operator)

    async def tick(self) -> None:
        """Triggers a scheduling pass of the engine and gives it time to run."""
        self.engine.wake()
        await asyncio.sleep(0.02)

    async def listing(self, payload: str) -> list[str]:
        return [file.name for file in (await self.payloads.get(payload)).files]


@asynccontextmanager
async def bench(device: Device, *, run: bool = True) -> AsyncIterator[Bench]:
    """Opens the state and runs the engine; at exit containers keep running, as after a kill."""
    clock = SystemClock()
    stopped: list[str] = []
    async with Database(device.state / "claraedge.db") as database:
        tree = PayloadTree(device.state)
        payloads = Payloads(database, tree, clock, new_id, device.runner.reclaim)
        await payloads.prepare()
        logs = JobLogs(device.state)
        images = Images(device.runner)
        applications = Applications(
            images, device.runner, "bench", lambda: Totals(cores=64, memory=1 << 20, gpus=8)
        )
        models = Models(database, ModelTree(device.state), clock, new_id)
        await models.prepare()
        services = Services(
            device.runner,
            images,
            models,
            clock,
            new_id,
            state=device.state,
            instance=device.instance,
            settings=Settings(
                services=device.services,
                inference=device.inference,
                grace=0.2,
                profile=device.profile,
                unified=device.unified,
            ),
            gpus=lambda: device.gpus,
        )
        machine = Machine(
            database=database,
            runner=device.runner,
            removals=Removals(device.runner),
            payloads=payloads,
            images=images,
            applications=applications,
            logs=logs,
            values=SharedMemory(device.shared_memory, device.instance),
            suspects=UNRECORDED,
            services=services,
            gpu_fault=device.tried_again,
            profile=device.profile,
            tmpfs_rule=TmpfsRule(),
            clock=clock,
            instance=device.instance,
            boot=device.boot,
            grace=0.2,
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
        await services.prepare([])
        await engine.prepare()
        parts = (services.run(), engine.run()) if run else ()
        running = [asyncio.create_task(part) for part in parts]
        try:
            yield Bench(device, database, payloads, models, pipelines, jobs, engine, stopped)
        finally:
            for part in reversed(running):
                part.cancel()
                await asyncio.gather(part, return_exceptions=True)


async def emptied(runner: MemoryRunner) -> None:
    """Waits until no container is left: they are removed after the waits for their end return."""
    async with asyncio.timeout(DEADLINE):
        while await runner.containers({}):
            await asyncio.sleep(0.01)


async def copy(spec: ContainerSpec) -> int:
    """A container program that copies all its inputs to each of its outputs, and logs a line."""
    sources = [mount for mount in spec.mounts if mount.read_only]
    for target in (mount for mount in spec.mounts if not mount.read_only):
        for source in sources:
            for path in source.source.rglob("*"):
                if path.is_file():
                    host_path(spec, target.target).joinpath(path.name).write_bytes(
                        path.read_bytes()
                    )
    write_log(spec, "copied")
    return 0


async def fail(spec: ContainerSpec) -> int:
    """A container program that fails with exit code 3."""
    write_log(spec, "first line\nno such slice")
    return 3


def chain(*operators: str, image: str = "copy", extra: Sequence[str] = ()) -> str:
    """Returns a definition whose operators each read the previous one, the first the payload."""
    lines = ["api-version: 0.4.0", "name: chain", "operators:"]
    before = None
    for name in operators:
        lines += [
            f"- name: {name}",
            f"  container: {{image: {image}, tag: '1'}}",
            *(f"  {line}" for line in extra),
            "  input:",
            f"  - {{path: /in{f', from: {before}' if before else ''}}}",
            "  output:",
            "  - {path: /out}",
        ]
        before = name
    return "\n".join(lines) + "\n"
