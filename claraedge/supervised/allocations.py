"""Memory and GPUs of containers that are kept running, in addition to those of jobs.

Jobs and deployments share one device. A deployment keeps what it has until it ends; so it waits in
a queue of its own, and no new job starts on what the first in that queue waits for: each wait for
jobs ends when what runs ends. The scheduler of jobs calls `grant` in each of its rounds.
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
        self._awaited: Claim | None = None
        """The first request that waits for the end of jobs."""
        self._awaited_gpus: frozenset[str] = frozenset()

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
        if waited and not self._queue:
            self._awaited, self._awaited_gpus = None, frozenset()
        if had or waited:
            self._on_change()

    def waits_for(self, owner: str) -> str | None:
        """Returns what an owner waits for, as text; None: it does not wait."""
        if owner not in self._queue:
            return None
        return self._texts.get(owner, "memory and GPUs; its turn comes")

    @property
    def waits(self) -> bool:
        """Whether somebody waits."""
        return bool(self._queue)

    @property
    def wants_gpu(self) -> bool:
        """Whether somebody waits who asks for a GPU."""
        return any(waiting.claim.gpus for waiting in self._queue.values())

    @property
    def gpus(self) -> frozenset[str]:
        """CDI names of the GPUs that owners have."""
        return frozenset(gpu for had in self._given.values() for gpu in had.gpus)

    def allocated(self) -> Allocated:
        """Returns what owners have and wait for now."""
        return Allocated(
            memory=self._memory,
            gpus=self.gpus,
            awaited_memory=self._awaited.memory if self._awaited else 0,
            awaited_gpus=self._awaited_gpus,
        )

    @property
    def _memory(self) -> int:
        return sum(given.memory for given in self._given.values())

    def grant(
        self,
        free_memory: int | None,
        free_gpus: Sequence[str],
        *,
        memory: int | None,
        gpus: Sequence[str],
    ) -> Claim | None:
        """Gives what is free, in the order of the requests; returns the first that has to wait.

        A request that would have to wait even if no job ran, since owners have what it asks for,
        delays no other. `free_memory`: megabytes that neither jobs nor owners have; `memory`: those
        of the device; None: memory is not limited. `gpus`: all usable GPUs.
        """
        texts: dict[str, str] = {}
        self._awaited, self._awaited_gpus = None, frozenset()
        for owner, waiting in list(self._queue.items()):
            claim = waiting.claim
            left = None if memory is None else memory - self._memory
            unowned = [gpu for gpu in gpus if gpu not in self.gpus]
            never = _lack(claim, left, unowned)
            lacks = _lack(claim, free_memory, free_gpus)
            if never is not None:
                texts[owner] = f"{never} next to other deployments"
            elif self._awaited is not None:
                texts[owner] = lacks or "its turn: another deployment goes before it"
            elif lacks is not None:
                texts[owner] = lacks
                self._awaited = claim
                free_first = sorted(unowned, key=lambda gpu: gpu not in free_gpus)
                self._awaited_gpus = frozenset(free_first[: claim.gpus])
            else:
                given = tuple(free_gpus[: claim.gpus])
                free_gpus = free_gpus[claim.gpus :]
                free_memory = None if free_memory is None else free_memory - claim.memory
                del self._queue[owner]
                self._given[owner] = _Allocation(claim.memory, given)
                if not waiting.granted.done():  # it may have been cancelled in this very step
                    waiting.granted.set_result(given)
        self._texts = texts
        return self._awaited


def _lack(claim: Claim, free_memory: int | None, free_gpus: Sequence[str]) -> str | None:
    if free_memory is not None and claim.memory > free_memory:
        return f"{claim.memory} MB of memory; {max(0, free_memory)} are free"
    if claim.gpus > len(free_gpus):
        return f"{claim.gpus} GPUs; {len(free_gpus)} are free"
    return None
