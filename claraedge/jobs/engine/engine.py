"""The engine: dequeues jobs, runs their operators in parallel, and ends them.

One scheduler coroutine decides; each running operator is a task. When a task finds Podman
unavailable or the disk full, it returns its operator, and the scheduler retries after a pause: work
waits and does not fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from claraedge.jobs.engine import waits
from claraedge.jobs.engine.active import ActiveJob
from claraedge.jobs.engine.context import OUTAGES, EngineContext, Tasks
from claraedge.jobs.engine.dispatcher import Dispatcher
from claraedge.jobs.engine.orphans import Orphans
from claraedge.jobs.engine.pause import Pause
from claraedge.jobs.engine.recovery import Recovery
from claraedge.jobs.engine.service_leases import ServiceLeases
from claraedge.jobs.engine.termination import Termination
from claraedge.jobs.engine.timeouts import Timeouts
from claraedge.jobs.engine.workers import Workers
from claraedge.jobs.model import JobStatus, Priority
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.scheduling.queue import JobQueue
from claraedge.jobs.scheduling.scheduler import Resources
from claraedge.waiting.until import wait_set

#: Each Podman call has a time limit, so a scheduling round longer than this (seconds) is hung.
_STUCK = 900.0


class Engine:
    """Runs jobs: call `prepare` once, then `run` until it is cancelled.

    Containers keep running after `run` has ended.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        resources: Resources,
        timeouts: Timeouts,
        on_stopped: Callable[[str], None],
        may_start: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`may_start` returns why no job may start now; None: jobs may start."""
        self._machine = machine
        self._timeouts = timeouts
        self._queue: JobQueue[ActiveJob] = JobQueue()
        self._active: dict[str, ActiveJob] = {}
        self._wake = asyncio.Event()
        self._pause = Pause(machine.clock)
        self._orphans = Orphans(machine, self._is_worked_on)
        self._tasks = Tasks(self._wake)
        context = self._context = EngineContext(
            machine=machine,
            active=self._active,
            pause=self._pause,
            orphans=self._orphans,
            wake=self._wake,
            tasks=self._tasks,
            unified=resources.unified,
        )
        self._termination = Termination(context, timeouts, on_stopped)
        self._service_leases = ServiceLeases(context, self._termination)
        self._workers = Workers(context, resources.operators)
        self._dispatcher = Dispatcher(
            context,
            self._queue,
            resources,
            self._termination,
            self._service_leases,
            self._workers,
            may_start,
        )
        self._recovery = Recovery(
            context, self._queue, self._service_leases, self._workers, resources.gpus
        )
        self._round_since: float | None = None
        """BOOTTIME (seconds) at which the current scheduling round began; None: between rounds."""

    # --- for others ----------------------------------------------------------------------------

    def waiting(self) -> int:
        """Returns the number of started jobs that wait in the queue."""
        return len(self._queue)

    def enqueue(self, job: str, priority: Priority) -> None:
        """Adds a job to the queue, after its start was committed."""
        self._queue.push(job, priority)
        self._wake.set()
        self._machine.observer.job_queued()

    def canceled(self) -> None:
        """Notes that a job was canceled which was never started."""
        self._machine.observer.job_stopped(JobStatus.CANCELED)

    def is_paused(self) -> bool:
        """Returns whether an outage keeps operators from being started."""
        return bool(self._pause.reason)

    def wake(self) -> None:
        """Wakes the scheduler, because something that jobs wait for may have changed."""
        self._wake.set()

    def expect_orphans(self) -> None:
        """Schedules a removal of containers that may remain after an outage."""
        self._context.expect_orphans()

    def services_lost(self, job: str, reason: str) -> None:
        """Fails a job whose service or model is lost permanently, with `reason`."""
        self._service_leases.lost(job, reason)

    async def cancel(self, job: str, timeout: float) -> None:
        """Ends a job whose cancellation is committed; waits at most `timeout` seconds."""
        loaded = self._active.get(job) or await self._dispatcher.load(job)
        active = self._active.get(job, loaded)  # the scheduler may have taken it by now
        if self._queue.remove(job) and active is not None:
            self._active[job] = active
        if active is None or job not in self._active:
            return  # not queued yet; the cancellation is read with it
        active.end(JobStatus.CANCELED)
        self._wake.set()
        await wait_set(active.ended, timeout)

    async def evict(self, reason: str) -> str | None:
        """Ends the youngest running job of the lowest priority, to free disk space.

        Returns its id; None if no job runs that is not ending already.
        """
        running = [a for a in self._active.values() if a.ending is None and a.running]
        if not running:
            return None
        active = min(running, key=lambda a: (a.job.priority, -(a.job.queue_position or 0)))
        text = f"evicted: {reason}; free some space there, then create the job again"
        await self._termination.decide(active, JobStatus.EVICTED, text)
        return active.job.id

    def waits(self, job: str) -> Mapping[str, str]:
        """Returns, per waiting operator, what it waits for, as text.

        `WHOLE` stands for the whole job. Operators that wait for others of the same job are not
        included.
        """
        if job not in self._queue and job not in self._active:
            return {}
        if self._pause.reason:
            return {waits.WHOLE: f"work waits: {self._pause.reason}"}
        blocked_by = self._dispatcher.blocked_by
        if blocked_by is not None and job in self._queue:
            return {waits.WHOLE: f"no job starts: {blocked_by}"}
        active = self._active.get(job) or self._queue.decoded(job)
        if active is None:
            ahead = self._queue.ahead(job)
            return {waits.WHOLE: f"its turn; {ahead} jobs of its class were started before it"}
        if active.ending is not None:
            return {}
        if active.service_task is not None:
            return {waits.WHOLE: self._machine.services.waits_for(job) or "its services"}
        awaited = self._machine.services.awaited(active.pipeline) if job in self._queue else {}
        if awaited:
            return {waits.WHOLE: "; ".join(awaited.values())}
        return {
            **waits.delayed(active),
            **waits.pulling(active),
            **self._dispatcher.waits_for(active),
        }

    def warnings(self) -> Sequence[str]:
        """Returns the reasons why work is paused, for `claraedge status`."""
        found = [f"work waits: {self._pause.reason}"] if self._pause.reason else []
        blocked_by = self._dispatcher.blocked_by
        return [*found, f"no job starts: {blocked_by}"] if blocked_by else found

    def stuck(self) -> str | None:
        """Returns why the engine is hung, so that only a restart helps; None: it is not."""
        since = self._round_since
        lasted = 0.0 if since is None else self._machine.clock.elapsed() - since
        if lasted < _STUCK:
            return None
        return f"the engine has been at one step for {lasted:.0f} s; please report it"

    # --- life ----------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Resumes recorded jobs: adopts, collects or restarts their containers.

        Removes unknown containers. Returns at once if Podman does not answer: `run` then retries
        before it starts anything new.
        """
        await self._recovery.take_up()

    async def run(self) -> None:
        """Schedules until cancelled. Containers of operators keep running when it ends.

        Raises the error that kept an operator's result from being recorded: to continue would leave
        its job in that state for ever, while a restart of the daemon resumes it.
        """
        self._tasks.begin(self._machine.removals.run(), "removals")
        try:
            while self._tasks.failure is None:
                self._round_since = self._machine.clock.elapsed()
                tried = await self._schedule()
                self._round_since = None
                await self._woken(tried=tried)
            raise self._tasks.failure
        finally:
            try:
                await self._workers.take_back()
            finally:
                await self._tasks.stop()

    async def _woken(self, *, tried: bool) -> None:
        """Waits until a change, or until the next due time.

        `tried`: whether the last round did all that was due; if not, it waits for the end of the
        pause.
        """
        due: list[float | None] = [self._pause.remaining or 0.0]
        if tried and not self._pause.remaining:
            due = [self._pause.lapse]
            due += [a.soonest(self._timeouts.of(a.pipeline)) for a in self._active.values()]
            due += [self._dispatcher.soonest(), self._orphans.soonest()]
        await wait_set(self._wake, *due)
        self._wake.clear()

    # --- scheduling ----------------------------------------------------------------------------

    async def _schedule(self) -> bool:
        """Does one scheduling round. Returns False if it has to wait for the end of a pause."""
        try:
            for active in list(self._active.values()):
                if not self._recovery.is_unknown(active):
                    await self._termination.end_if_due(active)
                await self._termination.end_if_done(active)
            if self._pause.remaining:
                return False
            await self._orphans.remove(self._active)
            await self._recovery.resume()
            while await self._dispatcher.start_next():
                pass
            self._workers.prepare_ahead()
            running = any(active.running for active in self._active.values())
            if not running or self._pause.lapse == 0.0:
                self._pause.over()  # all succeeded, and no running operator can report it
        except OUTAGES as error:
            self._pause.met(error)
            return False
        return True

    def _is_worked_on(self, job: str, operator: str) -> bool:
        active = self._active.get(job)
        return active is not None and (operator in active.running or operator in active.prepared)
