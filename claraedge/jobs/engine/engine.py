"""The engine: takes jobs from the queue, runs their operators side by side, ends them.

One scheduler coroutine decides; each running operator is a task. A task that meets a dead Podman or
a full disk hands its operator back, and the scheduler tries again after a pause: work waits, it
does not fail.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

from claraedge.jobs.engine import waits
from claraedge.jobs.engine.active import ActiveJob
from claraedge.jobs.engine.context import OUTAGES, EngineContext, Tasks
from claraedge.jobs.engine.dispatcher import Dispatcher
from claraedge.jobs.engine.orphans import Orphans
from claraedge.jobs.engine.pause import Pause
from claraedge.jobs.engine.recovery import Recovery
from claraedge.jobs.engine.service_leases import Serving
from claraedge.jobs.engine.termination import Termination
from claraedge.jobs.engine.timeouts import Timeouts
from claraedge.jobs.engine.workers import Workers
from claraedge.jobs.model import JobStatus, Priority
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.scheduling.queue import JobQueue
from claraedge.jobs.scheduling.scheduler import Resources

#: Seconds. A look at all that is due has calls to Podman in it, each of which has an end: one that
#: lasts so long has none.
_STUCK = 900.0


class Engine:
    """Runs jobs. `prepare` once, then `run` until it is cancelled; containers outlive it."""

    def __init__(
        self,
        machine: Machine,
        *,
        resources: Resources,
        timeouts: Timeouts,
        on_stopped: Callable[[str], None],
        may_start: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`may_start`: why no job may start now; None: it may."""
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
        self._serving = Serving(context, self._termination)
        self._workers = Workers(context, resources.operators)
        self._dispatcher = Dispatcher(
            context,
            self._queue,
            resources,
            self._termination,
            self._serving,
            self._workers,
            may_start,
        )
        self._recovery = Recovery(
            context, self._queue, self._serving, self._workers, resources.gpus
        )
        self._looking_since: float | None = None
        """BOOTTIME, while it sees to what is due."""
        machine.removals.on_outage = context.expect_orphans

    # --- for others ----------------------------------------------------------------------------

    def waiting(self) -> int:
        """How many started jobs wait for their turn."""
        return len(self._queue)

    def enqueue(self, job: str, priority: Priority) -> None:
        """A job was started, and that is committed."""
        self._queue.push(job, priority)
        self._wake.set()

    def look_again(self) -> None:
        """What jobs wait for may have changed."""
        self._wake.set()

    async def cancel(self, job: str, timeout: float) -> None:
        """Ends a job whose cancelling is committed; waits for its end, at most so many seconds."""
        loaded = self._active.get(job) or await self._dispatcher.load(job)
        active = self._active.get(job, loaded)  # the scheduler may have taken it meanwhile
        if self._queue.remove(job) and active is not None:
            self._active[job] = active
        if active is None or job not in self._active:
            return  # on its way into the queue, where its cancelling is read with it
        active.end(JobStatus.CANCELED)
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await active.ended.wait()

    async def evict(self, reason: str) -> str | None:
        """Ends the youngest running job of the lowest priority, to give its room back.

        Returns its id; None where no job runs that is not ending already.
        """
        running = [a for a in self._active.values() if a.ending is None and a.running]
        if not running:
            return None
        active = min(running, key=lambda a: (a.job.priority, -(a.job.queue_position or 0)))
        text = f"evicted: {reason}; free some space there, then create the job again"
        await self._termination.decide(active, JobStatus.EVICTED, text)
        return active.job.id

    def waits(self, job: str) -> Mapping[str, str]:
        """Operator -> what it waits for, in words; none where none waits. `WHOLE`: all of the job.

        Operators that wait for others of the same job are not told.
        """
        if job not in self._queue and job not in self._active:
            return {}
        if self._pause.reason:
            return {waits.WHOLE: f"work waits: {self._pause.reason}"}
        held_back = self._dispatcher.held_back
        if held_back is not None and job in self._queue:
            return {waits.WHOLE: f"no job starts: {held_back}"}
        active = self._active.get(job) or self._queue.decoded(job)
        if active is None:
            ahead = self._queue.ahead(job)
            return {waits.WHOLE: f"its turn; {ahead} jobs of its class were started before it"}
        if active.ending is not None:
            return {}
        if active.serving is not None:
            return {waits.WHOLE: self._machine.services.waits_for(job) or "its services"}
        if not self._serving.may_begin(active):
            return {waits.WHOLE: "a GPU for its services or models, which another job has"}
        if active.refused == self._machine.values.releases:
            return {waits.WHOLE: "room in shared memory, which other jobs hold"}
        return {
            **waits.delayed(active),
            **waits.pulling(active),
            **self._dispatcher.waits_for(active),
        }

    def warnings(self) -> Sequence[str]:
        """What keeps work from going on, for `claraedge status`."""
        found = [f"work waits: {self._pause.reason}"] if self._pause.reason else []
        held_back = self._dispatcher.held_back
        return [*found, f"no job starts: {held_back}"] if held_back else found

    def stuck(self) -> str | None:
        """Why no job goes on, where only a new start of the daemon helps; None: all is well."""
        since = self._looking_since
        lasted = 0.0 if since is None else self._machine.clock.elapsed() - since
        if lasted < _STUCK:
            return None
        return f"the engine has been at one step for {lasted:.0f} s; please report it"

    # --- life ----------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Takes up what is recorded: adopts, collects, runs again; removes unknown containers.

        Returns at once where Podman does not answer: `run` then goes on trying before it starts
        anything new.
        """
        await self._recovery.take_up()

    async def run(self) -> None:
        """Schedules until cancelled. Operators' containers go on when it ends.

        Raises what kept an operator's end from being recorded: going on would leave its job for
        ever as it is, a new start takes it up.
        """
        self._tasks.begin(self._machine.removals.run(), "removals")
        try:
            while self._tasks.failure is None:
                self._looking_since = self._machine.clock.elapsed()
                tried = await self._schedule()
                self._looking_since = None
                await self._woken(tried=tried)
            raise self._tasks.failure
        finally:
            try:
                await self._workers.take_back()
            finally:
                await self._tasks.stop()

    async def _woken(self, *, tried: bool) -> None:
        """Waits for something to do: a change, or the time for something.

        `tried`: all that was due was done; else there is a pause.
        """
        due: list[float | None] = [self._pause.remaining or 0.0]
        if tried and not self._pause.remaining:
            due = [self._pause.lapse]
            due += [a.soonest(self._timeouts.of(a.pipeline)) for a in self._active.values()]
            due += [self._dispatcher.soonest(), self._orphans.soonest()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min((d for d in due if d is not None), default=None)):
                await self._wake.wait()
        self._wake.clear()

    # --- scheduling ----------------------------------------------------------------------------

    async def _schedule(self) -> bool:
        """Does what is due; False where it waits for the end of a pause."""
        try:
            for active in list(self._active.values()):
                if self._recovery.recalled:  # else what has ended meanwhile may seem to run
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
                self._pause.over()  # all went well, and no operator is there to say so
        except OUTAGES as error:
            self._pause.met(error)
            return False
        return True

    def _is_worked_on(self, job: str, operator: str) -> bool:
        active = self._active.get(job)
        return active is not None and (operator in active.running or operator in active.prepared)
