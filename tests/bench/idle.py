"""Measures what an idle daemon costs: it and Podman's service together, and a bare server, at once.

The daemon has run a job before, so that it has a Podman service. Nothing calls it meanwhile. The
size is the number of seconds. What /proc says at the beginning and at the end is compared; threads
that end meanwhile keep their switches to themselves.
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


def idle(ours: int, theirs: int, seconds: float) -> Sequence[Pair]:
    """Returns what two processes use in so many seconds, ours with all that descend from it."""
    time.sleep(seconds / 4)  # what a start and a job leave to do is done by then
    sides = [list(family(ours)), [theirs]]
    before = [Usage.of(side) for side in sides]
    time.sleep(seconds)
    after = [Usage.of(side) for side in sides]
    ends = list(zip(before, after, strict=True))
    return [
        Pair(*(100 * (b.cpu - a.cpu) / seconds for a, b in ends)),
        Pair(*(b.switches_since(a) / seconds for a, b in ends)),
        Pair(*(b.written - a.written for a, b in ends)),
        Pair(*(sum(b.memory) / MIB for b in after)),
        Pair(*(b.memory[0] / MIB for b in after)),
    ]


def pairs(seconds: int) -> Pairs:
    with ExitStack() as stack:
        daemon = stack.enter_context(started_daemon())
        bare = stack.enter_context(bare_version(daemon.site.folder))
        daemon.run(daemon.register("chain", CHAIN, NOTHING))
        assert daemon.site.process is not None
        while True:
            yield idle(daemon.site.process.pid, bare.process, seconds)


BARE = "bare grpc.aio server"

CASES = (
    Case(
        name="idle",
        figures=(
            Figure("CPU", BARE, "% of a core", at_most(0.1, of="ours")),
            Figure("wake-ups", BARE, "a second", at_most(2, of="ours")),
            Figure("written", BARE, "bytes", at_most(0, of="ours")),
            Figure("PSS with Podman's service", BARE, "MiB", at_most(64, of="ours")),
            Figure("PSS of the daemon", BARE, "MiB"),
        ),
        pairs=pairs,
        full=60,
        quick=15,
        rounds=1,
        quick_rounds=1,
        warm_up=0,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
