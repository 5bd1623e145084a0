"""What the device has, what is held of it, and what an operator asks for. Pure.

Nothing waits while it holds what another waits for: a job takes all of its GPUs at once; services
and the inference server of a job are only begun where they leave room for the largest operator of
every job that uses some; and all else is held by operators that run and end.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace

from claraedge.jobs.model import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the device has."""

    operators: int
    cores: int
    memory: int | None = None
    """Megabytes; None: nobody counts."""
    gpus: tuple[str, ...] = ()
    """CDI names of those that can be used."""
    gpu_faults: tuple[str, ...] = ()
    """Why others cannot be used, one text for each."""
    gpu_memory: int | None = None
    """Megabytes of each GPU; None: unknown, so it is not shared."""
    unified: bool = False
    """GPU memory is system memory (Jetson): one budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What running operators hold, and what runs beside jobs."""

    operators: int = 0
    cores: int = 0
    """Of operators that reserve some."""
    cores_beside: int = 0
    """Of services that reserve some, while jobs use them."""
    memory: int = 0
    """Megabytes of operators; on a unified device GPU memory is in it."""
    services: Mapping[str, int] = field(default_factory=dict)
    """Key of a service or of the inference server that jobs use -> megabytes."""
    service_users: frozenset[str] = frozenset()
    """Those jobs."""
    largest: int = 0
    """Megabytes of the largest operator of those jobs: one has to fit beside all services."""
    idle: Mapping[str, int] = field(default_factory=dict)
    """The same of those that no job uses: they end where their memory is needed."""
    leases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """job -> the GPUs that it has taken."""
    gpus_in_use: frozenset[str] = frozenset()
    """GPUs that a running operator uses whole at this moment."""
    beside: frozenset[str] = frozenset()
    """GPUs of services and of the inference server, while jobs use them."""
    beside_users: frozenset[str] = frozenset()
    """The jobs that use those, and share the GPUs with them."""
    gpu_memory: Mapping[str, int] = field(default_factory=dict)
    """GPU -> megabytes that running operators share it by."""

    def without_idle(self, wanted: Container[str]) -> Held:
        """Once all have ended that nobody uses, but for these."""
        return replace(self, idle={k: size for k, size in self.idle.items() if k in wanted})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An operator whose inputs are ready."""

    job: str
    operator: str
    priority: Priority
    position: int
    """Of the job in the order of Start."""
    job_runs: bool
    slot: bool = True
    """Whether it counts as one of the operators that run at once."""
    cpu: int = 0
    """Cores that are reserved for it."""
    memory: int = 0
    """Megabytes that are kept for it."""
    services: Mapping[str, int] = field(default_factory=dict)
    """Key of each service that its job needs, and of the inference server -> megabytes."""
    largest: int = 0
    """Megabytes of the largest operator of its job; on a unified device with GPU memory."""
    gpu: int = 0
    """GPUs that this operator asks for."""
    job_gpus: int = 0
    """The most that an operator of its job asks for: the job's lease."""
    gpu_memory: int = 0
    """Megabytes of one GPU, shared with others."""
    gpu_beside: bool = False
    """What has to run next to its job, and does not yet, asks for a GPU."""

    @property
    def wants_gpu(self) -> bool:
        """Whether GPUs matter for its start."""
        return bool(self.gpu or self.gpu_memory or self.gpu_beside)

    @property
    def queued(self) -> bool:
        """It would start a job that does not run yet, and that waits in a class."""
        return not self.job_runs and self.priority is not Priority.IMMEDIATE

    @property
    def who(self) -> tuple[str, str]:
        """(job, operator)."""
        return self.job, self.operator


def memory_obstacle(candidate: Candidate, capacity: Capacity, held: Held) -> str | None:
    """What memory a candidate waits for, in words; None: there is enough.

    A job that has the device to itself always has enough: there is nothing to wait for.
    """
    whole = capacity.memory
    if whole is None:
        return None
    growth, asked = _growth(candidate, held), memory_of(candidate, capacity)
    used = sum(held.services.values())
    has_its_services = candidate.job in held.service_users
    if candidate.services and used and not has_its_services:
        largest = max(held.largest, candidate.largest)
        if used + growth + largest > whole:
            # All that use services would wait for each other at their largest operators.
            return (
                f"{growth + largest} MB of memory for its services and their largest operator;"
                f" {max(0, whole - used)} of {whole} are not held by services of other jobs"
            )
    wanted = min(growth + asked, whole)
    if not wanted:
        return None
    taken = held.memory + used
    if has_its_services and not held.memory:
        taken = min(taken, whole - wanted)  # no operator runs that could give any back
    idle = sum(size for key, size in held.idle.items() if key not in candidate.services)
    if taken + idle + wanted <= whole:
        return None
    free = max(0, whole - taken - idle)
    text = f"{wanted} MB of memory; {free} of {whole} are free"
    return f"{text}, services hold {used + idle}" if used + idle else text


def idle_to_end(held: Held, capacity: Capacity) -> int:
    """Megabytes of idle services that have to be given back, so that all that is held fits."""
    if capacity.memory is None:
        return 0
    idle = sum(held.idle.values())
    taken = min(held.memory + sum(held.services.values()), capacity.memory)
    return max(0, taken + idle - capacity.memory) if idle else 0


def with_memory(candidate: Candidate, capacity: Capacity, held: Held) -> Held:
    """What is held once a candidate has the memory that it waits for."""
    services = dict(held.services)
    for key, size in candidate.services.items():
        services[key] = max(size, services.get(key, 0), held.idle.get(key, 0))
    return replace(
        held,
        memory=held.memory + memory_of(candidate, capacity),
        services=services,
        service_users=held.service_users | ({candidate.job} if candidate.services else frozenset()),
        largest=max(held.largest, candidate.largest if candidate.services else 0),
        idle={key: size for key, size in held.idle.items() if key not in candidate.services},
    )


def memory_of(candidate: Candidate, capacity: Capacity) -> int:
    """Megabytes of system memory that a candidate asks for itself."""
    return candidate.memory + (candidate.gpu_memory if capacity.unified else 0)


def _growth(candidate: Candidate, held: Held) -> int:
    """Megabytes of what would be begun beside its job, or used by a job for the first time."""
    return sum(
        max(0, max(size, held.idle.get(key, 0)) - held.services.get(key, 0))
        for key, size in candidate.services.items()
    )
