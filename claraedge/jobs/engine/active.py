"""A job whose operators may run, as the engine holds it in memory."""

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
from claraedge.jobs.scheduling.queue import Lane
from claraedge.jobs.transitions import preparable, ready, verdict
from claraedge.pipelines import requests
from claraedge.pipelines.model import Operator, Pipeline, decode
from claraedge.pipelines.registration import is_registration
from claraedge.services.model import Lease, uses_services

_OVER = (OperatorStatus.COMPLETED, OperatorStatus.FAULTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An operator that a task works on, and what it holds."""

    execution: Execution
    candidate: Candidate
    """What it was admitted as."""
    gpus: tuple[str, ...]


@dataclass(slots=True)
class ActiveJob:
    """A started job that has not stopped."""

    job: Job
    pipeline: Pipeline
    operators: dict[str, OperatorRecord]
    ending: JobStatus | None
    """How it is to end: nothing of it is started any more. None: it goes on."""
    lookups: Lookups
    clock: Clock
    run_time: RunTime
    profile: requests.Profile
    demand: Callable[[Pipeline], Demands]
    demands: Demands
    taken: bool = False
    """Its turn has come, and it left the queue."""
    running: dict[str, Running] = field(default_factory=dict)
    prepared: dict[str, Execution] = field(default_factory=dict)
    """Operators whose containers are made ahead of their turn."""
    fetching: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """Operators whose images are pulled, which they wait for."""
    lease: tuple[str, ...] = ()
    """The GPUs that the job has taken, from its first GPU operator to the end of its last."""
    refused: int | None = None
    """Where it waits for room in shared memory: the count of releases when it was told to."""
    delays: dict[str, float] = field(default_factory=dict)
    """Operators that are run again -> BOOTTIME before which they are not."""
    beside: Lease | None = None
    """The services and models that it uses; None: they are not there yet."""
    serving: asyncio.Task[None] | None = None
    """Sees to those."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(
        cls,
        job: Job,
        images: Images,
        clock: Clock,
        profile: requests.Profile,
        demand: Callable[[Pipeline], Demands],
    ) -> Self:
        """A job as it is recorded. `demand`: what a job of a pipeline asks for."""
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
            profile=profile,
            demand=demand,
            demands=demand(pipeline),
            beside=None if uses_services(pipeline) else Lease(job=job.id),
        )
        for record in job.operators:
            active._delay(record)
        return active

    def note(self, record: OperatorRecord) -> None:
        """An operator's record has changed, and that is committed."""
        self.operators[record.name] = record
        self._delay(record)
        now = self.clock.elapsed()
        if any(o.status is OperatorStatus.RUNNING for o in self.operators.values()):
            self.run_time = self.run_time.begun(now)
        else:
            self.run_time = self.run_time.ended(now, others=False)

    def fill(self, operator: Operator) -> None:
        """An operator is known as its image says."""
        self.pipeline = self.pipeline.with_operator(operator)
        self.demands = self.demand(self.pipeline)

    def end(self, status: JobStatus) -> None:
        """It is to end so, where its end is not decided yet; what runs of it is stopped."""
        if self.ending is None:
            self.ending = status
        if self.serving is not None and self.serving is not asyncio.current_task():
            self.serving.cancel()
        for task in self.fetching.values():
            task.cancel()
        self.end_operators()

    def lease_beside(self) -> Lease:
        """The services and models; RunnerUnavailableError where they are not back after a break."""
        if self.beside is None:
            raise RunnerUnavailableError(f"the services of the job {self.job.id} are not back yet")
        return self.beside

    @property
    def began(self) -> bool:
        """Its turn has come: an operator of it ran, or runs, or what it needs is seen to."""
        served = self.beside is not None and self.beside.network is not None
        return (
            self.taken
            or bool(self.running)
            or served
            or any(
                o.status is not OperatorStatus.PENDING or o.attempt for o in self.operators.values()
            )
        )

    def lane(self, pulled: Collection[str]) -> Lane:
        """What it may wait for. `pulled`: references of images on their way."""
        image = ""
        if pulled:
            left = (name for name, record in self.operators.items() if record.status not in _OVER)
            image = next((i for i in map(self.reference, left) if i in pulled), "")
        demands = self.demands
        return Lane(gpus=demands.devices, served=bool(demands.services), image=image)

    def reference(self, name: str) -> str:
        """The image of an operator."""
        operator = self.pipeline.operator(name)
        assert operator is not None, "it is one of the pipeline's"
        return operator.container.reference

    @property
    def uses_gpu(self) -> bool:
        """Between the start of its first GPU operator and the end of its last."""
        using = [o.name for o in self.pipeline.operators if requests.gpus(o)]
        statuses = [self.operators[name].status for name in using]
        begun = any(status is not OperatorStatus.PENDING for status in statuses)
        return begun and any(status not in _OVER for status in statuses)

    def statuses(self) -> dict[str, OperatorStatus]:
        """Statuses for decisions: an operator that a task works on counts as running."""
        return {
            name: OperatorStatus.RUNNING if name in self.running else record.status
            for name, record in self.operators.items()
        }

    def unattended(self) -> list[OperatorRecord]:
        """Operators that are recorded as running and that no task works on."""
        return [
            record
            for record in self.operators.values()
            if record.status is OperatorStatus.RUNNING and record.name not in self.running
        ]

    def candidates(self) -> Iterable[Candidate]:
        """Its operators whose inputs are ready; none where it is to end, or waits for services."""
        if self.ending is not None or self.serving is not None:
            return
        now = self.clock.elapsed()
        for name in ready(self.pipeline, self.statuses()):
            if self.delays.get(name, now) <= now and name not in self.fetching:
                yield self.candidate(name)

    def candidate(self, name: str) -> Candidate:
        """What an operator asks for."""
        assert self.job.queue_position is not None, "it was started"
        operator = self.pipeline.operator(name)
        assert operator is not None, "it is one of the pipeline's"
        alone = is_registration(operator)
        return Candidate(
            job=self.job.id,
            operator=name,
            priority=self.job.priority,
            position=self.job.queue_position,
            job_runs=self.began,
            slot=not alone,
            cpu=requests.cores(operator),
            memory=0 if alone else requests.memory(operator.requests, self.profile).reserved,
            services=self.demands.services,
            largest=self.demands.largest,
            gpu=requests.gpus(operator),
            job_gpus=self.demands.gpus,
            gpu_memory=0 if alone else operator.requests.gpu_memory or 0,
            gpu_beside=self.demands.gpu_beside and self.beside is None,
        )

    def soonest(self, limit: float) -> float | None:
        """Seconds until something of it is due: a retry, or its end after `limit` seconds."""
        if self.ending is not None:
            return None
        now = self.clock.elapsed()
        due = [at - now for at in self.delays.values() if at > now]
        if self.run_time.since is not None:
            due.append(limit - self.run_time.elapsed(now))
        return max(0.0, min(due)) if due else None

    def preparable(self) -> tuple[str, ...]:
        """Operators whose containers may be made now, ahead of their turn."""
        if self.ending is not None or not self.running:
            return ()
        placed = self._placed()
        return tuple(
            name
            for name in preparable(self.pipeline, self.statuses(), placed)
            if name not in self.prepared and name not in self.delays and name not in self.fetching
        )

    def attempts(self) -> dict[str, int]:
        """Operator -> the attempt that those who read from it find: its last, or the one made."""
        return {name: record.attempt for name, record in self.operators.items()} | self._placed()

    def _placed(self) -> dict[str, int]:
        executions = {name: r.execution for name, r in self.running.items()} | self.prepared
        return {
            name: attempt
            for name, execution in executions.items()
            if (attempt := execution.placed) is not None
        }

    def end_operators(self) -> None:
        """Stops what runs; each operator's own task sees to it."""
        for running in self.running.values():
            running.execution.end()

    def verdict(self) -> JobStatus | None:
        """How it ends, where nothing of it runs any more and nothing can start."""
        if self.running or self.serving or self.fetching:
            return None
        return verdict(self.statuses(), self.ending)

    def _delay(self, record: OperatorRecord) -> None:
        if record.not_before is None:
            self.delays.pop(record.name, None)
            return
        operator = self.pipeline.operator(record.name)
        assert operator is not None, "it is one of the pipeline's"
        # The wall clock may have been set meanwhile: never longer than the backoff itself.
        most = operator.retry.backoff << record.retries if operator.retry else 0
        left = min(max(0.0, record.not_before - self.clock.now()), float(most))
        self.delays[record.name] = self.clock.elapsed() + left
