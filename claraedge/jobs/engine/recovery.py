"""Resumes the work of an earlier daemon, or after an outage, from database rows and containers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence

from claraedge.blocking import in_thread
from claraedge.errors import RunnerUnavailableError
from claraedge.jobs import records
from claraedge.jobs.engine import downtime
from claraedge.jobs.engine.active import ActiveJob
from claraedge.jobs.engine.context import OUTAGES, EngineContext
from claraedge.jobs.engine.service_leases import ServiceLeases
from claraedge.jobs.engine.workers import Workers
from claraedge.jobs.model import Job, JobState
from claraedge.jobs.scheduling.queue import JobQueue
from claraedge.runner.protocol import (
    LABEL_DEVICES,
    LABEL_INSTANCE,
    LABEL_JOB,
    LABEL_OPERATOR,
    Container,
    Phase,
)

_log = logging.getLogger(__name__)


class Recovery:
    """Resumes jobs that ran before, and operators that are recorded as running without a task."""

    def __init__(
        self,
        context: EngineContext,
        jobs: JobQueue[ActiveJob],
        service_leases: ServiceLeases,
        workers: Workers,
        gpus: Callable[[], tuple[str, ...]],
    ) -> None:
        """`gpus` returns the GPUs of this machine; it may block."""
        self.recalled = False
        """Whether the containers were read: what became of them, and which GPUs they have."""
        self._context = context
        self._queue = jobs
        self._service_leases = service_leases
        self._workers = workers
        self._gpus = gpus

    async def take_up(self) -> None:
        """Resumes recorded jobs: adopts, collects or restarts their containers.

        Removes unknown containers. Returns at once if Podman does not answer: `run` then retries
        before it starts anything new.
        """
        machine = self._context.machine
        await machine.database.write(lambda tx: tx.run("forget_other_boots", boot=machine.boot))
        jobs = await machine.database.read(
            lambda tx: [records.read(tx, row) for row in tx.rows("started_jobs")]
        )
        gpus = await in_thread(self._gpus) if jobs else ()
        found: Sequence[Container] | None = None
        with contextlib.suppress(RunnerUnavailableError):  # `resume` then reads them
            found = await self._recall()
        for job in jobs:
            if job.state is JobState.RUNNING or job.ending is not None:
                self._activate(job, gpus)
            else:
                self._queue.push(job.id, job.priority)
        try:
            if found is not None:
                await self._settle(found)
            await self._context.orphans.remove(self._context.active)
            if self.recalled:
                self._attend()
            else:
                await self.resume()
        except OUTAGES as error:
            self._context.pause.met(error)
        _log.info("recovery done", extra={"jobs": len(jobs), "running": len(self._context.active)})

    async def resume(self) -> None:
        """Starts tasks for operators that a restart or an outage left recorded as running.

        Raises RunnerUnavailableError.
        """
        if not self.recalled or any(a.unattended() for a in self._context.active.values()):
            await self._settle(await self._recall())
        self._attend()

    def _attend(self) -> None:
        """Starts tasks for all operators that are recorded as running and have none."""
        for active in self._context.active.values():
            for record in active.unattended():
                gpus = self._context.given.get((active.job.id, record.name), active.lease)
                self._workers.begin(active, active.candidate(record.name), gpus)
            if active.ending is not None:
                active.end_operators()
            elif (
                active.service_lease is None
                and active.service_task is None
                and active.has_value_space
            ):
                self._service_leases.begin(active)  # after a restart, or again after an outage

    def is_unknown(self, active: ActiveJob) -> bool:
        """Whether operators of a job may have ended without anybody noticing: since the last run of
        the daemon, or in an outage of Podman. Its run time is then settled by `resume`.
        """
        return not self.recalled or bool(active.unattended())

    async def _recall(self) -> Sequence[Container]:
        """Reads from container labels which GPUs are assigned. Raises RunnerUnavailableError."""
        labels = {LABEL_INSTANCE: self._context.machine.instance}
        found = await self._context.machine.runner.containers(labels)
        for container in found:
            assigned = container.labels
            if LABEL_DEVICES in assigned and container.phase in (Phase.RUNNING, Phase.STOPPED):
                operator = (assigned[LABEL_JOB], assigned[LABEL_OPERATOR])
                self._context.given[operator] = tuple(assigned[LABEL_DEVICES].split(","))
        return found

    async def _settle(self, found: Sequence[Container]) -> None:
        jobs = [a for a in self._context.active.values() if self.is_unknown(a) and not a.running]
        await downtime.settle(self._context.machine, jobs, found)
        self.recalled = True

    def _activate(self, job: Job, gpus: tuple[str, ...]) -> None:
        """Activates a job that ran before this start; one that uses GPUs gets its lease again."""
        active = self._context.decoded(job)
        if active.uses_gpu:
            given = self._context.given
            own = [gpu for (of, _), some in given.items() if of == job.id for gpu in some]
            taken = {gpu for other in self._context.active.values() for gpu in other.lease}
            taken |= {gpu for (of, _), some in given.items() if of != job.id for gpu in some}
            free = [gpu for gpu in gpus if gpu not in taken and gpu not in own]
            active.lease = (*own, *free)[: active.demands.gpus]
        active.has_value_space = True
        self._context.active[job.id] = active
