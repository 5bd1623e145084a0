"""Compares a unary call with that of a bare server of `grpc.aio`, in one run.

One client calls `Clara.Version` of both in turns of 25 calls. Both servers are processes of their
own, on Unix sockets. The daemon is a whole one, but for Podman, which no call of this kind meets.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

import grpc

from claraedge.wire.nvidia.clara.platform import clara_pb2
from claraedge.wire.nvidia.clara.platform.clara_pb2_grpc import ClaraStub
from tests.bench.bare_version import bare_version
from tests.bench.case import Case, Figure, Pair, Pairs, at_most, percentile
from tests.bench.run import main
from tests.robustness.site import site

TURN = 25


def call(stub: ClaraStub, count: int) -> Sequence[float]:
    """Returns the microseconds of each of `count` calls."""
    spent = []
    for _ in range(count):
        begin = time.perf_counter()
        answer = stub.Version(clara_pb2.ClaraVersionRequest())
        spent.append((time.perf_counter() - begin) * 1e6)
        assert answer.version.minor == 8, answer
    return spent


def pairs(calls: int) -> Pairs:
    with ExitStack() as stack:
        daemon = stack.enter_context(site())
        bare = stack.enter_context(bare_version(daemon.folder))
        ours, theirs = (
            ClaraStub(stack.enter_context(grpc.insecure_channel(target)))
            for target in (daemon.target, bare.target)
        )
        while True:
            first: list[float] = []
            second: list[float] = []
            for _ in range(0, calls, TURN):
                first += call(ours, TURN)
                second += call(theirs, TURN)
            yield [
                Pair(statistics.median(first), statistics.median(second)),
                Pair(percentile(first, 99), percentile(second, 99)),
            ]


CASES = (
    Case(
        name="unary",
        figures=(
            Figure("p50", "bare grpc.aio server", "us", at_most(1.3)),
            Figure("p99", "bare grpc.aio server", "us"),
        ),
        pairs=pairs,
        full=2000,
        quick=500,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
