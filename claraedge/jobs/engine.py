"""The engine: takes jobs from the queue, runs their operators side by side, ends them.

One scheduler coroutine decides; each running operator is a task. A task that meets a dead Podman or
a full disk hands its operator back, and the scheduler tries again after a pause: work waits, it
does not fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from claraedge.blocking import in_thread
from claraedge.clock import moment
from claraedge.errors import (
    ClaraedgeError,
    ContainerError,
    RunnerUnavailableError,
    StorageFullError,
)
from claraedge.jobs import records
from claraedge.jobs.active import ActiveJob, Running
from claraedge.jobs.admission import NO_GPU, Candidate, Held
from claraedge.jobs.attempt import Setting
from claraedge.jobs.execution import Execution
from claraedge.jobs.machine import Machine
from claraedge.jobs.model import Job, JobState, JobStatus, OperatorRecord, OperatorStatus, Priority
from claraedge.jobs.pause import Pause
from claraedge.jobs.queue import JobQueue
from claraedge.jobs.scheduler import Resources, Scheduler
from claraedge.jobs.strays import Strays
from claraedge.jobs.timeouts import Timeouts
from claraedge.jobs.values import RoomTakenError, clear, has_values, known_size, written
from claraedge.runner.protocol import (
    LABEL_DEVICES,
    LABEL_INSTANCE,
    LABEL_JOB,
    LABEL_OPERATOR,
    Phase,
)
from claraedge.store.database import Transaction

_log = logging.getLogger(__name__)

_OUTAGES = (RunnerUnavailableError, StorageFullError)
#: For each operator that may run at once, so many may have their containers made ahead.
AHEAD = 2
#: A daemon that stops takes containers back for so many seconds.
_LAST = 3.0
#: While a job waits for a GPU that no CDI spec names, the specs are read again after so long; and
#: so is whatever says that no job may start.
_LOOK_AGAIN = 5.0


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
        self._on_stopped = on_stopped
        self._may_start = may_start
        self._scheduler = Scheduler(resources, machine.clock)
        self._queue: JobQueue[ActiveJob] = JobQueue()
        self._active: dict[str, ActiveJob] = {}
        self._strays = Strays(machine, self._is_worked_on)
        self._wake = asyncio.Event()
        self._pause = Pause(machine.clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        """Of an operator's task that could not even record its end: the state is unusable."""
        self._without_gpu: set[str] = set()
        self._held_back: str | None = None
        self._given: dict[tuple[str, str], tuple[str, ...]] | None = None
        """(job, operator) that runs -> the GPUs of its container; None: not asked for yet."""
        machine.removals.on_outage = self._strays.expect
        machine.services.on_lost = self.lose_services

    # --- for others ----------------------------------------------------------------------------

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
        await self._decide(active, JobStatus.EVICTED, f"evicted: {reason}")
        return active.job.id

    def waits(self, job: str) -> Mapping[str, str]:
        """Operator -> what it waits for, in words; none where none waits."""
        active = self._active.get(job) or self._queue.decoded(job)
        if active is not None and active.serving is not None:
            return {"": self._machine.services.waits_for(job) or "its services"}
        if active is None:
            before = "others of its class, which were started before"
            return {"": before} if job in self._queue else {}
        return self._scheduler.waits_for(list(active.candidates()), self._held())

    def warnings(self) -> Sequence[str]:
        """What keeps work from going on, for `claraedge status`."""
        found = [f"work waits: {self._pause.reason}"] if self._pause.reason else []
        return [*found, f"no job starts: {self._held_back}"] if self._held_back else found

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
        with contextlib.suppress(RunnerUnavailableError):  # then it is asked for again
            await self._recall_gpus()
        for job in jobs:
            if job.state is JobState.RUNNING or job.ending is not None:
                self._activate(job, gpus)
            else:
                self._queue.push(job.id, job.priority)
        try:
            await self._strays.remove(self._active)
            await self._resume()
        except RunnerUnavailableError as error:
            self._pause.met(error)
        _log.info("recovery done", extra={"jobs": len(jobs), "running": len(self._active)})

    async def run(self) -> None:
        """Schedules until cancelled. Operators' containers go on when it ends.

        Raises what kept an operator's end from being recorded: going on would leave its job for
        ever as it is, a new start takes it up.
        """
        removing = asyncio.create_task(self._machine.removals.run(), name="removals")
        removing.add_done_callback(self._task_ended)
        try:
            while self._failure is None:
                await self._schedule()
                await self._woken()
            raise self._failure
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._discard_prepared()
            removing.cancel()
            await asyncio.gather(removing, return_exceptions=True)

    async def _discard_prepared(self) -> None:
        """Takes back what was made ahead; the next start removes what this cannot in time."""
        prepared = [e for active in self._active.values() for e in active.prepared.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                await asyncio.gather(*(e.discard() for e in prepared), return_exceptions=True)

    async def _woken(self) -> None:
        """Waits for something to do: a change, or the time for something."""
        due = [self._pause.remaining]
        if due == [None]:
            due = [a.soonest(self._timeouts.of(a.pipeline)) for a in self._active.values()]
            due.append(self._scheduler.soonest())
            if self._without_gpu or self._held_back:
                due.append(_LOOK_AGAIN)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min((d for d in due if d is not None), default=None)):
                await self._wake.wait()
        self._wake.clear()

    # --- scheduling ----------------------------------------------------------------------------

    async def _schedule(self) -> None:
        try:
            for active in list(self._active.values()):
                await self._end_if_due(active)
                await self._end_if_done(active)
            if self._pause.remaining:
                return
            await self._strays.remove(self._active)
            await self._resume()
            while await self._start_next():
                pass
            self._prepare_ahead()
            if not any(active.running for active in self._active.values()):
                self._pause.over()  # all went well, and no operator is there to say so
        except _OUTAGES as error:
            self._pause.met(error)

    async def _recall_gpus(self) -> None:
        """Learns from the containers which GPUs they have. Raises RunnerUnavailableError."""
        labels = {LABEL_INSTANCE: self._machine.instance}
        self._given = {
            (c.labels[LABEL_JOB], c.labels[LABEL_OPERATOR]): tuple(
                c.labels[LABEL_DEVICES].split(",")
            )
            for c in await self._machine.runner.containers(labels)
            if LABEL_DEVICES in c.labels and c.phase in (Phase.RUNNING, Phase.STOPPED)
        }

    async def _resume(self) -> None:
        """Sees to operators that are recorded as running: after a restart, after an outage."""
        if self._given is None:
            await self._recall_gpus()
        assert self._given is not None
        for active in self._active.values():
            for record in active.unattended():
                gpus = self._given.get((active.job.id, record.name), active.lease)
                self._work_on(active, active.candidate(record.name), gpus)
            if active.ending is not None:
                active.end_operators()

    async def _start_next(self) -> bool:
        """Starts the operator whose turn it is; False where each one waits."""
        candidates = [
            c
            for active in self._active.values()
            if active.refused != self._machine.values.releases and self._may_serve(active)
            for c in active.candidates()
        ]
        queued: list[str] = []
        self._held_back = self._may_start() if len(self._queue) else None
        if self._held_back is None:
            for job in self._queue.head():
                found = await self._load(job)
                if found is not None and self._may_serve(found):
                    queued.append(job)
                    candidates += found.candidates()
        await self._scheduler.look(candidates)
        choice = self._scheduler.choose(candidates, queued, self._held())
        if choice is None:
            await self._tell(candidates)
            return False
        job = choice.candidate.job
        active = self._active.get(job) or self._queue.decoded(job)
        assert active is not None, "a candidate is active or queued"
        self._active[job] = active
        self._queue.remove(job)
        if active.beside is None:
            self._serve(active)
            return True
        active.lease = choice.lease
        self._work_on(active, choice.candidate, choice.gpus)
        return True

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
        """Says once in a job's messages that it waits for a GPU that this machine does not show."""
        capacity = self._scheduler.capacity
        waiting = [c for c in candidates if (c.gpu or c.gpu_memory) and not capacity.gpus]
        untold = {c.job: c.operator for c in waiting if c.job not in self._without_gpu}
        self._without_gpu &= {c.job for c in waiting}
        if not untold:
            return

        def work(tx: Transaction) -> None:
            now = self._machine.clock.now()
            for job, operator in untold.items():
                text = (
                    f"operator {operator}: {NO_GPU}; it waits until a CDI spec of the configured"
                    " kind appears (`nvidia-ctk cdi generate` makes one)"
                )
                records.say(tx, job, now, text)

        await self._machine.database.write(work)
        self._without_gpu |= untold.keys()

    def _held(self) -> Held:
        running = [r for a in self._active.values() for r in a.running.values()]
        use = self._machine.services.gpu_use()
        shared: dict[str, int] = {}
        for each in running:
            if each.candidate.gpu_memory and each.gpus:
                shared[each.gpus[0]] = shared.get(each.gpus[0], 0) + each.candidate.gpu_memory
        return Held(
            operators=sum(r.candidate.slot for r in running),
            cores=sum(min(r.candidate.cpu, self._resources.cores) for r in running),
            memory=sum(
                r.candidate.memory + (r.candidate.gpu_memory if self._resources.unified else 0)
                for r in running
            ),
            leases={a.job.id: a.lease for a in self._active.values() if a.lease},
            gpus_in_use=frozenset(g for r in running if r.candidate.gpu for g in r.gpus),
            gpu_memory=shared,
            beside=use.gpus if use.jobs else frozenset(),
            beside_users=use.jobs,
        )

    def _decoded(self, job: Job) -> ActiveJob:
        machine = self._machine
        return ActiveJob.of(job, machine.images, machine.clock, machine.profile)

    def _activate(self, job: Job, gpus: tuple[str, ...]) -> None:
        """A job that ran before this start; one that uses GPUs has them again."""
        active = self._decoded(job)
        if active.uses_gpu:
            given = self._given or {}
            own = [gpu for (of, _), some in given.items() if of == job.id for gpu in some]
            taken = {gpu for other in self._active.values() for gpu in other.lease}
            taken |= {gpu for (of, _), some in given.items() if of != job.id for gpu in some}
            free = [gpu for gpu in gpus if gpu not in taken and gpu not in own]
            active.lease = (*own, *free)[: active.gpus_asked]
        if has_values(active.pipeline):
            self._machine.values.adopt(job.id, known_size(active.pipeline))
        self._active[job.id] = active

    # --- services and models -------------------------------------------------------------------

    def _may_serve(self, active: ActiveJob) -> bool:
        """Whether what is to run beside a job may have the GPU: not while another job has it."""
        if active.beside is not None or not self._machine.services.want_gpu(active.pipeline):
            return True
        users = self._machine.services.gpu_use().jobs
        return not any(
            other.lease or any(r.gpus for r in other.running.values())
            for other in self._active.values()
            if other is not active and other.job.id not in users
        )

    def _serve(self, active: ActiveJob) -> None:
        """Sees to it that what the job's operators use runs; they are admitted after that."""
        task = asyncio.create_task(self._served(active), name=f"services of {active.job.id}")
        active.serving = task
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    async def _served(self, active: ActiveJob) -> None:
        job = active.job.id
        try:
            active.beside = await self._machine.services.acquire(job, active.pipeline)
            for note in active.beside.notes:
                await self._say(job, note)
            self._pause.over()
        except _OUTAGES as error:
            self._pause.met(error)
        except ClaraedgeError as error:
            with contextlib.suppress(*_OUTAGES):
                await self._decide(active, JobStatus.FAULTED, str(error))
        finally:
            active.serving = None
            self._wake.set()

    def lose_services(self, job: str, reason: str) -> None:
        """What a job uses is gone for good: it fails with that reason."""
        active = self._active.get(job)
        if active is not None and active.ending is None:
            task = asyncio.create_task(self._lost(active, reason), name=f"services lost {job}")
            self._tasks.add(task)
            task.add_done_callback(self._task_ended)

    async def _lost(self, active: ActiveJob, reason: str) -> None:
        try:
            await self._decide(active, JobStatus.FAULTED, reason)
        except _OUTAGES as error:
            self._pause.met(error)
            active.end(JobStatus.FAULTED)

    async def _say(self, job: str, text: str) -> None:
        await self._machine.database.write(
            lambda tx: records.say(tx, job, self._machine.clock.now(), text)
        )

    # --- operators -----------------------------------------------------------------------------

    def _work_on(self, active: ActiveJob, candidate: Candidate, gpus: tuple[str, ...]) -> None:
        name = candidate.operator
        devices = gpus[: max(candidate.gpu, bool(candidate.gpu_memory))]
        execution = active.prepared.pop(name, None)
        if execution is not None and not execution.fits(active.attempts()):
            self._discard(execution)
            execution = None
        if execution is None:
            execution = self._execution(active, name, devices)
        active.running[name] = Running(execution=execution, candidate=candidate, gpus=devices)
        if devices and self._given is not None:
            self._given[active.job.id, name] = devices
        task = asyncio.create_task(
            self._operator(active, name, execution), name=f"{active.job.id}/{name}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _execution(self, active: ActiveJob, name: str, devices: tuple[str, ...]) -> Execution:
        operator = active.pipeline.operator(name)
        assert operator is not None, "it is one of the pipeline's"
        setting = Setting(
            job=active.job,
            pipeline=active.pipeline,
            operator=operator,
            upstream=active.attempts(),
            devices=devices,
            lookups=active.lookups,
            beside=active.lease_beside,
        )
        record = replace(active.operators[name], not_before=None)
        return Execution(self._machine, setting, record, active.note, self._wake.set)

    def _prepare_ahead(self) -> None:
        """Makes containers while those that they wait for run: a start is then all that is left."""
        free = AHEAD * self._resources.operators - sum(
            len(a.prepared) for a in self._active.values()
        )
        for active in self._active.values():
            for name in active.preparable()[: max(0, free)]:
                execution = active.prepared[name] = self._execution(active, name, ())
                execution.prepare()
                free -= 1

    def _discard(self, execution: Execution) -> None:
        """Takes a container back that was made in vain."""
        task = asyncio.create_task(execution.discard(), name="discard")
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._wake.set()

    async def _operator(self, active: ActiveJob, name: str, execution: Execution) -> None:
        try:
            await execution.run()
            self._pause.over()
        except _OUTAGES as error:
            self._pause.met(error)
            self._strays.expect()
        except RoomTakenError as error:
            await self._refused(active, name, error)
        except Exception as error:  # noqa: BLE001 - the daemon lives on where one job meets a bug
            _log.exception("operator broken", extra={"job": active.job.id, "operator": name})
            await self._broken(active, execution, repr(error))
        record = execution.record
        if record != active.operators[name]:
            active.note(record)
        if execution.filled is not None:
            active.pipeline = active.pipeline.with_operator(execution.filled)
        del active.running[name]
        if record.status is not OperatorStatus.RUNNING and self._given is not None:
            self._given.pop((active.job.id, name), None)
        if record.status is OperatorStatus.FAULTED:
            active.end(JobStatus.TERMINATED if execution.timed_out else JobStatus.FAULTED)
        if not active.uses_gpu:
            active.lease = ()
        self._wake.set()

    async def _refused(self, active: ActiveJob, name: str, error: RoomTakenError) -> None:
        """The job waits until another one ends; its messages say so once."""
        first = active.refused is None
        active.refused = error.releases
        if first:
            with contextlib.suppress(*_OUTAGES):
                await self._say(active.job.id, f"operator {name}: {error}")

    async def _broken(self, active: ActiveJob, execution: Execution, text: str) -> None:
        record = execution.record

        def work(tx: Transaction) -> OperatorRecord:
            at = moment(self._machine.clock)
            records.end_operator(
                tx, active.job.id, record.name, OperatorStatus.FAULTED, record.exit_code, at
            )
            text_ = f"operator {record.name}: internal error: {text}"
            records.say(tx, active.job.id, at.now, text_)
            return replace(record, status=OperatorStatus.FAULTED, stopped=at.now)

        with contextlib.suppress(*_OUTAGES):
            await self._machine.database.write(work)
        execution.record = replace(
            record, status=OperatorStatus.FAULTED, stopped=self._machine.clock.now()
        )
        self._strays.expect()

    # --- ends ----------------------------------------------------------------------------------

    async def _end_if_due(self, active: ActiveJob) -> None:
        """Ends a job whose operators ran for longer than it may take."""
        ran = active.run_time.elapsed(self._machine.clock.elapsed())
        if active.ending is None and ran >= self._timeouts.of(active.pipeline):
            await self._decide(active, JobStatus.TERMINATED, self._timeouts.told(active.pipeline))

    async def _decide(self, active: ActiveJob, status: JobStatus, text: str) -> None:
        """Ends a job by a decision, which is recorded before it is acted on."""
        await self._machine.database.write(
            lambda tx: records.end_job(tx, active.job.id, status, text, self._machine.clock.now())
        )
        _log.info("job is ended", extra={"job": active.job.id, "status": status.name})
        active.end(status)
        self._wake.set()

    async def _end_if_done(self, active: ActiveJob) -> None:
        status = active.verdict()
        if status is None:
            return
        for execution in active.prepared.values():
            self._discard(execution)
        active.prepared.clear()
        # First: once the job has stopped, nobody looks for what it leaves there.
        await self._drop_values(active)
        await self._stop(active.job.id, status)
        del self._active[active.job.id]
        await in_thread(self._machine.values.release, active.job.id)
        await self._machine.services.release(active.job.id)
        active.ended.set()

    async def _drop_values(self, active: ActiveJob) -> None:
        """Removes a job's values. None is needed any more: no operator of it is to run."""
        if not has_values(active.pipeline):
            return
        machine, job = self._machine, active.job
        folders = [machine.values.job(job.id)]
        for operator in active.pipeline.operators:
            if written(operator):
                attempt = active.operators[operator.name].attempt
                folders.append(machine.payloads.tree.values(job.payload, operator.name, attempt))
        try:
            for folder in folders:
                await clear(machine.runner, folder)
        except (OSError, ContainerError, RunnerUnavailableError) as error:
            self._strays.expect()  # what lies in memory is tried again
            _log.warning("values left behind", extra={"job": job.id, "reason": str(error)})

    async def _stop(self, job: str, status: JobStatus) -> None:
        def work(tx: Transaction) -> None:
            now = self._machine.clock.now()
            if status is JobStatus.CANCELED:
                reason = records.get(tx, job).cancel_reason
                records.say(tx, job, now, f"canceled: {reason or 'no reason given'}")
            records.stop(tx, job, status, now)

        await self._machine.database.write(work)
        _log.info("job stopped", extra={"job": job, "status": status.name})
        self._on_stopped(job)

    def _is_worked_on(self, job: str, operator: str) -> bool:
        active = self._active.get(job)
        return active is not None and (operator in active.running or operator in active.prepared)
