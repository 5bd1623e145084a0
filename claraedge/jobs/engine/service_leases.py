"""Leases of services and models for jobs: from before their first operator until their end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

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
        self._services.on_lost = self.lost
        self._services.on_freed = context.wake.set

    def may_begin(self, active: ActiveJob) -> bool:
        """Whether the job's services may use the GPU: not while another job has it."""
        if active.service_lease is not None or not self._services.want_gpu(active.pipeline):
            return True
        users = self._services.gpu_use().jobs
        return not any(
            other.lease or any(r.gpus for r in other.running.values())
            for other in self._context.active.values()
            if other is not active and other.job.id not in users
        )

    def memory(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Returns the memory, in megabytes per service or inference server: used, and idle.

        Used are those that jobs use or are about to use; idle are those that run for no job.
        """
        there = Counter[str]()  # one that ends and its successor share a key
        for present in self._services.present():
            there[present.key] += present.memory
        used: dict[str, int] = {}
        for active in self._context.active.values():
            for key, size in active.demands.services.items():
                used[key] = max(size, used.get(key, 0), there[key])
        return used, {key: size for key, size in there.items() if key not in used}

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
        """Fails a job whose service or model is lost permanently, with `reason`."""
        active = self._context.active.get(job)
        if active is not None and active.ending is None:
            self._context.tasks.begin(self._lost(active, reason), f"services lost {job}")

    async def _lost(self, active: ActiveJob, reason: str) -> None:
        try:
            await self._termination.decide(active, JobStatus.FAULTED, reason)
        except OUTAGES as error:
            self._context.pause.met(error)
            active.end(JobStatus.FAULTED)
