"""Compares a unary call with that of a bare server of `grpc.aio`, in one run.

One client calls `Clara.Version` of both in turns of 25 calls. Both servers are processes of their
own, on Unix sockets. The daemon is a whole one, but for Podman, which no call of this kind meets.

The case `loaded` compares the calls while another process downloads a file from the same daemon,
again and again, with calls of the same number before. Its size is the number of MiB of the file.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

import grpc

from claraedge.wire.nvidia.clara.platform import clara_pb2
from claraedge.wire.nvidia.clara.platform import payloads_pb2 as wire
from claraedge.wire.nvidia.clara.platform.clara_pb2_grpc import ClaraStub
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub
from tests.bench.bare_version import bare_version
from tests.bench.case import Case, Figure, Pair, Pairs, at_most, percentile
from tests.bench.run import main
from tests.bench.transfers import download, upload
from tests.robustness.site import MIB, site

TURN = 25
#: Of each side, so that the p99 is not one of a few; more where a download lasts longer.
CALLS = 1000


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


def downloaded(target: str, payload: str, size: int) -> float:
    """Downloads the file of the case `loaded`, in another process; returns the seconds."""
    with grpc.insecure_channel(target) as channel:
        return download(PayloadsStub(channel), payload, "large", size)


def loaded(mib: int) -> Pairs:
    size = mib * MIB
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit the threads of gRPC
    with (
        site() as daemon,
        daemon.channel() as channel,
        ProcessPoolExecutor(1, mp_context=spawn) as other,
    ):
        stub, payloads = ClaraStub(channel), PayloadsStub(channel)
        payload = payloads.Create(wire.PayloadsCreateRequest()).payload_id.value
        upload(payloads, payload, size, MIB, os.urandom(MIB))
        other.submit(downloaded, daemon.target, payload, size).result()  # it imports gRPC
        while True:
            alone = call(stub, CALLS)
            spent: list[float] = []
            while len(spent) < CALLS:
                running = other.submit(downloaded, daemon.target, payload, size)
                while not running.done():
                    spent += call(stub, 1)
                running.result()
            yield [Pair(percentile(spent, 99), percentile(alone, 99))]


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
    Case(
        name="loaded",
        figures=(Figure("unary p99 next to a download", "idle daemon", "us", at_most(5)),),
        pairs=loaded,
        full=1024,
        quick=128,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
