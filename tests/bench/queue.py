"""Compares the cost of picking the next operator with a long and a short queue, in one run.

    python -m tests.bench.queue [LONG [SHORT]]

Two engines on real SQLite files, with the in-memory runner and one operator slot, work in turns:
each runs some of its jobs while the other is idle, and gets as many new ones, so that both queues
keep their length. The time of the engine's own pick is measured: from checking the heads of the
queue, including reads of the jobs that reached the head, to the start of the task of an operator.

The goal is at most twice the cost of 100 jobs with 10,000 jobs. The exit code is 1 if it is missed.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from claraedge.ids import new_id
from claraedge.jobs import records
from claraedge.jobs.model import JobStatus, Priority
from claraedge.pipelines.model import Pipeline
from claraedge.registry import pipelines as registry
from claraedge.store.database import Transaction
from tests.rig.device import Device, copy
from tests.rig.engine import EngineRig, engine_rig
from tests.rig.pipelines import chain
from tests.rig.waiting import DEADLINE, eventually, until_still

LONG, SHORT = 10_000, 100
ROUNDS, PICKS = 8, 25
MOST = 2.0
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


def print_times(what: str, seconds: Sequence[float]) -> float:
    median = statistics.median(seconds) * 1e6
    print(f"{what:34} {median:8.0f} us, of {len(seconds)} picks", flush=True)
    return median


def memory() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def compared(folder: Path, long: int, short: int) -> bool:
    sides: list[Side] = []
    devices = []
    for name in ("long", "short"):
        (folder / name).mkdir()
        device = Device(folder / name, max_operators=1)
        device.runner.add_image("copy:1", copy)
        device.runner.block("only")
        devices.append(device)
    async with engine_rig(devices[0]) as one, engine_rig(devices[1]) as other:
        for each, length in ((one, long), (other, short)):
            sides.append(Side(each, await each.register(chain("only")), length))
        first, second = sides
        await second.fill(short)
        await first.fill(min(long, 500))  # heads and SQLite caches do not count as memory of jobs
        await asyncio.sleep(0.5)
        tracemalloc.start()
        before = memory()
        await first.fill(long - first.queued)
        bytes_each = (memory() - before) / max(1, long - 500)
        tracemalloc.stop()
        for side in sides:  # the first round fills caches
            await side.run(PICKS)
            await side.fill(PICKS)
            side.picks.clear()
            side.idle.clear()
        for _ in range(ROUNDS):
            for side in sides:
                await side.run(PICKS)
                await side.fill(side.length + 1 - (side.queued - len(side.rig.stopped)))
            for side in sides:
                for job in side.rig.stopped[-PICKS:]:
                    ended = await side.rig.jobs.get(job)
                    assert ended.status is JobStatus.HEALTHY, ended
        large = print_times(f"{long} jobs queued", first.picks)
        small = print_times(f"{short} jobs queued", second.picks)
        print_times(f"{long} queued, all wait", first.idle)
        print_times(f"{short} queued, all wait", second.idle)
    print(f"memory of a queued job: {bytes_each:.0f} bytes")
    print(f"ratio {large / small:.2f} (at most {MOST})")
    return large <= MOST * small


def main(long: int, short: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return 0 if asyncio.run(compared(Path(folder), long, short)) else 1


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(numbers + [LONG, SHORT][len(numbers) :])))
