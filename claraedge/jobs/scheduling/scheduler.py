"""Chooses the operator that starts next, from what waits and what there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from claraedge.blocking import in_thread
from claraedge.clock import Clock
from claraedge.jobs.scheduling.admission import decide, obstacle
from claraedge.jobs.scheduling.budget import Candidate, Capacity, Held
from claraedge.jobs.scheduling.gpu_leases import grant
from claraedge.jobs.scheduling.overtaking import OVERTAKEN, Overtaking, overtaken
from claraedge.jobs.scheduling.turns import Turns


async def _none() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What this device has for operators."""

    operators: int
    """That run at once."""
    cores: int
    memory: int | None
    """Megabytes; None: not counted."""
    gpus: Callable[[], tuple[str, ...]]
    """CDI names; may block."""
    gpu_faults: Callable[[], Awaitable[Mapping[str, str]]] = _none
    """CDI name -> why that one cannot be used; others may be in it."""
    gpu_memory: Callable[[], int | None] = lambda: None
    """Megabytes of each GPU, where that is known; may block."""
    unified: bool = False
    """GPU memory is system memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What happens now."""

    candidate: Candidate | None
    """The operator that starts; None: each one waits."""
    lease: tuple[str, ...] = ()
    """The GPUs that its job has from now on."""
    gpus: tuple[str, ...] = ()
    """Those of it that the operator is given."""
    idle_memory: int = 0
    """Megabytes that services which no job uses are to give back."""
    wanted: frozenset[str] = frozenset()
    """Keys of services that are about to be used: these are not to end."""


class Scheduler:
    """Knows whose turn it is; what runs and what waits is told to it each time."""

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
        """What there was at the last look."""
        return self._capacity

    def soonest(self) -> float | None:
        """Seconds until a job that is overtaken has waited long enough; None: none is."""
        if not self._overtaking.since or self._overtaking.reserved is not None:
            return None
        first = min(self._overtaking.since.values())
        return max(0.0, first + OVERTAKEN - self._clock.elapsed())

    async def look(self, candidates: Iterable[Candidate]) -> None:
        """Looks for GPUs, where somebody asks for one."""
        gpus: tuple[str, ...] = ()
        faults: Mapping[str, str] = {}
        memory: int | None = None
        if any(c.wants_gpu for c in candidates):
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

    def choose(self, candidates: Collection[Candidate], held: Held) -> Choice:
        """What starts now, of all operators that wait."""
        capacity = self._capacity
        waiting = {c.who: c for c in candidates}
        blocked = (c.who for c in overtaken(candidates, capacity, held))
        self._overtaking = self._overtaking.after(blocked, waiting, self._clock.elapsed())
        who = self._overtaking.reserved
        found = decide(
            candidates,
            capacity,
            held,
            classes=self._turns.order({c.priority for c in candidates}),
            reserved=None if who is None else waiting[who],
        )
        chosen = found.candidate
        lease, gpus = ((), ()) if chosen is None else grant(chosen, capacity, held)
        if chosen is not None and chosen.queued:
            self._turns = self._turns.taken(chosen.priority)
        return Choice(
            candidate=chosen,
            lease=lease,
            gpus=gpus,
            idle_memory=found.idle_memory,
            wanted=found.wanted,
        )

    def waits_for(self, candidates: Sequence[Candidate], held: Held) -> Mapping[str, str]:
        """What each of a job's operators waits for, in words."""
        return {
            c.operator: obstacle(c, self._capacity, held) or "its turn: others go before it"
            for c in candidates
        }
