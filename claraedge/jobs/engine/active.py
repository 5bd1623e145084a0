"""The in-memory state of a started job that has not stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Self

from claraedge.clock import Clock
from claraedge.errors import RunnerUnavailableError
from claraedge.images.images import Images
from claraedge.jobs.model import Job, JobStatus, OperatorRecord, OperatorStatus
from claraedge.jobs.operators.execution import Execution
from claraedge.jobs.operators.lookups import Lookups
from claraedge.jobs.runtime import RunTime
from claraedge.jobs.scheduling.budget import Candidate
from claraedge.jobs.scheduling.demands import Demands
from claraedge.jobs.scheduling.queue import QueueLane
from claraedge.jobs.transitions import preparable, ready, verdict
from claraedge.pipelines.model import Operator, Pipeline, decode
from claraedge.services.model import Lease, uses_services

_OVER = (OperatorStatus.COMPLETED, OperatorStatus.FAULTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An operator that a task executes, and the resources that are allocated to it."""

    execution: Execution
    candidate: Candidate
    """The request with which it was admitted."""
    gpus: tuple[str, ...]


@dataclass(slots=True)
class ActiveJob:
    """A started job that has not stopped."""

    job: Job
    pipeline: Pipeline
    operators: dict[str, OperatorRecord]
    ending: JobStatus | None
    """The status with which the job is to end; nothing of it starts any more. None: undecided."""
    lookups: Lookups
    clock: Clock
    run_time: RunTime
    demand: Callable[[Pipeline], Demands]
    demands: Demands
    taken: bool = False
    """Whether the job's turn has come, and it has left the queue."""
    running: dict[str, Running] = field(default_factory=dict)
    prepared: dict[str, Execution] = field(default_factory=dict)
    """Operators whose containers are created before their turn."""
    fetching: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """Operators that wait for their image to be pulled -> the task that pulls it."""
    lease: tuple[str, ...] = ()
    """The GPUs leased to the job, from its first GPU operator's start to its last one's end."""
    has_value_space: bool = False
    """Whether the memory of its values in shared memory is reserved."""
    delays: dict[str, float] = field(default_factory=dict)
    """Operators that are to be retried -> BOOTTIME (seconds) before which they do not start."""
    service_lease: Lease | None = None
    """The lease of the services and models that the job uses; None: not granted yet."""
    service_task: asyncio.Task[None] | None = None
    """The task that acquires this lease; None: none is running."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(
        cls,
        job: Job,
        images: Images,
        clock: Clock,
        demand: Callable[[Pipeline], Demands],
    ) -> Self:
        """Returns the in-memory form of a recorded job.

        `demand` returns what a job of a pipeline requests.
        """
        assert job.snapshot is not None, "a started job has its snapshot"
        pipeline = decode(job.snapshot).owned(job.pipeline)
        ending = job.ending
        if ending is None and any(o.status is OperatorStatus.FAULTED for o in job.operators):
            ending = JobStatus.FAULTED
        active = cls(
            job,
            pipeline,
            {operator.name: operator for operator in job.operators},
            ending=ending,
            lookups=Lookups(images, pipeline.pull_secrets),
            clock=clock,
            run_time=job.run_time,
            demand=demand,
            demands=demand(pipeline),
            service_lease=None if uses_services(pipeline) else Lease(job=job.id),
        )
        for record in job.operators:
            active._delay(record)
        return active

    def note(self, record: OperatorRecord) -> None:
        """Applies a changed operator record, after it was committed."""
        self.operators[record.name] = record
        self._delay(record)
        now = self.clock.elapsed()
        if record.status is OperatorStatus.RUNNING:
            self.run_time = self.run_time.begun(now)
        else:  # counts up to here even if others run: `downtime` may end their time earlier
            others = any(o.status is OperatorStatus.RUNNING for o in self.operators.values())
            self.run_time = self.run_time.ended(now, others=others)

    def fill(self, operator: Operator) -> None:
        """Replaces an operator by the version that its image's manifest completes."""
        self.pipeline = self.pipeline.with_operator(operator)
        self.demands = self.demand(self.pipeline)

    def end(self, status: JobStatus) -> None:
        """Sets the job's final status, unless one is set; stops its tasks and operators."""
        if self.ending is None:
            self.ending = status
        if self.service_task is not None and self.service_task is not asyncio.current_task():
            self.service_task.cancel()
        for task in self.fetching.values():
            task.cancel()
        self.end_operators()

    def require_service_lease(self) -> Lease:
        """Returns the lease of services and models.

        Raises RunnerUnavailableError where they are not restored yet after a restart or an outage.
        """
        if self.service_lease is None:
            raise RunnerUnavailableError(f"the services of the job {self.job.id} are not back yet")
        return self.service_lease

    @property
    def began(self) -> bool:
        """Whether its turn has come: an operator ran or runs, or its services are acquired."""
        served = self.service_lease is not None and not self.service_lease.empty
        return (
            self.taken
            or bool(self.running)
            or served
            or any(
                o.status is not OperatorStatus.PENDING or o.attempt for o in self.operators.values()
            )
        )

    def lane(self, pulled: Collection[str]) -> QueueLane:
        """Returns the queue lane of the job. `pulled`: references of images being pulled."""
        image = ""
        if pulled:
            left = (name for name, record in self.operators.items() if record.status not in _OVER)
            image = next((i for i in map(self.reference, left) if i in pulled), "")
        demands = self.demands
        return QueueLane(
            gpus=demands.devices,
            served=bool(demands.services),
            image=image,
            values=bool(demands.values),
        )

    def reference(self, name: str) -> str:
        """Returns the image reference of an operator."""
        operator = self.pipeline.operator(name)
        assert operator is not None, "it is one of the pipeline's"
        return operator.container.reference

    @property
    def uses_gpu(self) -> bool:
        """Whether it is between the start of its first GPU operator and the end of its last."""
        using = [name for name, requests in self.demands.operators.items() if requests.gpus]
        statuses = [self.operators[name].status for name in using]
        begun = any(status is not OperatorStatus.PENDING for status in statuses)
        return begun and any(status not in _OVER for status in statuses)

    def statuses(self) -> dict[str, OperatorStatus]:
        """Returns the statuses for decisions; an operator that a task executes is running."""
        return {
            name: OperatorStatus.RUNNING if name in self.running else record.status
            for name, record in self.operators.items()
        }

    def unattended(self) -> list[OperatorRecord]:
        """Returns the operators that are recorded as running and that no task executes."""
        return [
            record
            for record in self.operators.values()
            if record.status is OperatorStatus.RUNNING and record.name not in self.running
        ]

    def candidates(self) -> Iterable[Candidate]:
        """Yields its operators that may start; none while it ends or acquires services."""
        if self.ending is not None or self.service_task is not None:
            return
        now = self.clock.elapsed()
        for name in ready(self.pipeline, self.statuses()):
            if self.delays.get(name, now) <= now and name not in self.fetching:
                yield self.candidate(name)

    def candidate(self, name: str) -> Candidate:
        """Returns the resources that an operator requests, as the scheduler compares them."""
        assert self.job.queue_position is not None, "it was started"
        return Candidate(
            job=self.job.id,
            operator=name,
            priority=self.job.priority,
            position=self.job.queue_position,
            job_runs=self.began,
            requests=self.demands.operators[name],
            services=self.demands.services,
            largest=self.demands.largest,
            job_gpus=self.demands.gpus,
            services_want_gpu=self.demands.services_want_gpu and self.service_lease is None,
            values=0 if self.has_value_space else self.demands.values or 0,
        )

    def soonest(self, limit: float) -> float | None:
        """Returns the seconds until its next retry or its time-out (`limit` seconds).

        Returns None if neither is due.
        """
        if self.ending is not None:
            return None
        now = self.clock.elapsed()
        due = [at - now for at in self.delays.values() if at > now]
        if self.run_time.since is not None:
            due.append(limit - self.run_time.elapsed(now))
        return max(0.0, min(due)) if due else None

    def preparable(self) -> tuple[str, ...]:
        """Returns the operators whose containers may be created now, before their turn."""
        if self.ending is not None or not self.running:
            return ()
        placed = self._placed()
        return tuple(
            name
            for name in preparable(self.pipeline, self.statuses(), placed, self.demands.operators)
            if name not in self.prepared and name not in self.delays and name not in self.fetching
        )

    def attempts(self) -> dict[str, int]:
        """Returns, per operator, the attempt that its readers use: the last, or a prepared one."""
        return {name: record.attempt for name, record in self.operators.items()} | self._placed()

    def _placed(self) -> dict[str, int]:
        executions = {name: r.execution for name, r in self.running.items()} | self.prepared
        return {
            name: attempt
            for name, execution in executions.items()
            if (attempt := execution.placed) is not None
        }

    def end_operators(self) -> None:
        """Asks all running operators to stop; the task of each carries that out."""
        for running in self.running.values():
            running.execution.end()

    def verdict(self) -> JobStatus | None:
        """Returns the final status once nothing runs and nothing can start; else None."""
        if self.running or self.service_task or self.fetching:
            return None
        return verdict(self.statuses(), self.ending)

    def _delay(self, record: OperatorRecord) -> None:
        if record.not_before is None:
            self.delays.pop(record.name, None)
            return
        operator = self.pipeline.operator(record.name)
        assert operator is not None, "it is one of the pipeline's"
        # The wall clock may have been set in the meantime: never wait longer than the backoff
        # itself.
        most = operator.retry.backoff << record.retries if operator.retry else 0
        left = min(max(0.0, record.not_before - self.clock.now()), float(most))
        self.delays[record.name] = self.clock.elapsed() + left
