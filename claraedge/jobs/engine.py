"""The engine: takes jobs from the queue, runs their operators side by side, ends them.

One scheduler coroutine decides; each running operator is a task. A task that meets a dead Podman or
a full disk hands its operator back, and the scheduler tries again after a pause: work waits, it
does not fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from claraedge.errors import ClaraedgeError, RunnerUnavailableError, StorageFullError
from claraedge.jobs import records
from claraedge.jobs.admission import Candidate, Capacity, Held, choose, grant
from claraedge.jobs.execution import Execution, Machine
from claraedge.jobs.model import Job, JobState, JobStatus, OperatorRecord, OperatorStatus, Priority
from claraedge.jobs.queue import JobQueue
from claraedge.jobs.transitions import ready, verdict
from claraedge.pipelines.model import Pipeline, decode
from claraedge.runner.protocol import LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB, LABEL_OPERATOR
from claraedge.store.database import Transaction

_log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
_OUTAGES = (RunnerUnavailableError, StorageFullError)


@dataclass(slots=True)
class _Running:
    """An operator that a task works on, and what it holds."""

    execution: Execution
    cores: int
    gpus: tuple[str, ...]


@dataclass(slots=True)
class _Active:
    """A job whose operators may run."""

    job: Job
    pipeline: Pipeline
    operators: dict[str, OperatorRecord]
    running: dict[str, _Running] = field(default_factory=dict)
    lease: tuple[str, ...] = ()
    cancelled: bool = False
    faulted: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ending(self) -> bool:
        return self.cancelled or self.faulted

    def statuses(self) -> dict[str, OperatorStatus]:
        """Statuses for decisions: an operator that a task works on counts as running."""
        return {
            name: OperatorStatus.RUNNING if name in self.running else record.status
            for name, record in self.operators.items()
        }


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
        self._queue: JobQueue[_Active] = JobQueue()
        self._active: dict[str, _Active] = {}
        self._wake = asyncio.Event()
        self._pause = 0.0
        self._paused_until = 0.0
        self._reason = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._recovered = False
        self._told: set[str] = set()

    # --- for others ----------------------------------------------------------------------------

    def enqueue(self, job: str, priority: Priority) -> None:
        """A job was started, and that is committed."""
        self._queue.push(job, priority)
        self._wake.set()

    async def cancel(self, job: str, timeout: float) -> None:
        """Ends a job whose cancelling is committed; waits for its end, at most so many seconds."""
        active = self._active.get(job)
        if active is None:
            active = await self._load(job)
            if active is None or not self._queue.remove(job):
                return
            self._active[job] = active
        active.cancelled = True
        _end_operators(active)
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await active.ended.wait()

    def warnings(self) -> Sequence[str]:
        """What keeps work from going on, for `claraedge status`."""
        return [f"work waits: {self._reason}"] if self._pause else []

    # --- life ----------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Takes up what is recorded: adopts, collects, runs again; removes unknown containers.

        Returns at once where Podman does not answer: `run` then goes on trying before it starts
        anything new.
        """
        jobs = await self._machine.database.read(
            lambda tx: [records.read(tx, row) for row in tx.rows("started_jobs")]
        )
        for job in jobs:
            running = any(o.status is OperatorStatus.RUNNING for o in job.operators)
            if job.state is JobState.RUNNING or running or job.cancel_reason is not None:
                self._activate(job)
            else:
                self._queue.push(job.id, job.priority)
        try:
            await self._remove_unknown()
        except RunnerUnavailableError as error:
            self._outage(error)
        else:
            self._recovered = True
            self._resume()
        _log.info("recovery done", extra={"jobs": len(jobs), "running": len(self._active)})

    async def run(self) -> None:
        """Schedules until cancelled. Operators' containers go on when it ends."""
        self._wake.set()
        try:
            while True:
                await self._woken()
                await self._schedule()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _woken(self) -> None:
        """Waits for something to do: a change, or the end of a pause."""
        remaining = self._paused_until - self._machine.clock.elapsed()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(remaining if self._pause else None):
                await self._wake.wait()
        self._wake.clear()

    # --- scheduling ----------------------------------------------------------------------------

    async def _schedule(self) -> None:
        try:
            for active in list(self._active.values()):
                await self._end_if_done(active)
            if self._pause and self._machine.clock.elapsed() < self._paused_until:
                return
            if not self._recovered:
                await self._remove_unknown()
                self._recovered = True
            self._resume()
            while await self._start_next():
                pass
        except _OUTAGES as error:
            self._outage(error)

    def _resume(self) -> None:
        """Operators whose row says running and that no task works on: after a restart or outage."""
        for active in self._active.values():
            for record in active.operators.values():
                if record.status is OperatorStatus.RUNNING and record.name not in active.running:
                    self._work_on(active, record, active.lease)
            if active.ending:
                _end_operators(active)

    async def _start_next(self) -> bool:
        """Starts the operator whose turn it is; False where each one waits."""
        candidates = [c for a in self._active.values() if not a.ending for c in _candidates(a)]
        for job in self._queue.head():
            queued = await self._load(job)
            if queued is not None:
                candidates += _candidates(queued)
        capacity = Capacity(
            operators=self._max_operators,
            cores=self._cores,
            gpus=self._gpus() if any(c.gpu for c in candidates) else (),
        )
        held = self._held()
        chosen = choose(candidates, capacity, held)
        if chosen is None:
            await self._tell(c for c in candidates if c.gpu and not capacity.gpus)
            return False
        active = self._active.get(chosen.job)
        if active is None:
            active = await self._load(chosen.job)
            if active is None or not self._queue.remove(chosen.job):
                return True
            self._active[chosen.job] = active
        active.lease, gpus = grant(chosen, capacity, held)
        self._work_on(active, active.operators[chosen.operator], gpus, chosen.cpu or 0)
        return True

    async def _tell(self, waiting: Iterable[Candidate]) -> None:
        """Says once in a job's messages that it waits for a GPU that this machine does not show."""
        untold = {c.job: c.operator for c in waiting if c.job not in self._told}
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
        self._told |= untold.keys()

    async def _load(self, job: str) -> _Active | None:
        """A queued job, decoded; None where it is not queued any more."""
        active = self._queue.decoded(job)
        if active is None:
            recorded = await self._machine.database.read(lambda tx: records.get(tx, job))
            if recorded.state is JobState.STOPPED or not recorded.was_started:
                self._queue.remove(job)
                return None
            active = _decoded(recorded)
            self._queue.remember(job, active)
        return active

    def _held(self) -> Held:
        running = [r for a in self._active.values() for r in a.running.values()]
        return Held(
            operators=len(running),
            cores=sum(r.cores for r in running),
            leases={a.job.id: a.lease for a in self._active.values() if a.lease},
            gpus_in_use=frozenset(gpu for r in running for gpu in r.gpus),
        )

    def _activate(self, job: Job) -> None:
        active = _decoded(job)
        active.cancelled = job.cancel_reason is not None
        active.faulted = any(o.status is OperatorStatus.FAULTED for o in job.operators)
        # After a restart the lease is taken whole again: what runs holds its devices.
        needs = max((o.requests.gpu for o in active.pipeline.operators), default=0)
        if needs and job.state is JobState.RUNNING:
            taken = {gpu for a in self._active.values() for gpu in a.lease}
            active.lease = tuple(g for g in self._gpus() if g not in taken)[:needs]
        self._active[job.id] = active

    # --- operators -----------------------------------------------------------------------------

    def _work_on(
        self, active: _Active, record: OperatorRecord, gpus: tuple[str, ...], cores: int = 0
    ) -> None:
        attempts = {name: other.attempt for name, other in active.operators.items()}
        execution = Execution(self._machine, active.job, active.pipeline, record, attempts, gpus)
        active.running[record.name] = _Running(execution, min(cores, self._cores), gpus)
        task = asyncio.create_task(
            self._operator(active, record.name, execution), name=f"{active.job.id}/{record.name}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _operator(self, active: _Active, name: str, execution: Execution) -> None:
        try:
            record = await execution.run()
            self._pause = 0.0
        except _OUTAGES as error:
            self._outage(error)
            record = execution.record
        except ClaraedgeError as error:
            record = await self._broken(active, execution, str(error))
        except Exception as error:  # noqa: BLE001 - keeps the daemon alive when one job meets a bug
            _log.exception(
                "bug in an operator's execution", extra={"job": active.job.id, "operator": name}
            )
            record = await self._broken(active, execution, f"internal error: {error!r}")
        del active.running[name]
        active.operators[name] = record
        if record.status is OperatorStatus.FAULTED and not active.cancelled:
            active.faulted = True
            _end_operators(active)
        if not any(
            o.requests.gpu
            and active.operators[o.name].status in (OperatorStatus.PENDING, OperatorStatus.RUNNING)
            for o in active.pipeline.operators
        ):
            active.lease = ()
        self._wake.set()

    async def _broken(self, active: _Active, execution: Execution, text: str) -> OperatorRecord:
        now = self._machine.clock.now()
        record = execution.record

        def work(tx: Transaction) -> None:
            records.end_operator(
                tx, active.job.id, record.name, OperatorStatus.FAULTED, record.exit_code, now
            )
            records.say(tx, active.job.id, now, f"operator {record.name}: {text}")

        with contextlib.suppress(*_OUTAGES):
            await self._machine.database.write(work)
        return replace(record, status=OperatorStatus.FAULTED, stopped=now)

    # --- ends ----------------------------------------------------------------------------------

    async def _end_if_done(self, active: _Active) -> None:
        if active.running:
            return
        status = verdict(active.statuses(), cancelled=active.cancelled, faulted=active.faulted)
        if status is None:
            return
        await self._stop(active.job.id, status)
        del self._active[active.job.id]
        active.ended.set()

    async def _stop(self, job: str, status: JobStatus) -> None:
        now = self._machine.clock.now()

        def work(tx: Transaction) -> None:
            recorded = records.get(tx, job)
            if status is JobStatus.CANCELED:
                records.say(
                    tx, job, now, f"canceled: {recorded.cancel_reason or 'no reason given'}"
                )
            records.stop(tx, job, status, now)

        await self._machine.database.write(work)
        _log.info("job stopped", extra={"job": job, "status": status.name})
        self._on_stopped(job)

    # --- outages and strays --------------------------------------------------------------------

    def _outage(self, error: ClaraedgeError) -> None:
        """Work pauses, longer each time that it meets the outage anew."""
        now = self._machine.clock.elapsed()
        if not self._pause:
            _log.warning("work waits", extra={"reason": str(error)})
        self._reason = str(error)
        if now >= self._paused_until:
            self._pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * self._pause))
            self._paused_until = now + self._pause
        self._wake.set()

    async def _remove_unknown(self) -> None:
        """Removes this daemon's containers that belong to no running row."""
        known = await self._machine.database.read(
            lambda tx: {
                (row["job"], row["name"], str(row["attempt"]))
                for row in tx.rows("running_containers")
            }
        )
        found = await self._machine.runner.containers({LABEL_INSTANCE: self._machine.instance})
        for container in found:
            labels = container.labels
            key = (labels.get(LABEL_JOB), labels.get(LABEL_OPERATOR), labels.get(LABEL_ATTEMPT))
            if key not in known:
                _log.info("unknown container removed", extra={"container": container.name})
                await self._machine.runner.remove(container.id)


def _decoded(job: Job) -> _Active:
    assert job.snapshot is not None, "a started job has its snapshot"
    return _Active(job, decode(job.snapshot), {o.name: o for o in job.operators})


def _end_operators(active: _Active) -> None:
    """Stops what runs of a job; each operator's own task sees to it."""
    for running in active.running.values():
        running.execution.end()


def _candidates(active: _Active) -> Iterable[Candidate]:
    job, pipeline = active.job, active.pipeline
    assert job.queue_position is not None
    for name in ready(pipeline, active.statuses()):
        operator = pipeline.operator(name)
        assert operator is not None
        yield Candidate(
            job=job.id,
            operator=name,
            priority=job.priority,
            position=job.queue_position,
            job_runs=bool(active.running) or job.started is not None,
            cpu=operator.requests.cpu,
            gpu=operator.requests.gpu,
            job_gpus=max(o.requests.gpu for o in pipeline.operators),
        )
