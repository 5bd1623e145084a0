"""The engine: takes jobs from the queue, runs their operators side by side, ends them.

One scheduler coroutine decides; each running operator is a task. A task that meets a dead Podman or
a full disk hands its operator back, and the scheduler tries again after a pause: work waits, it
does not fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from claraedge.blocking import in_thread
from claraedge.errors import ContainerError, RunnerUnavailableError, StorageFullError
from claraedge.jobs import records
from claraedge.jobs.active import ActiveJob, Running
from claraedge.jobs.admission import Candidate, Capacity, Held, choose, grant
from claraedge.jobs.execution import Execution
from claraedge.jobs.machine import Machine
from claraedge.jobs.model import Job, JobState, JobStatus, OperatorRecord, OperatorStatus, Priority
from claraedge.jobs.pause import Pause
from claraedge.jobs.queue import JobQueue
from claraedge.jobs.values import RoomTakenError, clear, has_values, known_size, written
from claraedge.pipelines import requests
from claraedge.pipelines.registration import is_registration
from claraedge.runner.protocol import LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB, LABEL_OPERATOR
from claraedge.store.database import Transaction

_log = logging.getLogger(__name__)

_OUTAGES = (RunnerUnavailableError, StorageFullError)
#: For each operator that may run at once, so many may have their containers made ahead.
AHEAD = 2
#: A daemon that stops takes containers back for so many seconds.
_LAST = 3.0
#: While a job waits for a GPU that no CDI spec names, the specs are read again after so long.
_GPU_RETRY = 5.0


class Engine:
    """Runs jobs. `prepare` once, then `run` until it is cancelled; containers outlive it."""

    def __init__(
        self,
        machine: Machine,
        *,
        max_operators: int,
        cores: int,
        gpus: Callable[[], tuple[str, ...]],
        on_stopped: Callable[[str], None],
    ) -> None:
        self._machine = machine
        self._max_operators = max_operators
        self._cores = cores
        self._gpus = gpus
        self._on_stopped = on_stopped
        self._queue: JobQueue[ActiveJob] = JobQueue()
        self._active: dict[str, ActiveJob] = {}
        self._wake = asyncio.Event()
        self._pause = Pause(machine.clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        """Of an operator's task that could not even record its end: the state is unusable."""
        self._strays = True
        """Containers may be there that belong to nothing: after a start, and after an outage."""
        self._without_gpu: set[str] = set()
        machine.removals.on_outage = self._may_be_left

    # --- for others ----------------------------------------------------------------------------

    def enqueue(self, job: str, priority: Priority) -> None:
        """A job was started, and that is committed."""
        self._queue.push(job, priority)
        self._wake.set()

    async def cancel(self, job: str, timeout: float) -> None:
        """Ends a job whose cancelling is committed; waits for its end, at most so many seconds."""
        loaded = self._active.get(job) or await self._load(job)
        active = self._active.get(job, loaded)  # the scheduler may have taken it meanwhile
        if self._queue.remove(job) and active is not None:
            self._active[job] = active
        if active is None or job not in self._active:
            return  # on its way into the queue, where its cancelling is read with it
        active.cancelled = True
        active.end_operators()
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await active.ended.wait()

    def warnings(self) -> Sequence[str]:
        """What keeps work from going on, for `claraedge status`."""
        return [f"work waits: {self._pause.reason}"] if self._pause.reason else []

    # --- life ----------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Takes up what is recorded: adopts, collects, runs again; removes unknown containers.

        Returns at once where Podman does not answer: `run` then goes on trying before it starts
        anything new.
        """
        jobs = await self._machine.database.read(
            lambda tx: [records.read(tx, row) for row in tx.rows("started_jobs")]
        )
        gpus = await in_thread(self._gpus) if jobs else ()
        for job in jobs:
            if job.state is JobState.RUNNING or job.cancel_reason is not None:
                self._activate(job, gpus)
            else:
                self._queue.push(job.id, job.priority)
        try:
            await self._remove_strays()
            self._resume()
        except RunnerUnavailableError as error:
            self._pause.met(error)
        _log.info("recovery done", extra={"jobs": len(jobs), "running": len(self._active)})

    async def run(self) -> None:
        """Schedules until cancelled. Operators' containers go on when it ends.

        Raises what kept an operator's end from being recorded: going on would leave its job for
        ever as it is, a new start takes it up.
        """
        removing = asyncio.create_task(self._machine.removals.run(), name="removals")
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

    def _may_be_left(self) -> None:
        self._strays = True

    async def _woken(self) -> None:
        """Waits for something to do: a change, or the end of a pause."""
        timeout = self._pause.remaining
        if timeout is None and self._without_gpu:
            timeout = _GPU_RETRY
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        self._wake.clear()

    # --- scheduling ----------------------------------------------------------------------------

    async def _schedule(self) -> None:
        try:
            for active in list(self._active.values()):
                await self._end_if_done(active)
            if self._pause.remaining:
                return
            await self._remove_strays()
            self._resume()
            while await self._start_next():
                pass
            self._prepare_ahead()
            if not any(active.running for active in self._active.values()):
                self._pause.over()  # all went well, and no operator is there to say so
        except _OUTAGES as error:
            self._pause.met(error)

    def _resume(self) -> None:
        """Sees to operators that are recorded as running: after a restart, after an outage."""
        for active in self._active.values():
            for record in active.unattended():
                self._work_on(active, record, active.lease)
            if active.ending:
                active.end_operators()

    async def _start_next(self) -> bool:
        """Starts the operator whose turn it is; False where each one waits."""
        candidates = [
            c
            for active in self._active.values()
            if active.refused != self._machine.values.releases
            for c in active.candidates()
        ]
        for job in self._queue.head():
            queued = await self._load(job)
            if queued is not None:
                candidates += queued.candidates()
        capacity = Capacity(
            operators=self._max_operators,
            cores=self._cores,
            gpus=await in_thread(self._gpus) if any(c.gpu for c in candidates) else (),
        )
        chosen = choose(candidates, capacity, self._held())
        if chosen is None:
            await self._tell([c for c in candidates if c.gpu and not capacity.gpus])
            return False
        active = self._active.get(chosen.job) or self._queue.decoded(chosen.job)
        assert active is not None, "a candidate is active or queued"
        self._active[chosen.job] = active
        self._queue.remove(chosen.job)
        active.lease, gpus = grant(chosen, capacity, self._held())
        self._work_on(active, active.operators[chosen.operator], gpus)
        return True

    async def _load(self, job: str) -> ActiveJob | None:
        """A queued job, decoded; None where it is not queued any more."""
        active = self._queue.decoded(job)
        if active is None:
            recorded = await self._machine.database.read(lambda tx: records.get(tx, job))
            if job in self._active or recorded.state is JobState.STOPPED:
                self._queue.remove(job)
                return None
            active = self._queue.decoded(job) or ActiveJob.of(recorded, self._machine.images)
            if active.cancelled and self._queue.remove(job):
                self._active[job] = active  # it ends with the next round
                self._wake.set()
                return None
            self._queue.remember(job, active)
        return active

    async def _tell(self, waiting: Sequence[Candidate]) -> None:
        """Says once in a job's messages that it waits for a GPU that this machine does not show."""
        untold = {c.job: c.operator for c in waiting if c.job not in self._without_gpu}
        self._without_gpu &= {c.job for c in waiting}
        if not untold:
            return
        now = self._machine.clock.now()

        def work(tx: Transaction) -> None:
            for job, operator in untold.items():
                text = (
                    f"operator {operator}: no GPU present; it waits until a CDI spec of the"
                    " configured kind appears (`nvidia-ctk cdi generate` makes one)"
                )
                records.say(tx, job, now, text)

        await self._machine.database.write(work)
        self._without_gpu |= untold.keys()

    def _held(self) -> Held:
        running = [r for a in self._active.values() for r in a.running.values()]
        return Held(
            operators=sum(r.slot for r in running),
            cores=sum(r.cores for r in running),
            leases={a.job.id: a.lease for a in self._active.values() if a.lease},
            gpus_in_use=frozenset(gpu for r in running for gpu in r.gpus),
        )

    def _activate(self, job: Job, gpus: tuple[str, ...]) -> None:
        """A job that ran before this start; one that uses GPUs has them again."""
        active = ActiveJob.of(job, self._machine.images)
        if active.uses_gpu:
            taken = {gpu for other in self._active.values() for gpu in other.lease}
            free = [gpu for gpu in gpus if gpu not in taken]
            active.lease = tuple(free[: active.gpus_asked])
        if has_values(active.pipeline):
            self._machine.values.adopt(job.id, known_size(active.pipeline))
        self._active[job.id] = active

    # --- operators -----------------------------------------------------------------------------

    def _work_on(self, active: ActiveJob, record: OperatorRecord, granted: tuple[str, ...]) -> None:
        operator = active.pipeline.operator(record.name)
        assert operator is not None
        devices = granted[: requests.gpus(operator)]
        execution = active.prepared.pop(record.name, None)
        if execution is not None and not execution.fits(active.attempts()):
            self._discard(execution)
            execution = None
        if execution is None:
            execution = self._execution(active, record, devices)
        active.running[record.name] = Running(
            execution=execution,
            cores=min(requests.cores(operator), self._cores),
            gpus=devices,
            slot=not is_registration(operator),
        )
        task = asyncio.create_task(
            self._operator(active, record.name, execution), name=f"{active.job.id}/{record.name}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _execution(
        self, active: ActiveJob, record: OperatorRecord, devices: tuple[str, ...]
    ) -> Execution:
        return Execution(
            self._machine,
            active.job,
            active.pipeline,
            record,
            active.attempts(),
            devices,
            active.lookups,
            self._wake.set,
        )

    def _prepare_ahead(self) -> None:
        """Makes containers while those that they wait for run: a start is then all that is left."""
        free = AHEAD * self._max_operators - sum(len(a.prepared) for a in self._active.values())
        for active in self._active.values():
            for name in active.preparable()[: max(0, free)]:
                execution = self._execution(active, active.operators[name], ())
                active.prepared[name] = execution
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
            self._strays = True
        except RoomTakenError as error:
            await self._refused(active, name, error)
        except Exception as error:  # noqa: BLE001 - the daemon lives on where one job meets a bug
            _log.exception("operator broken", extra={"job": active.job.id, "operator": name})
            await self._broken(active, execution, repr(error))
        record = active.operators[name] = execution.record
        if execution.filled is not None:
            active.pipeline = active.pipeline.with_operator(execution.filled)
        del active.running[name]
        if record.status is OperatorStatus.FAULTED and not active.cancelled:
            active.faulted = True
            active.end_operators()
        if not active.uses_gpu:
            active.lease = ()
        self._wake.set()

    async def _refused(self, active: ActiveJob, name: str, error: RoomTakenError) -> None:
        """The job waits until another one ends; its messages say so once."""
        first = active.refused is None
        active.refused = error.releases
        if first:
            now, text = self._machine.clock.now(), f"operator {name}: {error}"
            with contextlib.suppress(*_OUTAGES):
                await self._machine.database.write(
                    lambda tx: records.say(tx, active.job.id, now, text)
                )

    async def _broken(self, active: ActiveJob, execution: Execution, text: str) -> None:
        now = self._machine.clock.now()
        record = execution.record

        def work(tx: Transaction) -> None:
            records.end_operator(
                tx, active.job.id, record.name, OperatorStatus.FAULTED, record.exit_code, now
            )
            records.say(tx, active.job.id, now, f"operator {record.name}: internal error: {text}")

        with contextlib.suppress(*_OUTAGES):
            await self._machine.database.write(work)
        execution.record = replace(record, status=OperatorStatus.FAULTED, stopped=now)
        self._strays = True

    # --- ends ----------------------------------------------------------------------------------

    async def _end_if_done(self, active: ActiveJob) -> None:
        status = active.verdict()
        if status is None:
            return
        # First: once the job has stopped, nobody looks for what it leaves there.
        await self._drop_values(active)
        for execution in active.prepared.values():
            self._discard(execution)
        active.prepared.clear()
        await self._stop(active.job.id, status)
        del self._active[active.job.id]
        await in_thread(self._machine.values.release, active.job.id)
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
            self._strays = True  # what lies in memory is tried again
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

    async def _remove_strays(self) -> None:
        """Removes this daemon's containers that no running row and no task stands for."""
        if not self._strays:
            return
        known = await self._machine.database.read(
            lambda tx: {
                (row["job"], row["name"], str(row["attempt"]))
                for row in tx.rows("running_containers")
            }
        )
        found = await self._machine.runner.containers({LABEL_INSTANCE: self._machine.instance})
        for container in found:
            job, operator, attempt = (
                container.labels.get(label) for label in (LABEL_JOB, LABEL_OPERATOR, LABEL_ATTEMPT)
            )
            if (job, operator, attempt) in known or self._is_worked_on(job, operator):
                continue
            try:
                await self._machine.runner.remove(container.id)
            except ContainerError as error:  # such as one that a stranger's container depends on
                _log.warning(
                    "stray container left behind",
                    extra={"container": container.name, "reason": str(error)},
                )
            else:
                _log.info("stray container removed", extra={"container": container.name})
        for job in await in_thread(self._machine.values.jobs):
            if job not in self._active:
                await self._remove_values(job)
        self._strays = False

    async def _remove_values(self, job: str) -> None:
        """Removes what lies in shared memory of a job that does not run."""
        try:
            await clear(self._machine.runner, self._machine.values.job(job))
        except (OSError, ContainerError) as error:
            _log.warning("values left behind", extra={"job": job, "reason": str(error)})
        else:
            _log.info("stray values removed", extra={"job": job})
        await in_thread(self._machine.values.release, job)

    def _is_worked_on(self, job: str | None, operator: str | None) -> bool:
        active = self._active.get(job or "")
        return active is not None and (operator in active.running or operator in active.prepared)
