"""Which operator starts next. Pure: what waits, what is held and what there is go in.

IMMEDIATE goes first, then operators of jobs that run already, then the classes by their turns, each
in the order of Start. An operator reserves cores only where its definition says so. A job takes its
whole GPUs when its first GPU operator starts and gives them back after its last; its own operators
take turns. Operators that ask for GPU memory share a device that nobody has taken whole.

Nothing waits while it holds what another waits for: a job takes all of its GPUs at once, and all
else is held by operators that run and end.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from claraedge.jobs.model import Priority

NO_GPU = "no GPU present"
#: A job that cannot start is overtaken for so many seconds; then what it waits for is kept for it.
OVERTAKEN = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the device has."""

    operators: int
    cores: int
    memory: int | None = None
    """Megabytes; None: nobody counts."""
    gpus: tuple[str, ...] = ()
    """CDI names."""
    gpu_memory: int | None = None
    """Megabytes of each GPU; None: unknown, so it is not shared."""
    unified: bool = False
    """GPU memory is system memory (Jetson): one budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What running operators hold."""

    operators: int = 0
    cores: int = 0
    memory: int = 0
    """Megabytes; on a unified device GPU memory is in it."""
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
    gpu: int = 0
    """GPUs that this operator asks for."""
    job_gpus: int = 0
    """The most that an operator of its job asks for: the job's lease."""
    gpu_memory: int = 0
    """Megabytes of one GPU, shared with others."""

    @property
    def queued(self) -> bool:
        """It would start a job that does not run yet, and that waits in a class."""
        return not self.job_runs and self.priority is not Priority.IMMEDIATE


def obstacle(candidate: Candidate, capacity: Capacity, held: Held) -> str | None:
    """What a candidate waits for, in words for its user; None: it may start."""
    if candidate.slot and held.operators >= capacity.operators:
        return f"all {capacity.operators} operator slots are taken"
    cpu = min(candidate.cpu, capacity.cores)  # more than there is means all there is
    if cpu and held.cores + cpu > capacity.cores:
        return f"{cpu} cores; {capacity.cores - held.cores} of {capacity.cores} are free"
    if capacity.memory is not None:
        memory = min(_memory(candidate, capacity), capacity.memory)
        if memory and held.memory + memory > capacity.memory:
            free = max(0, capacity.memory - held.memory)
            return f"{memory} MB of memory; {free} of {capacity.memory} are free"
    if not candidate.gpu and not candidate.gpu_memory:
        return None
    if not capacity.gpus:
        return NO_GPU
    return _gpu_obstacle(candidate, capacity, held)


def _gpu_obstacle(candidate: Candidate, capacity: Capacity, held: Held) -> str | None:
    lease = held.leases.get(candidate.job)
    if candidate.gpu_memory:
        if _shared(candidate, capacity, held) is not None:
            return None
        state = _shared_state(candidate.job, capacity, held)
        return f"{candidate.gpu_memory} MB of GPU memory; {state}"
    if lease is None:
        free = len(_unleased(candidate.job, capacity, held))
        if candidate.job_gpus > free:
            return f"{candidate.job_gpus} GPUs; {free} of {len(capacity.gpus)} are free"
    elif candidate.gpu > len(_idle(lease, held)):
        return "the GPU, which another operator of this job uses"
    return None


