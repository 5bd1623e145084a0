"""Compares the HTTP front with gRPC of the same daemon, in one run.

One client process speaks both, on Unix sockets: `http.client` of Python, and gRPC. `PUT` and `GET`
carry the same file as `Payloads.Upload` in messages of 1 MiB and `Payloads.Download`. The size is
the number of MiB.

The case `streams` compares calls of `/v1/version` while twelve clients follow all events of a
daemon in which jobs are created, with calls of the same number before. Its size is the number of
calls.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

from claraedge.wire.nvidia.clara.platform import payloads_pb2 as wire
from claraedge.wire.nvidia.clara.platform.clara_pb2_grpc import ClaraStub
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub
from tests.bench.case import Case, Figure, NotInstalled, Pair, Pairs, at_least, at_most, percentile
from tests.bench.run import main
from tests.bench.transfers import download, upload
from tests.bench.unary import call
from tests.rig.pipelines import chain
from tests.robustness.site import MIB, Site, site

STREAMS = 12


class Connection(HTTPConnection):
    """A connection to the HTTP socket of a daemon."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", blocksize=256 * 1024)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def _socket(daemon: Site) -> str:
    return daemon.target.removeprefix("unix:").replace("claraedge.sock", "http.sock")


@contextmanager
def front(daemon: Site) -> Iterator[Connection]:
    connection = Connection(_socket(daemon))
    try:
        yield connection
    finally:
        connection.close()


def answered(connection: Connection, method: str, path: str, body: object = None) -> HTTPResponse:
    kind = {"Content-Type": "application/json"} if isinstance(body, str) else {}
    connection.request(method, path, body, kind)  # type: ignore[arg-type]
    answer = connection.getresponse()
    assert answer.status in (200, 201), (answer.status, answer.read())
    return answer


def put(connection: Connection, path: str, file: Path) -> float:
    """Returns the seconds from the request to its answer, after which the file is durable."""
    begin = time.perf_counter()
    with file.open("rb") as source:
        answered(connection, "PUT", path, source).read()
    return time.perf_counter() - begin


def get(connection: Connection, path: str, size: int) -> float:
    """Returns the seconds until the last byte is read."""
    begin = time.perf_counter()
    answer = answered(connection, "GET", path)
    read = 0
    while part := answer.read(MIB):
        read += len(part)
    assert read == size, read
    return time.perf_counter() - begin


def transfers(mib: int) -> Pairs:
    size, data = mib * MIB, os.urandom(MIB)
    with site() as daemon, daemon.channel() as channel, front(daemon) as http:
        file = daemon.folder / "large"
        with file.open("wb") as target:
            for _ in range(mib):
                target.write(data)
        payloads = PayloadsStub(channel)
        while True:
            payload = payloads.Create(wire.PayloadsCreateRequest()).payload_id
            path = f"/v1/payloads/{payload.value}/files/sent"
            found = [
                (put(http, path, file), upload(payloads, payload.value, size, MIB, data)),
                (get(http, path, size), download(payloads, payload.value, "large", size)),
            ]
            payloads.Delete(wire.PayloadsDeleteRequest(payload_id=payload))
            yield [Pair(mib / ours, mib / theirs) for ours, theirs in found]


def versions(http: Connection, count: int) -> Sequence[float]:
    """Returns the microseconds of each of `count` requests."""
    spent = []
    for _ in range(count):
        begin = time.perf_counter()
        answered(http, "GET", "/v1/version").read()
        spent.append((time.perf_counter() - begin) * 1e6)
    return spent


def unary(calls: int) -> Pairs:
    with site() as daemon, daemon.channel() as channel, front(daemon) as http:
        stub = ClaraStub(channel)
        while True:
            ours, theirs = versions(http, calls), call(stub, calls)
            yield [Pair(statistics.median(ours), statistics.median(theirs))]


def streams(calls: int) -> Pairs:
    if shutil.which("curl") is None:
        raise NotInstalled("curl is not installed")
    with site() as daemon, front(daemon) as http:
        path = "/v1/pipelines:register?definition.path=p.yaml"
        pipeline = json.loads(answered(http, "POST", path, chain("o").encode()).read())[
            "pipelineId"
        ]
        while True:
            alone = versions(http, calls)
            with ExitStack() as stack:
                readers = [stack.enter_context(_reader(daemon)) for _ in range(STREAMS)]
                spent: list[float] = []
                while len(spent) < calls:
                    job = json.dumps({"pipelineId": pipeline, "name": "job"})
                    made = json.loads(answered(http, "POST", "/v1/jobs", job).read())
                    spent += versions(http, 10)
                    answered(http, "POST", f"/v1/jobs/{made['jobId']}:cancel").read()
                assert all(reader.poll() is None for reader in readers)
            yield [Pair(percentile(spent, 99), percentile(alone, 99))]


@contextmanager
def _reader(daemon: Site) -> Iterator[subprocess.Popen[bytes]]:
    """Follows all events, in a process of its own."""
    with subprocess.Popen(
        ["curl", "--silent", "--no-buffer", "--unix-socket", _socket(daemon),
         "http://localhost/v1/events"],
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while b"caughtUp" not in process.stdout.readline():
            pass
        reading = threading.Thread(target=process.stdout.read, daemon=True)
        reading.start()
        try:
            yield process
        finally:
            process.terminate()
            reading.join()


CASES = (
    Case(
        name="front",
        figures=(
            Figure("PUT of a file", "gRPC upload, chunks of 1 MiB", "MiB/s", at_least(0.8)),
            Figure("GET of a file", "gRPC download", "MiB/s", at_least(0.8)),
        ),
        pairs=transfers,
        full=1024,
        quick=64,
    ),
    Case(
        name="front unary",
        figures=(Figure("GET /v1/version, p50", "gRPC Version", "us", at_most(None)),),
        pairs=unary,
        full=1000,
        quick=300,
    ),
    Case(
        name="streams",
        figures=(Figure("GET next to 12 event streams, p99", "idle daemon", "us", at_most(5)),),
        pairs=streams,
        full=1000,
        quick=300,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
