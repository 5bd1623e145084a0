"""Compares the cost of picking the next operator with a long and a short queue, in one run.

Two engines on real SQLite files, with the in-memory runner and one operator slot, work in turns:
each runs some of its jobs while the other is idle, and gets as many new ones, so that both queues
keep their length. The time of the engine's own pick is measured: from checking the heads of the
queue, including reads of the jobs that reached the head, to the start of the task of an operator.

The size is the length of the long queue; the short one has 100 jobs.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from claraedge.ids import new_id
from claraedge.jobs import records
from claraedge.jobs.model import JobStatus, Priority
from claraedge.pipelines.model import Pipeline
from claraedge.registry import pipelines as registry
from claraedge.store.database import Transaction
from tests.bench.case import Case, Figure, Pair, at_most, in_loop
from tests.bench.run import main
from tests.rig.device import Device, copy
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import DEADLINE, eventually, until_still

SHORT = 100
PICKS = 25
BATCH = 500

CLASSES = tuple(Priority)


@dataclass
class Side:
    """One engine with its queue."""

    rig: EngineRig
    pipeline: str
    length: int
    picks: list[float] = field(default_factory=list)
    """Seconds of each pick that started an operator."""
    idle: list[float] = field(default_factory=list)
    """Seconds of each pick that found that all operators must wait."""
    queued: int = 0

    def __post_init__(self) -> None:
        dispatcher = self.rig.engine._dispatcher
        pick = dispatcher.start_next

        async def timed() -> bool:
            begin = time.perf_counter()
            started = await pick()
            (self.picks if started else self.idle).append(time.perf_counter() - begin)
            return started

        dispatcher.start_next = timed  # type: ignore[method-assign]

    async def fill(self, count: int) -> None:
        """Queues `count` jobs as Jobs.Start does, but in batches, with all priorities in turn."""
        database = self.rig.database
        registered = await database.read(lambda tx: registry.get(tx, self.pipeline))
        checked = registry.check_definition(registered.files)
        for start in range(0, count, BATCH):
            ids = [new_id() for _ in range(min(BATCH, count - start))]
            priorities = [CLASSES[(self.queued + n) % 3] for n in range(len(ids))]

            def work(
                tx: Transaction,
                ids: Sequence[str] = ids,
                priorities: Sequence[Priority] = priorities,
            ) -> None:
                for job, priority in zip(ids, priorities, strict=True):
                    _add(tx, job, priority, registered, checked)

            await database.write(work)
            for job, priority in zip(ids, priorities, strict=True):
                self.rig.engine.enqueue(job, priority)
            self.queued += len(ids)

    async def run(self, count: int) -> None:
        """Lets `count` jobs, or a few more, run to their end, then blocks the next one."""
        runner, stopped = self.rig.device.runner, self.rig.stopped
        wanted = len(stopped) + count
        runner.release("only")
        await eventually(lambda: len(stopped) >= wanted, f"{count} jobs ended", DEADLINE + count)
        runner.block("only")
        # A job that has started but not begun its work runs to its end; the next one blocks.
        await until_still(lambda: len(stopped), "no more jobs end", 0.05)


def _add(
    tx: Transaction,
    job: str,
    priority: Priority,
    pipeline: registry.Registered,
    checked: Pipeline,
) -> None:
    records.add(
        tx,
        job=job,
        payload=new_id(),
        name="bench",
        pipeline=pipeline,
        checked=checked,
        priority=priority,
        entries={},
        now=time.time(),
    )
    records.start(tx, records.get(tx, job), checked, {})


def memory() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def compared(long: int) -> AsyncGenerator[Sequence[Pair], None]:
    """Yields microseconds of a pick, and bytes of a queued job."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        devices = []
        for place in ("long", "short"):
            (folder / place).mkdir()
            device = Device(folder / place, max_operators=1)
            device.runner.add_image("copy:1", copy)
            device.runner.block("only")
            devices.append(device)
        async with engine_rig(devices[0]) as one, engine_rig(devices[1]) as other:
            first = Side(one, await one.register(chain("only")), long)
            second = Side(other, await other.register(chain("only")), SHORT)
            await second.fill(SHORT)
            bytes_each = await memory_of_jobs(first)
            while True:
                for side in (first, second):
                    side.picks.clear()
                    side.idle.clear()
                    await side.run(PICKS)
                    await side.fill(side.length + 1 - (side.queued - len(side.rig.stopped)))
                for side in (first, second):
                    for job in side.rig.stopped[-PICKS:]:
                        ended = await side.rig.jobs.get(job)
                        assert ended.status is JobStatus.HEALTHY, ended
                yield [
                    Pair(median(first.picks), median(second.picks)),
                    Pair(median(first.idle), median(second.idle)),
                    Pair(bytes_each, 1024),
                ]


async def memory_of_jobs(side: Side) -> float:
    """Fills a queue; returns the bytes of each queued job."""
    few = min(side.length // 2, 500)  # heads and SQLite caches do not count as memory of jobs
    await side.fill(few)
    await asyncio.sleep(0.5)
    tracemalloc.start()
    before = memory()
    await side.fill(side.length - side.queued)
    bytes_each = (memory() - before) / (side.length - few)
    tracemalloc.stop()
    return bytes_each


def median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) * 1e6


CASES = (
    Case(
        name="queue",
        figures=(
            Figure("choice of the next job", f"{SHORT} jobs queued", "us", at_most(1.5)),
            Figure("choice, all wait", f"{SHORT} jobs queued", "us"),
            Figure("memory of a queued job", "1 KiB", "bytes"),
        ),
        pairs=lambda long: in_loop(compared(long)),
        full=10_000,
        quick=2_000,
        sizes=(100, 1_000, 10_000, 30_000),
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
