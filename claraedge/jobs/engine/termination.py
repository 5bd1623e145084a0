"""Ends jobs: by the results of their operators, by a time-out, or by a decision."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from claraedge.blocking import in_thread
from claraedge.bugs import known
from claraedge.jobs import records
from claraedge.jobs.engine.active import ActiveJob
from claraedge.jobs.engine.context import EngineContext
from claraedge.jobs.engine.timeouts import Timeouts
from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.jobs.operators.execution import Execution
from claraedge.jobs.operators.values import written
from claraedge.runner.foreign import clear
from claraedge.store.database import Transaction

_log = logging.getLogger(__name__)


class Termination:
    """Ends jobs, and removes their artifacts. Each method may raise an outage."""

    def __init__(
        self, context: EngineContext, timeouts: Timeouts, on_stopped: Callable[[str], None]
    ) -> None:
        self._context = context
        self._timeouts = timeouts
        self._on_stopped = on_stopped

    async def end_if_due(self, active: ActiveJob) -> None:
        """Ends a job whose operators have run for as long as its time-out."""
        ran = active.run_time.elapsed(self._context.machine.clock.elapsed())
        if active.ending is None and ran >= self._timeouts.of(active.pipeline):
            await self.decide(active, JobStatus.TERMINATED, self._timeouts.message(active.pipeline))

    async def decide(self, active: ActiveJob, status: JobStatus, text: str) -> None:
        """Ends a job by a decision, which is recorded before it is carried out."""
        await self._context.machine.database.write(
            lambda tx: records.end_job(
                tx, active.job.id, status, text, self._context.machine.clock.now()
            )
        )
        _log.info("job is ended", extra={"job": active.job.id, "status": status.name})
        active.end(status)
        self._context.wake.set()

    async def end_if_done(self, active: ActiveJob) -> None:
        """Stops a job that has its final status, and releases all that it used."""
        status = active.verdict()
        if status is None:
            return
        if status is not JobStatus.HEALTHY:
            prepared = list(active.prepared.values())
            self._context.tasks.begin(self._clear(active, prepared), f"clear {active.job.id}")
            active.prepared.clear()
        # First, because after the job has stopped, nothing searches for them there.
        await self._drop_values(active)
        await self._stop(active.job.id, status)
        del self._context.active[active.job.id]
        if active.demands.values is not None:
            await in_thread(self._context.machine.values.tidy)
        await self._context.machine.services.release(active.job.id)
        active.ended.set()

    async def _clear(self, active: ActiveJob, prepared: Sequence[Execution]) -> None:
        """Removes the files of operators that did not complete: useless, and possibly large."""
        await asyncio.gather(*(self._context.take_back(execution) for execution in prepared))
        machine, job = self._context.machine, active.job
        for name, record in active.operators.items():
            if record.status is OperatorStatus.COMPLETED:
                continue
            try:
                await clear(machine.runner, machine.payloads.tree.operator(job.payload, name))
            except Exception as error:  # noqa: BLE001 - it fails alone
                why = known(error, "the removal of an operator's files", job=job.id, operator=name)
                extra = {"job": job.id, "operator": name, "reason": str(why)}
                _log.warning("files of an operator left behind in the payload", extra=extra)

    async def _drop_values(self, active: ActiveJob) -> None:
        """Removes a job's values: no operator of it runs any more."""
        if active.demands.values is None:
            return
        machine, job = self._context.machine, active.job
        folders = [machine.values.job(job.id)]
        for operator in active.pipeline.operators:
            if written(operator):
                attempt = active.operators[operator.name].attempt
                folders.append(machine.payloads.tree.values(job.payload, operator.name, attempt))
        try:
            for folder in folders:
                await clear(machine.runner, folder)
        except Exception as error:  # noqa: BLE001 - it fails alone
            self._context.orphans.expect()  # those in memory are retried
            why = known(error, "the removal of values", job=job.id)
            _log.warning("values left behind", extra={"job": job.id, "reason": str(why)})

    async def _stop(self, job: str, status: JobStatus) -> None:
        def work(tx: Transaction) -> None:
            now = self._context.machine.clock.now()
            if status is JobStatus.CANCELED:
                reason = records.get(tx, job).cancel_reason
                records.say(tx, job, now, f"canceled: {reason or 'no reason given'}")
            records.stop(tx, job, status, now)

        await self._context.machine.database.write(work)
        self._context.machine.observer.job_stopped(status)
        _log.info("job stopped", extra={"job": job, "status": status.name})
        self._on_stopped(job)
