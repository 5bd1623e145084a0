"""Compares calls with the same of a server in C++, with Debian's libgrpc++, on a Unix socket.

It decodes nothing, and writes nothing to a disk: the distance is what Python, the limits of the
daemon, its database and durable files cost together. The size is the number of MiB of a transfer.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from google.protobuf.message import Message

from claraedge.wire.nvidia.clara.platform import clara_pb2
from claraedge.wire.nvidia.clara.platform import payloads_pb2 as wire
from claraedge.wire.nvidia.clara.platform.clara_pb2_grpc import ClaraStub
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub
from tests.bench.case import Case, Figure, Pair, Pairs, at_least, percentile
from tests.bench.run import main
from tests.bench.transfers import download, upload
from tests.bench.unary import TURN, call
from tests.rig.waiting import until
from tests.robustness.site import MIB, site

SOURCE = Path(__file__).with_name("native_server.cc")
#: Debian's library refers to libraries that it does not name to the linker.
FLAGS = ("-O2", "-std=c++17", "-Wl,--copy-dt-needed-entries")
CALLS = 500
#: Bytes in one message of a download, as many as the daemon sends.
CHUNK = 256 * 1024


@contextmanager
def native_server(folder: Path, answers: Sequence[Message]) -> Iterator[grpc.Channel]:
    """Runs the server, which answers calls by these messages; yields a connection to it."""
    program, socket = folder / "native_server", folder / "native.sock"
    subprocess.run(["g++", *FLAGS, "-o", program, SOURCE, "-lgrpc++"], check=True)
    files = [folder / f"answer-{number}" for number in range(len(answers))]
    for file, answer in zip(files, answers, strict=True):
        file.write_bytes(answer.SerializeToString())
    with subprocess.Popen([program, socket, *files]) as process:
        try:
            until("the server in C++ serves", socket.exists)
            with grpc.insecure_channel(f"unix:{socket}") as channel:
                yield channel
        finally:
            process.terminate()


def compared(ours: grpc.Channel, theirs: grpc.Channel, size: int) -> Iterator[Pair]:
    """Yields microseconds of unary calls, then MiB a second of transfers."""
    calls: list[list[float]] = [[], []]
    for _ in range(0, CALLS, TURN):
        for side, channel in zip(calls, (ours, theirs), strict=True):
            side += call(ClaraStub(channel), TURN)
    yield Pair(*(statistics.median(one) for one in calls))
    yield Pair(*(percentile(one, 99) for one in calls))
    data = os.urandom(MIB)
    payloads, other = PayloadsStub(ours), PayloadsStub(theirs)
    payload = payloads.Create(wire.PayloadsCreateRequest()).payload_id
    seconds = [
        upload(payloads, payload.value, size, MIB, data),
        upload(other, "", size, MIB, data),
    ]
    yield Pair(*(size / MIB / one for one in seconds))
    seconds = [
        download(payloads, payload.value, "large", size),
        download(other, "", str(size // CHUNK), size),
    ]
    yield Pair(*(size / MIB / one for one in seconds))
    payloads.Delete(wire.PayloadsDeleteRequest(payload_id=payload))


def pairs(mib: int) -> Pairs:
    size = mib * MIB
    with site() as daemon, daemon.channel() as ours:
        answers = (
            ClaraStub(ours).Version(clara_pb2.ClaraVersionRequest()),
            wire.PayloadsUploadResponse(details=wire.PayloadFileDetails(size=size)),
            wire.PayloadsDownloadResponse(data=bytes(CHUNK)),
        )
        with native_server(daemon.folder, answers) as theirs:
            while True:
                yield list(compared(ours, theirs, size))


NATIVE = "server in C++"

CASES = (
    Case(
        name="native",
        figures=(
            Figure("unary, p50", NATIVE, "us"),
            Figure("unary, p99", NATIVE, "us"),
            Figure("durable upload, chunks of 1 MiB", NATIVE, "MiB/s", at_least(None)),
            Figure("download", NATIVE, "MiB/s", at_least(None)),
        ),
        pairs=pairs,
        full=1024,
        quick=128,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
