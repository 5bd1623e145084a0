"""Measures whether a daemon under full load ends as it began: jobs of two operators, 24 clients.

Each client runs one job after the other. The last tenth of the jobs is compared with the first one
of the same run: the time for a job, and the p99 of `Jobs.Status`, which another client calls 20
times a second. The containers that have ended and are not removed yet are counted every 3 seconds;
the most of them are compared with the operators that may run at the same time.

The first jobs, one for each client, do not count. The size is the number of jobs after them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.bench.case import Case, Figure, Pair, Pairs, at_most, percentile
from tests.bench.run import main
from tests.bench.soak import containers
from tests.bench.start import NOTHING, Daemon, started_daemon
from tests.rig import processes

CLIENTS = 24
SLOTS = 2 * (os.cpu_count() or 1)
TWO = {"a": (), "b": ("a",)}
MIB = 1024 * 1024


@dataclass
class Load:
    """Clients, and what is measured meanwhile."""

    daemon: Daemon
    pipeline: str
    jobs: int
    """All that are waited for, with those that do not count."""
    newest: str
    """The job whose status is asked for."""
    ends: list[float] = field(default_factory=list)
    """When each job ended, in the order of their ends."""
    answers: list[tuple[float, float]] = field(default_factory=list)
    """When each call of Status was made, and how long it lasted."""
    memory: list[int] = field(default_factory=list)
    """Resident bytes of the daemon at each job's end."""
    ended: list[int] = field(default_factory=list)
    """Counts of containers that have ended and are not removed."""
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Runs all jobs; raises what any client raised."""
        instance = self.daemon.site.ask("status")["instance"]

        def count() -> None:
            self.ended.append(len(containers(instance, "status=exited")))

        with ThreadPoolExecutor(CLIENTS + 2) as pool:
            watching = [
                pool.submit(self._repeat, 0.05, self._ask),
                pool.submit(self._repeat, 3.0, count),
            ]
            clients = [pool.submit(self._client) for _ in range(CLIENTS)]
            try:
                for client in clients:
                    client.result()
            finally:
                self.over.set()
            for one in watching:
                one.result()

    def _client(self) -> None:
        assert self.daemon.site.process is not None
        process = self.daemon.site.process.pid
        while len(self.ends) < self.jobs and not self.over.is_set():
            self.newest = job = self.daemon.create(self.pipeline)
            self.daemon.start(job)
            self.ends.append(time.perf_counter())
            self.memory.append(processes.memory(process))

    def _ask(self) -> None:
        self.answers.append((time.perf_counter(), self.daemon.status(self.newest)))

    def _repeat(self, seconds: float, work: Callable[[], None]) -> None:
        while not self.over.wait(seconds):
            work()

    def tenth(self, first: int, count: int) -> tuple[float, float, float]:
        """Returns milliseconds for a job, the p99 of Status in milliseconds, and memory in MiB.

        Of `count` jobs after the `first` ones that ended.
        """
        begin, end = self.ends[first - 1], self.ends[first + count - 1]
        answers = [spent for at, spent in self.answers if begin <= at <= end]
        memory = self.memory[first + count - 1] / MIB
        return (end - begin) / count * 1000, percentile(answers, 99) * 1000, memory


def pairs(jobs: int) -> Pairs:
    with started_daemon(f"[engine]\nmax_operators = {SLOTS}\n") as daemon:
        pipeline = daemon.register("two", TWO, NOTHING)
        while True:
            yield sustained(daemon, pipeline, jobs)


def sustained(daemon: Daemon, pipeline: str, jobs: int) -> Sequence[Pair]:
    load = Load(daemon, pipeline, jobs + CLIENTS, daemon.create(pipeline))
    load.run()
    count = jobs // 10
    first = load.tenth(CLIENTS, count)
    last = load.tenth(CLIENTS + jobs - count, count)
    compared = [Pair(ours, theirs) for ours, theirs in zip(last, first, strict=True)]
    return [*compared, Pair(max(load.ended, default=0), SLOTS)]


TENTH = "first tenth"

CASES = (
    Case(
        name="sustained",
        figures=(
            Figure("time for a job, last tenth", TENTH, "ms", at_most(1.2)),
            Figure("p99 of Status, last tenth", TENTH, "ms", at_most(1.2)),
            Figure("resident memory, last tenth", TENTH, "MiB"),
            Figure("ended containers", "operator slots", "", at_most(3)),
        ),
        pairs=pairs,
        full=2000,
        quick=80,
        rounds=1,
        quick_rounds=1,
        warm_up=0,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
