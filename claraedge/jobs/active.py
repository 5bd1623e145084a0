"""A job whose operators may run, as the engine holds it in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from claraedge.images.images import Images
from claraedge.jobs.admission import Candidate
from claraedge.jobs.execution import Execution
from claraedge.jobs.lookups import Lookups
from claraedge.jobs.model import Job, JobStatus, OperatorRecord, OperatorStatus
from claraedge.jobs.transitions import preparable, ready, verdict
from claraedge.pipelines.model import Pipeline, decode
from claraedge.pipelines.registration import is_registration
from claraedge.pipelines.requests import cores, gpus

_OVER = (OperatorStatus.COMPLETED, OperatorStatus.FAULTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An operator that a task works on, and what it holds."""

    execution: Execution
    cores: int
    gpus: tuple[str, ...]
    slot: bool
    """Whether it is one of the operators that may run at once: what runs here alone is not."""


@dataclass(slots=True)
class ActiveJob:
    """A started job that has not stopped."""

    job: Job
    pipeline: Pipeline
    operators: dict[str, OperatorRecord]
    cancelled: bool
    faulted: bool
    lookups: Lookups
    running: dict[str, Running] = field(default_factory=dict)
    prepared: dict[str, Execution] = field(default_factory=dict)
    """Operators whose containers are made ahead of their turn."""
    lease: tuple[str, ...] = ()
    """The GPUs that the job has taken, from its first GPU operator to the end of its last."""
    refused: int | None = None
    """Where it waits for room in shared memory: the count of releases when it was told to."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, job: Job, images: Images) -> Self:
        """A job as it is recorded."""
        assert job.snapshot is not None, "a started job has its snapshot"
        pipeline = decode(job.snapshot)
        return cls(
            job,
            pipeline,
            {operator.name: operator for operator in job.operators},
            lookups=Lookups(images, pipeline.pull_secrets),
            cancelled=job.cancel_reason is not None,
            faulted=any(o.status is OperatorStatus.FAULTED for o in job.operators),
        )

    @property
    def ending(self) -> bool:
        """Nothing of it is started any more."""
        return self.cancelled or self.faulted

    @property
    def began(self) -> bool:
        """An operator of it ran, or runs."""
        return bool(self.running) or any(
            o.status is not OperatorStatus.PENDING for o in self.operators.values()
        )

    @property
    def gpus_asked(self) -> int:
        """The most GPUs that one of its operators asks for."""
        return max(gpus(o) for o in self.pipeline.operators)

    @property
    def uses_gpu(self) -> bool:
        """Between the start of its first GPU operator and the end of its last."""
        statuses = [self.operators[o.name].status for o in self.pipeline.operators if gpus(o)]
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
        """Its operators whose inputs are ready; none where it is to end."""
        if self.ending:
            return
        assert self.job.queue_position is not None
        for name in ready(self.pipeline, self.statuses()):
            operator = self.pipeline.operator(name)
            assert operator is not None
            yield Candidate(
                job=self.job.id,
                operator=name,
                priority=self.job.priority,
                position=self.job.queue_position,
                job_runs=self.began,
                slot=not is_registration(operator),
                cpu=cores(operator),
                gpu=gpus(operator),
                job_gpus=self.gpus_asked,
            )

    def preparable(self) -> tuple[str, ...]:
        """Operators whose containers may be made now, ahead of their turn."""
        if self.ending or not self.running:
            return ()
        statuses = self.statuses()
        return tuple(
            name
            for name in preparable(self.pipeline, statuses, self._placed())
            if name not in self.prepared
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
        if self.running:
            return None
        return verdict(self.statuses(), cancelled=self.cancelled, faulted=self.faulted)
