"""Answers how much of the device was reserved in the last hour, and how much is in use now.

Nothing is measured or computed unless somebody asks, and at most once in some seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from claraedge.appliance.memory import SystemMemory, system_memory
from claraedge.blocking import in_thread
from claraedge.clock import Clock
from claraedge.errors import UnavailableError
from claraedge.gpu.sampler import Sampler
from claraedge.gpu.telemetry import GpuReading
from claraedge.store.database import Database
from claraedge.usage.history import ReservedAmounts, reserved
from claraedge.usage.steps import UsageStep, steps

#: Seconds of history.
PERIOD = 3600.0
#: Steps of history at most.
STEPS = 300
#: Stopped jobs that are evaluated at most. Each costs about 0.1 ms on a desktop.
_JOBS = 1000
#: Seconds that an answer may be old.
_FRESH = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUsed:
    """What was reserved, and what is in use."""

    time: float
    """Unix seconds."""
    since: float
    """Unix seconds: when the history begins."""
    history: Sequence[UsageStep]
    memory_used: int | None
    """Bytes; None: unknown."""
    gpus_total: int
    gpus: Sequence[GpuReading]
    gpu_problem: str
    """Why there are no readings of GPUs; empty: there are, or there is no GPU."""


class DeviceUsage:
    """Computes the usage of the device when somebody asks."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        sampler: Sampler,
        amounts: ReservedAmounts,
        gpus: Callable[[], Sequence[str]],
        memory: Callable[[], SystemMemory | None] = system_memory,
        *,
        jobs: int = _JOBS,
    ) -> None:
        """`gpus` returns the names of all GPUs, and `memory` the memory of the machine; both may
        block. `jobs`: number of stopped jobs that are evaluated at most.
        """
        self._database = database
        self._clock = clock
        self._sampler = sampler
        self._amounts = amounts
        self._gpus = gpus
        self._memory = memory
        self._jobs = jobs
        self._asking = asyncio.Lock()
        self._last: tuple[float, DeviceUsed] | None = None

    async def used(self) -> DeviceUsed:
        """Returns the usage, at most some seconds old."""
        async with self._asking:
            now = self._clock.elapsed()
            if self._last is None or now - self._last[0] >= _FRESH:
                self._last = now, await self._compute()
            return self._last[1]

    async def _compute(self) -> DeviceUsed:
        now = self._clock.now()
        read = partial(
            reserved, amounts=self._amounts, since=now - PERIOD, now=now, jobs=self._jobs
        )
        found, since = await self._database.read_page(read)
        total = len(await in_thread(self._gpus))
        memory = await in_thread(self._memory)
        readings: Sequence[GpuReading] = ()
        problem = ""
        try:
            readings = [reading for reading, _ in (await self._sampler.sample()).gpus]
        except UnavailableError as error:
            problem = str(error)
        return DeviceUsed(
            time=now,
            since=since,
            history=steps(found, since=since, now=now, gpus=total, most=STEPS),
            memory_used=None if memory is None else memory.total - memory.available,
            gpus_total=total,
            gpus=readings,
            gpu_problem=problem,
        )
