"""Leases of services and models for jobs: from before their first operator until their end."""

from __future__ import annotations

from claraedge.errors import ClaraedgeError
from claraedge.jobs.engine.active import ActiveJob
from claraedge.jobs.engine.context import OUTAGES, EngineContext
from claraedge.jobs.engine.termination import Termination
from claraedge.jobs.model import JobStatus


class ServiceLeases:
    """Acquires the service leases of jobs, and fails the jobs that cannot have theirs."""

    def __init__(self, context: EngineContext, termination: Termination) -> None:
        self._context = context
        self._termination = termination
        self._services = context.machine.services

    def begin(self, active: ActiveJob) -> None:
        """Starts to acquire the services of a job; its operators are admitted after that."""
        task = self._context.tasks.begin(self._served(active), f"services of {active.job.id}")
        active.service_task = task
        # Not at the end of the coroutine: a task that is cancelled before its first step runs none
        # of it.
        task.add_done_callback(lambda _: self._over(active))

    def _over(self, active: ActiveJob) -> None:
        active.service_task = None
        self._context.wake.set()

    async def _served(self, active: ActiveJob) -> None:
        job = active.job.id
        try:
            active.service_lease = await self._services.acquire(job, active.pipeline)
            for note in active.service_lease.notes:
                await self._context.say(job, note)
            self._context.pause.over()
        except OUTAGES as error:
            self._context.pause.met(error)
        except ClaraedgeError as error:
            try:
                await self._termination.decide(active, JobStatus.FAULTED, str(error))
            except OUTAGES as outage:  # the next attempt finds it again
                self._context.pause.met(outage)

    def lost(self, job: str, reason: str) -> None:
        """See `Engine.services_lost`."""
        active = self._context.active.get(job)
        if active is not None and active.ending is None:
            self._context.tasks.begin(self._lost(active, reason), f"services lost {job}")

    async def _lost(self, active: ActiveJob, reason: str) -> None:
        try:
            await self._termination.decide(active, JobStatus.FAULTED, reason)
        except OUTAGES as error:
            self._context.pause.met(error)
            active.end(JobStatus.FAULTED)
