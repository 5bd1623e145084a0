"""Which operator starts next. Pure: what waits, what is held and what there is go in.

IMMEDIATE goes first, then operators of jobs that run already, then the higher class, then the order
of Start. An operator reserves cores only where its definition says so. A job takes its GPUs when
its first GPU operator starts and gives them back after its last; its own operators take turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from claraedge.jobs.model import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the device has."""

    operators: int
    cores: int
    gpus: tuple[str, ...] = ()
    """CDI names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What running operators hold."""

    operators: int = 0
    cores: int = 0
    leases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """job -> the GPUs that it has taken."""
    gpus_in_use: frozenset[str] = frozenset()
    """GPUs that a running operator uses at this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An operator whose inputs are ready."""

    job: str
    operator: str
    priority: Priority
    position: int
    """Of the job in the order of Start."""
    job_runs: bool
    cpu: int | None = None
    gpu: int = 0
    """GPUs that this operator asks for."""
    job_gpus: int = 0
    """The most that an operator of its job asks for: the job's lease."""

    @property
    def rank(self) -> tuple[bool, bool, int, int]:
        return (
            self.priority is not Priority.IMMEDIATE,
            not self.job_runs,
            -self.priority,
            self.position,
        )


def obstacle(candidate: Candidate, capacity: Capacity, held: Held) -> str | None:
    """What a candidate waits for, in words for its user; None: it may start."""
    if held.operators >= capacity.operators:
        return f"all {capacity.operators} operator slots are taken"
    cpu = min(candidate.cpu or 0, capacity.cores)  # more than there is means all there is
    if cpu and held.cores + cpu > capacity.cores:
        return f"{cpu} cores; {capacity.cores - held.cores} of {capacity.cores} are free"
    if candidate.gpu == 0:
        return None
    if not capacity.gpus:
        return "no GPU present"
    lease = held.leases.get(candidate.job)
    if lease is None:
        free = len(_unleased(capacity, held))
        if candidate.job_gpus > free:
            return f"{candidate.job_gpus} GPUs; {free} of {len(capacity.gpus)} are free"
    elif candidate.gpu > len([gpu for gpu in lease if gpu not in held.gpus_in_use]):
        return "the GPU, which another operator of this job uses"
    return None


def grant(
    candidate: Candidate, capacity: Capacity, held: Held
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the job's lease, the GPUs for this operator) of a candidate without obstacle."""
    if candidate.gpu == 0:
        return held.leases.get(candidate.job, ()), ()
    lease = held.leases.get(candidate.job) or _unleased(capacity, held)[: candidate.job_gpus]
    free = [gpu for gpu in lease if gpu not in held.gpus_in_use]
    return lease, tuple(free[: candidate.gpu])


def choose(candidates: Iterable[Candidate], capacity: Capacity, held: Held) -> Candidate | None:
    """The candidate that starts now, or None where each one waits."""
    return min(
        (c for c in candidates if obstacle(c, capacity, held) is None),
        key=lambda c: c.rank,
        default=None,
    )


def _unleased(capacity: Capacity, held: Held) -> tuple[str, ...]:
    taken = {gpu for lease in held.leases.values() for gpu in lease}
    return tuple(gpu for gpu in capacity.gpus if gpu not in taken)
