"""Compares uploads and downloads of large files with a bare server and a bare write, in one run.

The sides work in turns in each round, so that other load on the machine affects all of them:

- the daemon, a process of its own with a real socket, database and disk, and no Podman. An upload
  ends with the answer, after which its file is durable and its row committed;
- a bare server of `grpc.aio` in a process of its own (`tests/bench/bare_server.py`), which reads
  the same messages and discards them, or sends the same file by plain reads;
- a plain write of the same bytes in pieces of 1 MiB and an fsync, as `dd conv=fsync` does.

One client sends and reads for all of them. The ratio of an upload is its throughput, divided by
that of the slower of the bare server and the plain write in the same round; of a download, divided
by that of the bare server. The size is the number of MiB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from claraedge.wire.nvidia.clara.platform import common_pb2
from claraedge.wire.nvidia.clara.platform import payloads_pb2 as wire
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub
from tests.bench.case import Case, Figure, Pair, Pairs, at_least
from tests.bench.run import main
from tests.rig.waiting import until
from tests.robustness.site import MIB, ROOT, Site, site

CHUNKS = (64 * 1024, MIB)


def upload(stub: PayloadsStub, payload: str, size: int, chunk: int, data: bytes) -> float:
    """Returns the seconds from the call to its answer."""
    message = wire.PayloadsUploadRequest(
        payload_id=common_pb2.Identifier(value=payload),
        details=wire.PayloadFileDetails(name="large"),
        data=data[:chunk],
    )
    begin = time.perf_counter()
    answer = stub.Upload(message for _ in range(size // chunk))
    spent = time.perf_counter() - begin
    assert (answer.header.code, answer.details.size) == (0, size), answer
    return spent


def download(stub: PayloadsStub, payload: str, name: str, size: int) -> float:
    """Returns the seconds until the last byte is read."""
    request = wire.PayloadsDownloadRequest(
        payload_id=common_pb2.Identifier(value=payload), name=name
    )
    begin = time.perf_counter()
    read = sum(len(message.data) for message in stub.Download(request))
    spent = time.perf_counter() - begin
    assert read == size, read
    return spent


def write(path: Path, size: int, data: bytes) -> float:
    """Returns the seconds for a plain write and its fsync."""
    begin = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(size // len(data)):
            file.write(data)
        os.fsync(file.fileno())
    return time.perf_counter() - begin


@contextmanager
def bare_server(folder: Path) -> Iterator[PayloadsStub]:
    socket = folder / "bare.sock"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare_server", str(socket)], cwd=ROOT
    ) as process:
        try:
            until("the bare server serves", socket.exists)
            with grpc.insecure_channel(f"unix:{socket}") as channel:
                yield PayloadsStub(channel)
        finally:
            process.terminate()


def transfers(daemon: Site, ours: PayloadsStub, bare: PayloadsStub, size: int) -> Iterator[Pair]:
    """Yields MiB a second of each upload, and of the download of the last one."""
    data, plain = os.urandom(MIB), daemon.folder / "plain"
    written = write(plain, size, data)
    for chunk in CHUNKS:
        payload = ours.Create(wire.PayloadsCreateRequest()).payload_id
        theirs = upload(bare, "", size, chunk, data)
        spent = upload(ours, payload.value, size, chunk, data)
        yield Pair(size / MIB / spent, size / MIB / max(theirs, written))
        if chunk == CHUNKS[-1]:
            theirs = download(bare, "", str(plain), size)
            spent = download(ours, payload.value, "large", size)
            yield Pair(size / MIB / spent, size / MIB / theirs)
        ours.Delete(wire.PayloadsDeleteRequest(payload_id=payload))
    plain.unlink()


def pairs(mib: int) -> Pairs:
    with site() as daemon, daemon.channel() as channel, bare_server(daemon.folder) as bare:
        ours = PayloadsStub(channel)
        while True:
            yield list(transfers(daemon, ours, bare, mib * MIB))


SLOWER = "slower of bare server and plain write"

CASES = (
    Case(
        name="transfers",
        figures=(
            Figure("upload, chunks of 64 KiB", SLOWER, "MiB/s", at_least(0.75)),
            Figure("upload, chunks of 1 MiB", SLOWER, "MiB/s", at_least(0.75)),
            Figure("download", "bare server", "MiB/s", at_least(1.0)),
        ),
        pairs=pairs,
        full=1024,
        quick=128,
        sizes=(1, 16, 128, 1024),
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
