"""Reads the GPUs once for all callers, and not at all while there are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from claraedge.blocking import in_thread
from claraedge.clock import Clock
from claraedge.errors import UnavailableError
from claraedge.gpu.telemetry import GpuReading, Telemetry
from claraedge.gpu.users import RunningOperator, operators, users
from claraedge.store.database import Database

#: Seconds that a caller waits at most for a driver that hangs (a GPU that fell off its bus).
_PATIENCE = 10.0
#: Seconds that the answer to a single query may be old at most.
_FRESH = 1.0
#: Seconds added to each pause. A sleep may end early by the clock's resolution; with this it ends
#: after the step's begin.
_AFTER = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The readings of all GPUs at one moment."""

    time: float
    """Seconds since 1970-01-01 UTC."""
    gpus: Sequence[tuple[GpuReading, Sequence[RunningOperator]]]
    """Each GPU with the operators of jobs that use it."""


class Sampler:
    """Reads the telemetry in a thread, one reading at a time. The end of its context closes it.

    All watchers use the same steps of the event loop's clock: regardless of their number and start,
    there is one reading per interval. `interval` and `patience` are in seconds.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        database: Database,
        clock: Clock,
        *,
        interval: float,
        patience: float = _PATIENCE,
        proc: Path = Path("/proc"),
    ) -> None:
        self._telemetry = telemetry
        self._database = database
        self._clock = clock
        self._interval = interval
        self._patience = patience
        self._proc = proc
        self._last: tuple[float, Sample] | None = None
        self._reading: asyncio.Task[tuple[float, Sample]] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reading is not None:
            _, hanging = await asyncio.wait([self._reading], timeout=self._patience)
            if hanging:
                return
        await in_thread(self._telemetry.close)

    async def sample(self) -> Sample:
        """Returns a current sample. Raises UnavailableError where the driver hangs."""
        now = asyncio.get_running_loop().time()
        return await self._sample(now - min(_FRESH, self._interval / 2))

    async def watch(self) -> AsyncGenerator[Sample, None]:
        """Yields a sample now, and then one per interval until the caller stops.

        Raises UnavailableError where the driver hangs.
        """
        loop = asyncio.get_running_loop()
        step = loop.time() // self._interval
        while True:
            yield await self._sample(step * self._interval)
            # A caller that took longer than an interval misses the samples in between.
            step = max(step, loop.time() // self._interval) + 1
            await asyncio.sleep(step * self._interval - loop.time() + _AFTER)

    async def _sample(self, since: float) -> Sample:
        """Returns the last sample, or a new one where that was taken before `since`, a time of the
        loop.
        """
        if self._last is not None and self._last[0] >= since:
            return self._last[1]
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="gpu-reading")
            self._reading.add_done_callback(self._done)
        # A caller that is cancelled does not affect the others.
        reading = self._reading
        done, _ = await asyncio.wait([reading], timeout=self._patience)
        if not done:
            raise UnavailableError(
                f"the GPU driver has not answered for {self._patience:g} s; `sudo dmesg` says more"
            )
        return reading.result()[1]

    async def _read(self) -> tuple[float, Sample]:
        running = await self._database.read(operators)
        taken, time = asyncio.get_running_loop().time(), self._clock.now()
        gpus = await in_thread(self._read_gpus, running)
        return taken, Sample(time=time, gpus=gpus)

    def _read_gpus(
        self, running: Mapping[str, RunningOperator]
    ) -> Sequence[tuple[GpuReading, Sequence[RunningOperator]]]:
        return [(gpu, users(gpu.pids or (), running, self._proc)) for gpu in self._telemetry.read()]

    def _done(self, reading: asyncio.Task[tuple[float, Sample]]) -> None:
        self._reading = None
        if not reading.cancelled() and reading.exception() is None:
            self._last = reading.result()
