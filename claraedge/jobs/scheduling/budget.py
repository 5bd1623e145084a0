"""Capacity of the device, its usage, and the requests of operators. Pure.

Deadlocks are excluded, because nothing waits while it occupies what another waits for: a job
reserves the memory of its values when it waits for nothing else, and before its services start; it
leases all of its GPUs at once; services and the inference server of a job only start if they leave
memory for the largest operator of every job that uses services; everything else is occupied by
operators that run and end.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace

from claraedge.jobs.model import Priority
from claraedge.pipelines.requests import OperatorRequests
from claraedge.supervised.allocations import Allocated


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The resources of the device."""

    operators: int
    cores: int
    memory: int | None = None
    """Megabytes; None: memory is not limited."""
    gpus: tuple[str, ...] = ()
    """CDI names of the usable GPUs."""
    gpu_faults: tuple[str, ...] = ()
    """Why other GPUs cannot be used, one text each."""
    gpu_memory: int | None = None
    """Megabytes per GPU; None: unknown, so GPUs are not shared."""
    unified: bool = False
    """Whether GPU memory is system memory (Jetson), so that both share one budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueSpace:
    """The tmpfs with the values that operators pass in shared memory, in bytes."""

    total: int
    free: int
    promised: Mapping[str, int]
    """Job that has reserved memory for its values -> the bytes that they do not occupy yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The usage: resources of running operators, and of services and the inference server."""

    operators: int = 0
    cores: int = 0
    """Cores that operators reserve."""
    service_cores: int = 0
    """Cores that services reserve while jobs use them."""
    memory: int = 0
    """Megabytes of operators; on a unified device including GPU memory."""
    services: Mapping[str, int] = field(default_factory=dict)
    """Key of a service or of the inference server in use by jobs -> megabytes."""
    service_users: frozenset[str] = frozenset()
    """The jobs that use them."""
    largest: int = 0
    """Megabytes of the largest operator of those jobs, which must fit next to all services."""
    idle: Mapping[str, int] = field(default_factory=dict)
    """As `services`, for those that no job uses: they end when their memory is needed."""
    leases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """job -> the GPUs that are leased to it."""
    gpu_jobs: frozenset[str] = frozenset()
    """The jobs that have a lease, or an operator with a GPU."""
    gpus_in_use: frozenset[str] = frozenset()
    """GPUs that a running operator uses as a whole now."""
    service_gpus: frozenset[str] = frozenset()
    """GPUs of services and of the inference server that jobs use."""
    service_gpu_users: frozenset[str] = frozenset()
    """The jobs that use these, and share the GPUs with them."""
    gpu_memory: Mapping[str, int] = field(default_factory=dict)
    """GPU -> megabytes that running operators share of it."""
    value_space: ValueSpace | None = None
    """None: no job asks for memory of values."""
    value_turn: str | None = None
    """The job that may reserve memory of values; others that ask wait behind it."""
    begun: frozenset[str] = frozenset()
    """The jobs that have begun: they do not leave to deployments what these wait for."""
    deployments: Allocated = Allocated()  # noqa: RUF009 it is frozen
    """What deployments occupy, and what the next of them waits for."""

    def without_idle(self, wanted: Container[str]) -> Usage:
        """Returns the usage after all idle services have ended, except those in `wanted`."""
        return replace(self, idle={k: size for k, size in self.idle.items() if k in wanted})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An operator whose inputs are ready."""

    job: str
    operator: str
    priority: Priority
    position: int
    """Position of the job in the order of Start."""
    job_runs: bool
    requests: OperatorRequests
    services: Mapping[str, int] = field(default_factory=dict)
    """Key of each service and of the inference server that its job needs -> megabytes."""
    largest: int = 0
    """Megabytes of the largest operator of its job; on a unified device including GPU memory."""
    job_gpus: int = 0
    """The most whole GPUs that one operator of its job requests: the size of the job's lease."""
    services_want_gpu: bool = False
    """Whether services of its job that do not run yet request a GPU."""
    values: int = 0
    """Bytes that its job has to reserve for its values; 0: none, or it has reserved them."""

    @property
    def wants_gpu(self) -> bool:
        """Whether its start depends on GPUs."""
        return bool(self.requests.devices or self.services_want_gpu)

    @property
    def wants_value_space(self) -> bool:
        """Whether its job's turn has come, and it asks for memory of its values."""
        return bool(self.values) and self.job_runs

    @property
    def queued(self) -> bool:
        """Whether it would start a job that does not run yet, in a class other than IMMEDIATE."""
        return not self.job_runs and self.priority is not Priority.IMMEDIATE

    @property
    def who(self) -> tuple[str, str]:
        """(job, operator)."""
        return self.job, self.operator


