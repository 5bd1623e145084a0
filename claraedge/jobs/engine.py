"""The engine: takes jobs from the queue, runs their operators side by side, ends them.

One scheduler coroutine decides; each running operator is a task. A task that meets a dead Podman or
a full disk hands its operator back, and the scheduler tries again after a pause: work waits, it
does not fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from claraedge.blocking import in_thread
from claraedge.errors import (
    RunnerUnavailableError,
)
from claraedge.jobs import away, queue, records, waits
from claraedge.jobs.active import ActiveJob
from claraedge.jobs.budget import Candidate, Held, memory_of
from claraedge.jobs.demands import Demands
from claraedge.jobs.endings import Endings
from claraedge.jobs.floor import OUTAGES, Floor, Tasks
from claraedge.jobs.gpu_leases import absent
from claraedge.jobs.machine import Machine
from claraedge.jobs.model import Job, JobState, JobStatus, Priority
from claraedge.jobs.pause import Pause
from claraedge.jobs.queue import JobQueue
from claraedge.jobs.scheduler import Resources, Scheduler
from claraedge.jobs.serving import Serving
from claraedge.jobs.strays import Strays
from claraedge.jobs.timeouts import Timeouts
from claraedge.jobs.values import has_values, known_size
from claraedge.jobs.workers import Workers
from claraedge.pipelines.model import Pipeline
from claraedge.runner.protocol import (
    LABEL_DEVICES,
    LABEL_INSTANCE,
    LABEL_JOB,
    LABEL_OPERATOR,
    Container,
    Phase,
)
from claraedge.store.database import Transaction

_log = logging.getLogger(__name__)

#: While a job waits for a GPU that no CDI spec names, the specs are read again after so long; and
#: so is whatever says that no job may start.
_LOOK_AGAIN = 5.0
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
        self._resources = resources
        self._timeouts = timeouts
        self._may_start = may_start
        self._scheduler = Scheduler(resources, machine.clock)
        self._queue: JobQueue[ActiveJob] = JobQueue()
        self._active: dict[str, ActiveJob] = {}
        self._wake = asyncio.Event()
        self._pause = Pause(machine.clock)
        self._strays = Strays(machine, self._is_worked_on)
        self._tasks = Tasks(self._wake)
        floor = self._floor = Floor(
            machine=machine,
            active=self._active,
            pause=self._pause,
            strays=self._strays,
            wake=self._wake,
            tasks=self._tasks,
        )
        self._endings = Endings(floor, timeouts, on_stopped)
        self._serving = Serving(floor, self._endings)
        self._workers = Workers(floor, resources.operators)
        self._recalled = False
        """Whether the containers were asked what became of them, and which GPUs they have."""
        self._without_gpu: set[str] = set()
        self._held_back: str | None = None
        self._looking_since: float | None = None
        """BOOTTIME, while it sees to what is due."""
        machine.removals.on_outage = floor.expect_strays

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
        loaded = self._active.get(job) or await self._load(job)
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
        text = f"evicted: {reason}; make room there, then create the job again"
        await self._endings.decide(active, JobStatus.EVICTED, text)
        return active.job.id

    def waits(self, job: str) -> Mapping[str, str]:
        """Operator -> what it waits for, in words; none where none waits. `WHOLE`: all of the job.

        Operators that wait for others of the same job are not told.
        """
        if job not in self._queue and job not in self._active:
            return {}
        if self._pause.reason:
            return {waits.WHOLE: f"work waits: {self._pause.reason}"}
        if self._held_back is not None and job in self._queue:
            return {waits.WHOLE: f"no job starts: {self._held_back}"}
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
            **self._scheduler.waits_for(list(active.candidates()), self._held()),
        }

    def warnings(self) -> Sequence[str]:
        """What keeps work from going on, for `claraedge status`."""
        found = [f"work waits: {self._pause.reason}"] if self._pause.reason else []
        return [*found, f"no job starts: {self._held_back}"] if self._held_back else found

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
        machine = self._machine
        await machine.database.write(lambda tx: tx.run("forget_other_boots", boot=machine.boot))
        jobs = await machine.database.read(
            lambda tx: [records.read(tx, row) for row in tx.rows("started_jobs")]
        )
        gpus = await in_thread(self._resources.gpus) if jobs else ()
        found: Sequence[Container] | None = None
        with contextlib.suppress(RunnerUnavailableError):  # then they are asked for again
            found = await self._recall()
        for job in jobs:
            if job.state is JobState.RUNNING or job.ending is not None:
                self._activate(job, gpus)
            else:
                self._queue.push(job.id, job.priority)
        try:
            if found is not None:
                await self._settle(found)
            await self._strays.remove(self._active)
            await self._resume()
        except OUTAGES as error:
            self._pause.met(error)
        _log.info("recovery done", extra={"jobs": len(jobs), "running": len(self._active)})

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
            due += [self._scheduler.soonest(), self._strays.soonest()]
            if self._without_gpu or self._held_back:
                due.append(_LOOK_AGAIN)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min((d for d in due if d is not None), default=None)):
                await self._wake.wait()
        self._wake.clear()

    # --- scheduling ----------------------------------------------------------------------------

    async def _schedule(self) -> bool:
        """Does what is due; False where it waits for the end of a pause."""
        try:
            for active in list(self._active.values()):
                if self._recalled:  # else what has ended meanwhile may seem to run
                    await self._endings.end_if_due(active)
                await self._endings.end_if_done(active)
            if self._pause.remaining:
                return False
            await self._strays.remove(self._active)
            await self._resume()
            while await self._start_next():
                pass
            self._workers.prepare_ahead()
            running = any(active.running for active in self._active.values())
            if not running or self._pause.lapse == 0.0:
                self._pause.over()  # all went well, and no operator is there to say so
        except OUTAGES as error:
            self._pause.met(error)
            return False
        return True

    async def _recall(self) -> Sequence[Container]:
        """Learns from the containers which GPUs they have. Raises RunnerUnavailableError."""
        labels = {LABEL_INSTANCE: self._machine.instance}
        found = await self._machine.runner.containers(labels)
        for container in found:
            told = container.labels
            if LABEL_DEVICES in told and container.phase in (Phase.RUNNING, Phase.STOPPED):
                operator = (told[LABEL_JOB], told[LABEL_OPERATOR])
                self._floor.given[operator] = tuple(told[LABEL_DEVICES].split(","))
        return found

    async def _settle(self, found: Sequence[Container]) -> None:
        await away.settle(self._machine, self._active.values(), found)
        self._recalled = True

    async def _resume(self) -> None:
        """Sees to operators that are recorded as running: after a restart, after an outage."""
        if not self._recalled:
            await self._settle(await self._recall())
        for active in self._active.values():
            for record in active.unattended():
                gpus = self._floor.given.get((active.job.id, record.name), active.lease)
                self._workers.begin(active, active.candidate(record.name), gpus)
            if active.ending is not None:
                active.end_operators()
            elif active.beside is None and active.serving is None:
                self._serving.begin(active)  # after a restart, or once more after an outage

    async def _start_next(self) -> bool:
        """Starts the operator whose turn it is; False where each one waits."""
        candidates = [
            c
            for active in self._active.values()
            if active.refused != self._machine.values.releases and self._serving.may_begin(active)
            for c in active.candidates()
        ]
        self._held_back = self._may_start() if len(self._queue) else None
        if self._held_back is None:
            candidates += await self._heads({c.job for c in candidates})
        await self._scheduler.look(candidates)
        choice = self._scheduler.choose(candidates, self._held())
        if choice.idle_memory:
            wanted = {key for active in self._active.values() for key in active.demands.services}
            self._machine.services.yield_memory(choice.idle_memory, wanted | choice.wanted)
        if choice.candidate is None:
            await self._tell(candidates)
            return False
        job = choice.candidate.job
        active = self._active.get(job) or self._queue.decoded(job)
        assert active is not None, "a candidate is active or queued"
        self._active[job] = active
        self._queue.remove(job)
        active.taken = True
        if active.ending is not None:
            return True  # decided while it was chosen: it ends with the next round
        if active.beside is None:
            self._serving.begin(active)
            return True
        active.lease = choice.lease
        self._workers.begin(active, choice.candidate, choice.gpus)
        return True

    async def _heads(self, waiting: Collection[str]) -> list[Candidate]:
        """What may begin of the queue. `waiting`: jobs that have begun, and whose operators wait.

        So many that wait keep others of their lane from beginning, and nobody else.
        """
        pulled = self._machine.images.pulling()
        crowds = Counter(
            active.lane(pulled)
            for active in self._active.values()
            if active.job.id in waiting or active.serving is not None or active.fetching
        )
        found: list[Candidate] = []
        for job in self._queue.head():
            active = await self._load(job)
            if active is None:
                continue
            too_large = active.demands.too_large(self._resources.memory)
            if too_large is not None and self._queue.remove(job):
                self._active[job] = active
                await self._endings.decide(active, JobStatus.FAULTED, too_large)
                continue
            lane = active.lane(pulled)
            if self._queue.move(job, lane):
                self._wake.set()  # another one is at the head where it was
            urgent = active.job.priority is Priority.IMMEDIATE
            near = self._queue.decoded(job) is active
            if near and (urgent or crowds[lane] < queue.CROWD) and self._serving.may_begin(active):
                found += active.candidates()
        return found

    async def _load(self, job: str) -> ActiveJob | None:
        """A queued job, decoded; None where it is not queued any more."""
        active = self._queue.decoded(job)
        if active is None:
            recorded = await self._machine.database.read(lambda tx: records.get(tx, job))
            if job in self._active or recorded.state is JobState.STOPPED:
                self._queue.remove(job)
                return None
            active = self._queue.decoded(job) or self._decoded(recorded)
            if active.ending is not None and self._queue.remove(job):
                self._active[job] = active  # it ends with the next round
                self._wake.set()
                return None
            self._queue.remember(job, active)
        return active

    async def _tell(self, candidates: Sequence[Candidate]) -> None:
        """Says once in a job's messages that it waits for GPUs that this machine does not show."""
        capacity = self._scheduler.capacity
        waiting = {c.job: (c.operator, text) for c in candidates if (text := absent(c, capacity))}
        untold = {job: told for job, told in waiting.items() if job not in self._without_gpu}
        self._without_gpu &= waiting.keys()
        if not untold:
            return

        def work(tx: Transaction) -> None:
            now = self._machine.clock.now()
            for job, (operator, missing) in untold.items():
                text = (
                    f"operator {operator}: {missing}; it waits until a CDI spec of the configured"
                    " kind appears (`nvidia-ctk cdi generate` makes one)"
                )
                records.say(tx, job, now, text)

        await self._machine.database.write(work)
        self._without_gpu |= untold.keys()

    def _held(self) -> Held:
        running = [r for a in self._active.values() for r in a.running.values()]
        use = self._machine.services.gpu_use()
        used, idle = self._serving.memory()
        served = [a for a in self._active.values() if a.demands.services]
        beside: dict[str, int] = {}  # two definitions of a service may differ in it
        for each_served in served:
            for key, count in each_served.demands.cores.items():
                beside[key] = max(count, beside.get(key, 0))
        shared: dict[str, int] = {}
        for each in running:
            if each.candidate.gpu_memory and each.gpus:
                shared[each.gpus[0]] = shared.get(each.gpus[0], 0) + each.candidate.gpu_memory
        return Held(
            operators=sum(r.candidate.slot for r in running),
            cores=sum(min(r.candidate.cpu, self._resources.cores) for r in running),
            cores_beside=sum(beside.values()),
            memory=sum(memory_of(r.candidate, self._scheduler.capacity) for r in running),
            services=used,
            service_users=frozenset(a.job.id for a in served),
            largest=max((a.demands.largest for a in served), default=0),
            idle=idle,
            leases={a.job.id: a.lease for a in self._active.values() if a.lease},
            gpus_in_use=frozenset(g for r in running if r.candidate.gpu for g in r.gpus),
            gpu_memory=shared,
            beside=use.used,
            beside_users=use.jobs,
        )

    def _decoded(self, job: Job) -> ActiveJob:
        machine = self._machine
        return ActiveJob.of(job, machine.images, machine.clock, machine.profile, self._demand)

    def _demand(self, pipeline: Pipeline) -> Demands:
        """What a job of a pipeline asks for on this device."""
        return Demands.of(
            pipeline,
            self._machine.services.memory_of(pipeline),
            self._machine.profile,
            unified=self._resources.unified,
            gpu_beside=self._machine.services.want_gpu(pipeline),
        )

    def _activate(self, job: Job, gpus: tuple[str, ...]) -> None:
        """A job that ran before this start; one that uses GPUs has them again."""
        active = self._decoded(job)
        if active.uses_gpu:
            given = self._floor.given
            own = [gpu for (of, _), some in given.items() if of == job.id for gpu in some]
            taken = {gpu for other in self._active.values() for gpu in other.lease}
            taken |= {gpu for (of, _), some in given.items() if of != job.id for gpu in some}
            free = [gpu for gpu in gpus if gpu not in taken and gpu not in own]
            active.lease = (*own, *free)[: active.demands.gpus]
        if has_values(active.pipeline):
            self._machine.values.adopt(job.id, known_size(active.pipeline))
        self._active[job.id] = active

    def _is_worked_on(self, job: str, operator: str) -> bool:
        active = self._active.get(job)
        return active is not None and (operator in active.running or operator in active.prepared)
