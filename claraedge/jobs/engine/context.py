"""The context that the engine's parts share: the running jobs, and the tasks that serve them."""

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

#: Errors after which work is paused and retried, and no job fails.
OUTAGES = (RunnerUnavailableError, StorageFullError)


class Tasks:
    """The engine's asyncio tasks; an unexpected exception in one of them becomes `failure`."""

    def __init__(self, wake: asyncio.Event) -> None:
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure: BaseException | None = None
        """The exception of a task that could not record its result: the state is unusable."""

    def begin(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        """Starts a task that runs `work`, and returns it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self) -> None:
        """Cancels all tasks, and waits until they have ended."""
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
    """The shared state of the engine's parts."""

    machine: Machine
    active: dict[str, ActiveJob]
    pause: Pause
    orphans: Orphans
    wake: asyncio.Event
    """Set to make the engine start its next scheduling round."""
    tasks: Tasks = field(repr=False)
    unified: bool
    """Whether GPU memory is part of the system memory."""
    given: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """(job, operator) -> the GPUs that are assigned to its container."""

    def decoded(self, job: Job) -> ActiveJob:
        """Returns the in-memory form of a recorded job."""
        machine = self.machine
        return ActiveJob.of(job, machine.images, machine.clock, self._demand)

    def _demand(self, pipeline: Pipeline) -> Demands:
        """Returns the resources that a job of a pipeline requests on this device."""
        return Demands.of(
            pipeline,
            self.machine.services.reservations(pipeline),
            self.machine.profile,
            self.machine.tmpfs_rule,
            unified=self.unified,
        )

    def expect_orphans(self) -> None:
        """Schedules a removal of orphans, and wakes the engine for it."""
        self.orphans.expect()
        self.wake.set()

    async def take_back(self, execution: Execution) -> None:
        """Removes a container created ahead; after an outage, orphan removal does it."""
        try:
            await execution.discard()
        except RunnerUnavailableError:
            self.expect_orphans()

    async def say(self, job: str, text: str) -> None:
        """Adds a message to a job."""
        machine = self.machine
        await machine.database.write(lambda tx: records.say(tx, job, machine.clock.now(), text))
