"""What the parts of the engine share: the jobs that run, and the tasks that see to them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field

from claraedge.errors import RunnerUnavailableError, StorageFullError
from claraedge.jobs import records
from claraedge.jobs.engine.active import ActiveJob
from claraedge.jobs.engine.orphans import Orphans
from claraedge.jobs.engine.pause import Pause
from claraedge.jobs.model import Job
from claraedge.jobs.operators.execution import Execution
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.scheduling.demands import Demands
from claraedge.pipelines.model import Pipeline

#: What lets work wait, and fails nothing.
OUTAGES = (RunnerUnavailableError, StorageFullError)


class Tasks:
    """Tasks of the engine; one that dies of a bug is its failure."""

    def __init__(self, wake: asyncio.Event) -> None:
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure: BaseException | None = None
        """Of a task that could not even record its end: the state is unusable."""

    def begin(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self) -> None:
        """Cancels all, and waits for their ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()
            self._wake.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineContext:
    """Where jobs run."""

    machine: Machine
    active: dict[str, ActiveJob]
    pause: Pause
    orphans: Orphans
    wake: asyncio.Event
    """Set: the engine looks at what there is to do."""
    tasks: Tasks = field(repr=False)
    unified: bool
    """GPU memory is system memory."""
    given: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """(job, operator) -> the GPUs that its container has."""

    def decoded(self, job: Job) -> ActiveJob:
        """A job as it is recorded, to be worked on."""
        machine = self.machine
        return ActiveJob.of(job, machine.images, machine.clock, machine.profile, self._demand)

    def _demand(self, pipeline: Pipeline) -> Demands:
        """What a job of a pipeline asks for on this device."""
        return Demands.of(
            pipeline,
            self.machine.services.memory_of(pipeline),
            self.machine.profile,
            unified=self.unified,
            gpu_beside=self.machine.services.want_gpu(pipeline),
        )

    def expect_orphans(self) -> None:
        """Something may be left behind, and nobody else wakes the engine for it."""
        self.orphans.expect()
        self.wake.set()

    async def take_back(self, execution: Execution) -> None:
        """Takes back what was made ahead, where nobody waits for that."""
        try:
            await execution.discard()
        except RunnerUnavailableError:
            self.expect_orphans()

    async def say(self, job: str, text: str) -> None:
        """Adds a message to a job."""
        machine = self.machine
        await machine.database.write(lambda tx: records.say(tx, job, machine.clock.now(), text))
