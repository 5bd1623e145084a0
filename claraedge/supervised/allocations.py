"""Memory and GPUs of containers that are kept running, in addition to those of jobs.

Jobs and deployments share one device. A deployment keeps what it has until it ends; so it waits in
a queue of its own, and no new job starts on what the first in that queue waits for: each wait ends
when what runs ends. The scheduler of jobs calls `grant` in each of its rounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one owner asks for."""

    memory: int
    """Megabytes."""
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocated:
    """What all owners have, and what the first in the queue asks for."""

    memory: int = 0
    """Megabytes that owners have."""
    gpus: frozenset[str] = frozenset()
    """CDI names of the GPUs that owners have."""
    awaited_memory: int = 0
    """Megabytes that the first in the queue waits for: no new job starts on them."""
    awaited_gpus: frozenset[str] = frozenset()
    """GPUs that no job leases any more, since the first in the queue waits for them."""

    def memory_from(self, *, runs: bool) -> int:
        """Returns the megabytes that a job cannot have; `runs`: it has begun."""
        return self.memory + (0 if runs else self.awaited_memory)


@dataclass(frozen=True, slots=True)
class _Allocation:
    memory: int
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Request:
    claim: Claim
    granted: asyncio.Future[tuple[str, ...]]


class Allocations:
    """Grants memory and GPUs to owners in the order of their requests."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called after each change that the scheduler has to know."""
        self._on_change = on_change
        self._given: dict[str, _Allocation] = {}
        self._queue: dict[str, _Request] = {}
        self._texts: Mapping[str, str] = {}
        self._awaited: frozenset[str] = frozenset()

    async def acquire(self, owner: str, claim: Claim) -> tuple[str, ...]:
        """Waits until the device has what is asked for; returns the CDI names of the GPUs.

        An owner that has it already gets the same again. If it is cancelled, nothing is left.
        """
        had = self._given.get(owner)
        if had is not None and had.memory == claim.memory and len(had.gpus) == claim.gpus:
            return had.gpus
        self._given.pop(owner, None)
        granted = asyncio.get_running_loop().create_future()
        self._queue[owner] = _Request(claim, granted)
        self._on_change()
        try:
            gpus: tuple[str, ...] = await granted
        except BaseException:
            self.release(owner)
            raise
        return gpus

    def adopt(self, owner: str, claim: Claim, gpus: tuple[str, ...]) -> None:
        """Records what an owner has had since before the start of the daemon."""
        self._given[owner] = _Allocation(claim.memory, gpus)

    def release(self, owner: str) -> None:
        """Frees what an owner has; one that has nothing is no error."""
        had = self._given.pop(owner, None)
        waited = self._queue.pop(owner, None)
        if had or waited:
            self._on_change()

    def waits_for(self, owner: str) -> str | None:
        """Returns what an owner waits for, as text; None: it does not wait."""
        if owner not in self._queue:
            return None
        return self._texts.get(owner, "memory and GPUs; its turn comes")

    @property
    def first(self) -> Claim | None:
        """The request of the first in the queue; None: nobody waits."""
        return next((waiting.claim for waiting in self._queue.values()), None)

    @property
    def gpus(self) -> frozenset[str]:
        """CDI names of the GPUs that owners have."""
        return frozenset(gpu for had in self._given.values() for gpu in had.gpus)

    def allocated(self) -> Allocated:
        """Returns what owners have and wait for now."""
        first = self.first
        return Allocated(
            memory=sum(had.memory for had in self._given.values()),
            gpus=self.gpus,
            awaited_memory=first.memory if first else 0,
            awaited_gpus=self._awaited if first else frozenset(),
        )

    def grant(self, free_memory: int | None, free_gpus: Sequence[str], gpus: Sequence[str]) -> None:
        """Gives what is free to the first in the queue, and to the next ones while that suffices.

        `free_memory`: megabytes; None: memory is not limited. `gpus`: all usable GPUs.
        """
        texts: dict[str, str] = {}
        self._awaited = frozenset()
        for owner, waiting in list(self._queue.items()):
            claim = waiting.claim
            lacks = _lack(claim, free_memory, free_gpus)
            if lacks is None and not texts:
                given = tuple(free_gpus[: claim.gpus])
                free_gpus = free_gpus[claim.gpus :]
                free_memory = None if free_memory is None else free_memory - claim.memory
                del self._queue[owner]
                self._given[owner] = _Allocation(claim.memory, given)
                if not waiting.granted.done():  # it may have been cancelled in this very step
                    waiting.granted.set_result(given)
                continue
            if not texts:
                candidates = [*free_gpus, *(gpu for gpu in gpus if gpu not in {*free_gpus})]
                usable = [gpu for gpu in candidates if gpu not in self.gpus]
                self._awaited = frozenset(usable[: claim.gpus])
            texts[owner] = lacks or "its turn: another deployment goes before it"
        self._texts = texts


def _lack(claim: Claim, free_memory: int | None, free_gpus: Sequence[str]) -> str | None:
    if free_memory is not None and claim.memory > free_memory:
        return f"{claim.memory} MB of memory; {max(0, free_memory)} are free"
    if claim.gpus > len(free_gpus):
        return f"{claim.gpus} GPUs; {len(free_gpus)} are free"
    return None
