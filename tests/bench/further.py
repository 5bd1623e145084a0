"""Measures what each further operator of a job costs, as a part of one `podman run --rm`.

A chain of ten operators less a chain of three is seven operators, without what a job costs by
itself.
"""

from __future__ import annotations

import sys

from tests.bench.case import Case, Figure, Pair, Pairs, at_most
from tests.bench.run import main
from tests.bench.start import CHAIN, NOTHING, Edges, podman_run, started_daemon

NAMES = "abcdefghij"
TEN: Edges = {name: NAMES[max(number - 1, 0) : number] for number, name in enumerate(NAMES)}
FURTHER = len(TEN) - len(CHAIN)
#: Runs of `podman run` in a round: of one alone, the time varies.
RUNS = 3


def pairs(_: int) -> Pairs:
    with started_daemon() as daemon:
        long = daemon.register("ten", TEN, NOTHING)
        short = daemon.register("three", CHAIN, NOTHING)
        while True:
            theirs = podman_run(RUNS) / RUNS
            ours = (daemon.run(long) - daemon.run(short)) / FURTHER
            yield [Pair(ours * 1000, theirs * 1000)]


CASES = (
    Case(
        name="further",
        figures=(Figure("further operator", "podman run --rm", "ms", at_most(0.12)),),
        pairs=pairs,
        full=1,
        quick=1,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