def grant(
    candidate: Candidate, capacity: Capacity, held: Held
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the job's lease, the GPUs for this operator) of a candidate without obstacle."""
    lease = held.leases.get(candidate.job, ())
    if candidate.gpu_memory:
        device = _shared(candidate, capacity, held)
        return lease, () if device is None else (device,)
    if candidate.gpu == 0:
        return lease, ()
    lease = lease or _unleased(candidate.job, capacity, held)[: candidate.job_gpus]
    return lease, _idle(lease, held)[: candidate.gpu]


def choose(
    candidates: Iterable[Candidate],
    capacity: Capacity,
    held: Held,
    *,
    classes: Sequence[Priority] = tuple(reversed(Priority)),
    reserved: Candidate | None = None,
) -> Candidate | None:
    """The candidate that starts now, or None where each one waits.

    `classes`: the classes in the order of their turns. `reserved`: the queued candidate that was
    overtaken for long enough; no other job starts on what it waits for.
    """
    first = None if reserved is None else reserved.job
    ranked = sorted(candidates, key=lambda c: (c.queued and c.job != first, *_rank(c, classes)))
    kept = held if reserved is None else _with(reserved, capacity, held)
    immediate_waits = False
    for candidate in ranked:
        if candidate.queued and immediate_waits:
            continue
        others = candidate.queued and reserved is not None and candidate.job != reserved.job
        waits_for = obstacle(candidate, capacity, kept if others else held)
        if waits_for is None:
            return candidate
        if candidate.priority is Priority.IMMEDIATE and not candidate.job_runs:
            # Its queue has to be empty before any other job starts (Clara 0.8.1).
            immediate_waits = immediate_waits or waits_for != NO_GPU
    return None


def _rank(candidate: Candidate, classes: Sequence[Priority]) -> tuple[bool, bool, int, int, int]:
    """The order in which candidates are looked at, smallest first."""
    turn = 0 if candidate.job_runs else classes.index(candidate.priority)
    return (
        candidate.priority is not Priority.IMMEDIATE,
        not candidate.job_runs,
        turn,
        -candidate.priority,
        candidate.position,
    )


def overtaken(
    candidates: Iterable[Candidate], capacity: Capacity, held: Held
) -> Sequence[Candidate]:
    """Of each class the first that something else holds up, so that later ones pass it."""
    found: dict[Priority, Candidate] = {}
    for candidate in sorted((c for c in candidates if c.queued), key=lambda c: c.position):
        if candidate.priority not in found:
            waits_for = obstacle(candidate, capacity, held)
            if waits_for is not None and waits_for != NO_GPU:
                found[candidate.priority] = candidate
    return tuple(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaking:
    """Which jobs were passed over since when, and for which one everything is kept now."""

    since: Mapping[str, float] = field(default_factory=dict)
    reserved: str | None = None
    """It keeps this until it starts."""

    def after(
        self,
        blocked: Iterable[str],
        waiting: Container[str],
        now: float,
        patience: float = OVERTAKEN,
    ) -> Overtaking:
        """What follows from what `overtaken` found; `waiting`: the jobs that are queued still."""
        reserved = self.reserved if self.reserved in waiting else None
        since = {job: self.since.get(job, now) for job in blocked}
        if reserved is None:
            old = [job for job, start in since.items() if now - start >= patience]
            reserved = min(old, key=since.__getitem__, default=None)
        return Overtaking(since=since, reserved=reserved)


def _with(reserved: Candidate, capacity: Capacity, held: Held) -> Held:
    """What is held, with what is kept for a candidate that waits."""
    gpu_memory = dict(held.gpu_memory)
    leases = dict(held.leases)
    if reserved.job_gpus and reserved.job not in leases:
        leases[reserved.job] = _unleased(reserved.job, capacity, held)[: reserved.job_gpus]
    if reserved.gpu_memory:
        # On the device where the least is taken, which is where it will fit first.
        free = [gpu for gpu in capacity.gpus if not _leased(gpu, reserved.job, held)]
        if free:
            device = min(free, key=lambda gpu: gpu_memory.get(gpu, 0))
            gpu_memory[device] = gpu_memory.get(device, 0) + reserved.gpu_memory
    return replace(
        held,
        operators=held.operators + 1,
        cores=held.cores + min(reserved.cpu or 0, capacity.cores),
        memory=held.memory + _memory(reserved, capacity),
        leases=leases,
        gpu_memory=gpu_memory,
    )


def _memory(candidate: Candidate, capacity: Capacity) -> int:
    return candidate.memory + (candidate.gpu_memory if capacity.unified else 0)


def _shared(candidate: Candidate, capacity: Capacity, held: Held) -> str | None:
    """The device whose memory a candidate may share: the fullest that it fits on."""
    lease = held.leases.get(candidate.job, ())
    fitting = [
        gpu
        for gpu in capacity.gpus
        if (gpu in lease or not _leased(gpu, candidate.job, held))
        and gpu not in held.gpus_in_use
        and _fits(candidate.gpu_memory, held.gpu_memory.get(gpu, 0), capacity.gpu_memory)
    ]
    return max(fitting, key=lambda gpu: held.gpu_memory.get(gpu, 0), default=None)


def _fits(asked: int, taken: int, whole: int | None) -> bool:
    return taken == 0 if whole is None else taken + min(asked, whole) <= whole


def _shared_state(job: str, capacity: Capacity, held: Held) -> str:
    if capacity.gpu_memory is None:
        return "the size of the GPU's memory is unknown, so it is not shared"
    free = max(
        (
            capacity.gpu_memory - held.gpu_memory.get(g, 0)
            for g in capacity.gpus
            if not _leased(g, job, held)
        ),
        default=0,
    )
    return f"{free} of {capacity.gpu_memory} are free"


def _unleased(job: str, capacity: Capacity, held: Held) -> tuple[str, ...]:
    """GPUs that a job may take whole: nobody's, and shared by nobody."""
    return tuple(
        gpu for gpu in capacity.gpus if not _leased(gpu, job, held) and not held.gpu_memory.get(gpu)
    )


def _leased(gpu: str, job: str, held: Held) -> bool:
    """Whether others have this GPU whole, or what runs beside them and not beside this job."""
    if gpu in held.beside and job not in held.beside_users:
        return True
    return any(gpu in lease for lease in held.leases.values())


def _idle(lease: Sequence[str], held: Held) -> tuple[str, ...]:
    return tuple(
        gpu for gpu in lease if gpu not in held.gpus_in_use and not held.gpu_memory.get(gpu)
    )
