"""Chooses the operator that starts next, among the waiting ones, by the free resources."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from claraedge.blocking import in_thread
from claraedge.clock import Clock
from claraedge.jobs.scheduling.admission import decide, obstacle, value_turn
from claraedge.jobs.scheduling.budget import Candidate, Capacity, Usage
from claraedge.jobs.scheduling.gpu_leases import grant
from claraedge.jobs.scheduling.overtaking import OVERTAKEN, Overtaking, may_reserve, overtaken
from claraedge.jobs.scheduling.turns import Turns


async def _none() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The resources of this device for operators."""

    operators: int
    """Number of operators that may run at once."""
    cores: int
    memory: int | None
    """Megabytes; None: memory is not limited."""
    gpus: Callable[[], tuple[str, ...]]
    """Returns the CDI names of the GPUs; may block."""
    gpu_faults: Callable[[], Awaitable[Mapping[str, str]]] = _none
    """Returns, per CDI name, why that GPU cannot be used; it may contain other names."""
    gpu_memory: Callable[[], int | None] = lambda: None
    """Returns the megabytes of each GPU, or None if unknown; may block."""
    unified: bool = False
    """Whether GPU memory is part of the system memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The choice of one scheduling step."""

    candidate: Candidate | None
    """The operator that starts; None: all of them wait."""
    lease: tuple[str, ...] = ()
    """The GPUs that are leased to its job from now on."""
    gpus: tuple[str, ...] = ()
    """Those of the lease, or the shared GPU, that the operator is given."""
    idle_memory: int = 0
    """Megabytes that unused services have to release."""
    wanted: frozenset[str] = frozenset()
    """Keys of services that are about to be used, and so must not end."""


class Scheduler:
    """Tracks turns and overtaking; usage and waiting operators are passed in each time."""

    def __init__(self, resources: Resources, clock: Clock) -> None:
        self._resources = resources
        self._clock = clock
        self._turns = Turns()
        self._overtaking = Overtaking()
        self._capacity = Capacity(
            operators=resources.operators,
            cores=resources.cores,
            memory=resources.memory,
            unified=resources.unified,
        )

    @property
    def capacity(self) -> Capacity:
        """The capacity as of the last `read_capacity`."""
        return self._capacity

    def soonest(self) -> float | None:
        """Returns the seconds until an overtaken operator gets a reservation; None: none is due."""
        if not self._overtaking.since or self._overtaking.reserved is not None:
            return None
        first = min(self._overtaking.since.values())
        return max(0.0, first + OVERTAKEN - self._clock.elapsed())

    async def read_capacity(self, candidates: Iterable[Candidate], *, gpus_wanted: bool) -> None:
        """Reads the capacity; detects GPUs only if a candidate needs one, or `gpus_wanted`."""
        gpus: tuple[str, ...] = ()
        faults: Mapping[str, str] = {}
        memory: int | None = None
        if gpus_wanted or any(c.wants_gpu for c in candidates):
            faults = await self._resources.gpu_faults()
            seen = await in_thread(self._resources.gpus)
            gpus = tuple(gpu for gpu in seen if gpu not in faults)
            memory = await in_thread(self._resources.gpu_memory) if gpus else None
        self._capacity = Capacity(
            operators=self._resources.operators,
            cores=self._resources.cores,
            memory=self._resources.memory,
            gpus=gpus,
            gpu_faults=tuple(dict.fromkeys(faults.values())),
            gpu_memory=self._resources.memory if self._resources.unified else memory,
            unified=self._resources.unified,
        )

    def choose(self, candidates: Collection[Candidate], usage: Usage) -> Choice:
        """Chooses what starts now, among all waiting operators."""
        capacity = self._capacity
        waiting = {c.who: c for c in candidates if may_reserve(c, capacity, usage)}
        blocked = (c.who for c in overtaken(candidates, capacity, usage))
        self._overtaking = self._overtaking.after(blocked, waiting, self._clock.elapsed())
        who = self._overtaking.reserved
        found = decide(
            candidates,
            capacity,
            usage,
            classes=self._turns.order({c.priority for c in candidates}),
            reserved=None if who is None else waiting[who],
        )
        chosen = found.candidate
        lease, gpus = ((), ()) if chosen is None else grant(chosen, capacity, usage)
        if chosen is not None and chosen.queued:
            self._turns = self._turns.taken(chosen.priority)
        return Choice(
            candidate=chosen,
            lease=lease,
            gpus=gpus,
            idle_memory=found.idle_memory,
            wanted=found.wanted,
        )

    def value_turn(self, candidates: Sequence[Candidate], usage: Usage) -> str | None:
        """Returns the job whose turn it is to reserve memory for values; None: no one's."""
        return value_turn(candidates, self._capacity, usage)

    def waits_for(self, candidates: Sequence[Candidate], usage: Usage) -> Mapping[str, str]:
        """Returns, per operator of a job, what it waits for, as text."""
        return {
            c.operator: obstacle(c, self._capacity, usage) or "its turn: others go before it"
            for c in candidates
        }
