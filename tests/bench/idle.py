"""Measures what an idle daemon costs: it and Podman's service together, and a bare server, at once.

The daemon has run a job before. Nothing calls it, or its Podman service, meanwhile: that service is
measured while it waits for calls, and once it is ended until the next call. The size is the number
of seconds. What /proc says at the beginning and at the end is compared; threads that end meanwhile
keep their switches to themselves.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bare_version import bare_version
from tests.bench.case import Case, Figure, Pair, Pairs, at_most
from tests.bench.run import main
from tests.bench.start import CHAIN, NOTHING, started_daemon
from tests.rig import processes
from tests.rig.waiting import until

MIB = 1024 * 1024
#: CPUCLOCK_SCHED of <linux/posix-timers.h>: nanoseconds of all threads, also of those that ended.
_CPU_CLOCK = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What processes have used since each began."""

    cpu: float
    """Seconds."""
    switches: Mapping[int, int]
    """Voluntary context switches of each thread: each is a wake-up later on."""
    written: int
    """Bytes to a disk."""
    memory: Sequence[int]
    """PSS of each process in bytes: a page that n processes share counts as 1/n."""

    @classmethod
    def of(cls, found: Sequence[int]) -> Usage:
        switches = {}
        for process in found:
            for thread in Path(f"/proc/{process}/task").iterdir():
                with suppress(*processes.GONE):
                    switches[int(thread.name)] = _line(thread / "status", "voluntary_ctxt_switches")
        return cls(
            cpu=sum(time.clock_gettime((~process << 3) | _CPU_CLOCK) for process in found),
            switches=switches,
            written=sum(_line(Path(f"/proc/{process}/io"), "write_bytes") for process in found),
            memory=[_line(Path(f"/proc/{one}/smaps_rollup"), "Pss") * 1024 for one in found],
        )

    def switches_since(self, before: Usage) -> int:
        old = before.switches
        return sum(count - old.get(thread, 0) for thread, count in self.switches.items())


def _line(path: Path, key: str) -> int:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    raise LookupError(f"{path}: {key}")


def family(process: int) -> Iterator[int]:
    """Yields a process and all that descend from it."""
    yield process
    for child in processes.children(process):
        yield from family(child)


def idle(resting: int, waiting: int, bare: int, seconds: float) -> Sequence[Pair]:
    """Returns what processes, with all that descend from them, use in so many seconds."""
    # What a start and a job leave to do is done by then: within a minute of its end, the size of
    # what a job left is recorded.
    time.sleep(1.25 * seconds)
    sides = [list(family(resting)), list(family(waiting)), [bare]]
    before = [Usage.of(side) for side in sides]
    time.sleep(seconds)
    after = [Usage.of(side) for side in sides]
    cpu = [100 * (b.cpu - a.cpu) / seconds for a, b in zip(before, after, strict=True)]
    waked = [b.switches_since(a) / seconds for a, b in zip(before, after, strict=True)]
    written = [b.written - a.written for a, b in zip(before, after, strict=True)]
    memory = [sum(usage.memory) / MIB for usage in after]
    return [
        *(Pair(used[0], used[2]) for used in (cpu, waked, written, memory)),
        *(Pair(used[1], used[2]) for used in (cpu, waked, memory)),
    ]


def has_no_child(process: int) -> bool:
    return not list(processes.children(process))


def pairs(seconds: int) -> Pairs:
    with ExitStack() as stack:
        found = []
        for idle_seconds in (1, 3600):
            settings = f"[podman]\nidle_seconds = {idle_seconds}\n"
            daemon = stack.enter_context(started_daemon(settings))
            daemon.run(daemon.register("chain", CHAIN, NOTHING))
            assert daemon.site.process is not None
            found.append(daemon.site.process.pid)
        resting, waiting = found
        bare = stack.enter_context(bare_version(daemon.site.folder))
        while True:
            until("Podman's service is ended", lambda: has_no_child(resting))
            yield idle(resting, waiting, bare.process, seconds)


BARE = "bare grpc.aio server"

CASES = (
    Case(
        name="idle",
        figures=(
            Figure("CPU", BARE, "% of a core", at_most(0.1, of="ours")),
            Figure("wake-ups", BARE, "a second", at_most(2, of="ours")),
            Figure("written", BARE, "bytes", at_most(0, of="ours")),
            Figure("PSS", BARE, "MiB", at_most(64, of="ours")),
            Figure("CPU, with Podman's service", BARE, "% of a core"),
            Figure("wake-ups, with Podman's service", BARE, "a second"),
            Figure("PSS, with Podman's service", BARE, "MiB"),
        ),
        pairs=pairs,
        full=60,
        quick=8,
        rounds=1,
        quick_rounds=1,
        warm_up=0,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
