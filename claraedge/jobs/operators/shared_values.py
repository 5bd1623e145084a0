"""An operator's values in shared memory: placed before it runs, made durable after it ended."""

from __future__ import annotations

from collections.abc import Mapping

from claraedge.blocking import in_cancellable_thread, in_thread
from claraedge.fs import files
from claraedge.jobs.model import Job
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.operators.values import written
from claraedge.pipelines import fastio
from claraedge.pipelines.model import Operator, Pipeline
from claraedge.runner.foreign import clear


class SharedValues:
    """The values of one operator of a job. Every method may raise UnusableValueError."""

    def __init__(
        self, machine: Machine, job: Job, operator: Operator, upstream: Mapping[str, int]
    ) -> None:
        """`upstream`: operator -> the attempt whose values this operator reads."""
        self._runner = machine.runner
        self._tree = machine.payloads.tree
        self._memory = machine.values
        self._job = job
        self._operator = operator
        self._upstream = upstream

    async def check(self, pipeline: Pipeline) -> None:
        """Checks, before the first operator of the job, that all of its values can be placed."""
        total = fastio.total(pipeline)
        if total is not None and not any(self._upstream.values()):
            await in_thread(self._memory.check, self._job.id, total)

    async def place(self, attempt: int) -> None:
        """Restores values that it reads after a restart, and creates files for its own."""
        job, memory = self._job, self._memory
        for entry in self._operator.inputs:
            if entry.in_memory:
                assert entry.source is not None, "the language knows no value of the payload"
                assert entry.name is not None, "the language names every value"
                source, of = entry.source, self._upstream[entry.source]
                copy = self._tree.values(job.payload, source, of) / entry.name
                await in_thread(memory.restore, job.id, source, of, entry.name, copy)
        await in_thread(memory.make, job.id, attempt, self._operator)

    async def are_lost(self, attempt: int) -> bool:
        """Returns whether a restart removed its values: an operator cannot remove the folder."""
        if not written(self._operator):
            return False
        folder = self._memory.attempt(self._job.id, self._operator.name, attempt)
        return not await in_thread(folder.exists)

    async def keep(self, attempt: int) -> None:
        """Checks the values that a successful attempt wrote, and makes them durable."""
        job, operator = self._job, self._operator
        if not written(operator):
            return
        folder = self._memory.attempt(job.id, operator.name, attempt)
        if await in_thread(files.has_foreign, folder):
            await self._runner.reclaim(folder)
        copies = self._tree.values(job.payload, operator.name, attempt)
        await in_cancellable_thread(self._memory.keep, job.id, attempt, operator, copies)

    async def discard(self, attempt: int) -> None:
        """Removes the values of an attempt that did not succeed."""
        job, name = self._job, self._operator.name
        await clear(self._runner, self._tree.values(job.payload, name, attempt))
        await clear(self._runner, self._memory.attempt(job.id, name, attempt))