def memory_obstacle(candidate: Candidate, capacity: Capacity, usage: Usage) -> str | None:
    """Returns the memory that a candidate waits for, as text; None: there is enough.

    A job that is alone on the device always has enough: there is nothing to wait for.
    """
    whole = capacity.memory
    if whole is None:
        return None
    kept = usage.deployments.memory_from(runs=candidate.job_runs)
    left = whole - kept
    growth = _growth(candidate, usage)
    asked = candidate.requests.system_memory(unified=capacity.unified)
    if usage.deployments.awaited_memory and not candidate.job_runs:
        asked = max(asked, candidate.largest)  # what it keeps from then on
    used = sum(usage.services.values())
    has_its_services = candidate.job in usage.service_users
    if candidate.services and used and not has_its_services:
        largest = max(usage.largest, candidate.largest)
        if used + growth + largest > left:
            # Otherwise all jobs that use services could block each other at their largest
            # operators.
            return (
                f"{growth + largest} MB of memory for its services and their largest operator;"
                f" {max(0, left - used)} of {whole} are not reserved by services of other jobs"
                f"{_by_deployments(kept)}"
            )
    wanted = min(growth + asked, whole)
    if not wanted:
        return None
    if kept and wanted > left:
        return f"{wanted} MB of memory; deployments hold {kept} of {whole}"
    taken = usage.memory + used
    if has_its_services and not usage.memory:
        taken = min(taken, left - wanted)  # no operator runs that could release memory
    idle = sum(size for key, size in usage.idle.items() if key not in candidate.services)
    if taken + idle + wanted <= left:
        return None
    free = max(0, left - taken - idle)
    text = f"{wanted} MB of memory; {free} of {whole} are free"
    text = f"{text}, services hold {used + idle}" if used + idle else text
    return text + _by_deployments(kept)


def _by_deployments(megabytes: int) -> str:
    return f", deployments hold {megabytes}" if megabytes else ""


def value_obstacle(candidate: Candidate, usage: Usage) -> str | None:
    """Returns the shared memory that a job waits for before its first operator, as text.

    None: it has it, it is free, or the job can never have it; then its operator fails. Jobs get it
    in turn (`admission.value_turn`), and keep it until they end, so none of them waits for the
    values of another one while it runs.
    """
    space = usage.value_space
    if space is None or not candidate.wants_value_space or candidate.values > space.total:
        return None
    if candidate.job == usage.value_turn:
        unpromised = space.free - sum(space.promised.values())
        if candidate.values <= unpromised or not space.promised:
            return None
    return f"{-(-candidate.values >> 20)} MB of shared memory, which other jobs hold"


def idle_to_end(usage: Usage, capacity: Capacity) -> int:
    """Returns the megabytes that idle services must release so that the usage fits."""
    if capacity.memory is None:
        return 0
    idle = sum(usage.idle.values())
    left = max(0, capacity.memory - usage.deployments.memory_from(runs=True))
    taken = min(usage.memory + sum(usage.services.values()), left)
    return max(0, taken + idle - left) if idle else 0


def with_memory(candidate: Candidate, capacity: Capacity, usage: Usage) -> Usage:
    """Returns the usage after a candidate has the memory that it waits for."""
    services = dict(usage.services)
    for key, size in candidate.services.items():
        services[key] = max(size, services.get(key, 0), usage.idle.get(key, 0))
    return replace(
        usage,
        memory=usage.memory + candidate.requests.system_memory(unified=capacity.unified),
        services=services,
        service_users=usage.service_users
        | ({candidate.job} if candidate.services else frozenset()),
        largest=max(usage.largest, candidate.largest if candidate.services else 0),
        idle={key: size for key, size in usage.idle.items() if key not in candidate.services},
    )


def _growth(candidate: Candidate, usage: Usage) -> int:
    """Returns the megabytes of services that would start for its job, or get their first user."""
    return sum(
        max(0, max(size, usage.idle.get(key, 0)) - usage.services.get(key, 0))
        for key, size in candidate.services.items()
    )
