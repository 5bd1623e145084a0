"""Compares uploads and downloads of large files with a bare server and a bare write, in one run.

    python -m tests.bench.transfers [MIB [ROUNDS]]

The sides work in turns in each round, so that other load on the machine affects all of them:

- the daemon, a process of its own with a real socket, database and disk, and no Podman. An upload
  ends with the answer, after which its file is durable and its row committed;
- a bare server of `grpc.aio` in a process of its own (`tests/bench/bare_server.py`), which reads
  the same messages and discards them, or sends the same file by plain reads;
- a plain write of the same bytes in pieces of 1 MiB and an fsync, as `dd conv=fsync` does.

One client sends and reads for all of them. The ratio of an upload is its throughput, divided by
that of the slower of the bare server and the plain write in the same round; of a download, divided
by that of the bare server. The printed ratios are medians of the rounds after the first.

The goals are at least 0.75 for an upload of 1 GiB in chunks of 64 KiB and of 1 MiB, and at least
1.0 for a download. The exit code is 1 if one is missed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc

from claraedge.wire.nvidia.clara.platform import common_pb2
from claraedge.wire.nvidia.clara.platform import payloads_pb2 as wire
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub
from tests.rig.waiting import until
from tests.robustness.site import MIB, ROOT, Site, site

SIZE, ROUNDS = 1024, 7
CHUNKS = (64 * 1024, MIB)
UPLOAD, DOWNLOAD = 0.75, 1.0


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


def rounds_of(
    daemon: Site, ours: PayloadsStub, bare: PayloadsStub, size: int, rounds: int
) -> Mapping[str, Sequence[float]]:
    """Returns seconds of each round after the first, by the name of what was done."""
    data, plain = os.urandom(MIB), daemon.folder / "plain"
    times: dict[str, list[float]] = {}

    def noted(name: str, work: Callable[[], float]) -> None:
        times.setdefault(name, []).append(work())

    for _ in range(rounds + 1):
        noted("plain write", lambda: write(plain, size, data))
        for chunk in CHUNKS:
            payload = ours.Create(wire.PayloadsCreateRequest()).payload_id
            noted(f"bare {chunk}", lambda c=chunk: upload(bare, "", size, c, data))
            noted(f"ours {chunk}", lambda c=chunk, p=payload: upload(ours, p.value, size, c, data))
            if chunk == CHUNKS[-1]:
                noted("bare download", lambda: download(bare, "", str(plain), size))
                noted("ours download", lambda p=payload: download(ours, p.value, "large", size))
            ours.Delete(wire.PayloadsDeleteRequest(payload_id=payload))
        plain.unlink()
    return {name: seconds[1:] for name, seconds in times.items()}  # the first fills caches


def print_speed(what: str, size: int, seconds: Sequence[float]) -> None:
    speeds = sorted(size / MIB / one for one in seconds)
    median, least, most = statistics.median(speeds), speeds[0], speeds[-1]
    print(f"{what:24} {median:6.0f} MiB/s ({least:.0f} to {most:.0f}, of {len(speeds)})")


def print_ratio(what: str, ratios: Sequence[float], goal: float) -> bool:
    """Prints the median of the ratios, and returns whether it reaches its goal."""
    median = statistics.median(ratios)
    print(f"{what:24} {median:6.2f} ({min(ratios):.2f} to {max(ratios):.2f}; goal {goal})")
    return median >= goal


def compared(daemon: Site, size: int, rounds: int) -> bool:
    with daemon.channel() as channel, bare_server(daemon.folder) as bare:
        times = rounds_of(daemon, PayloadsStub(channel), bare, size, rounds)
    written = times["plain write"]
    print_speed("plain write", size, written)
    reached = []
    for case in (*map(str, CHUNKS), "download"):
        what = case if case == "download" else f"upload, {int(case) // 1024} KiB"
        ours, other = times[f"ours {case}"], times[f"bare {case}"]
        print_speed(f"{what}, bare", size, other)
        print_speed(f"{what}, daemon", size, ours)
        slower = other if case == "download" else list(map(max, other, written))
        ratios = [theirs / own for theirs, own in zip(slower, ours, strict=True)]
        reached.append(print_ratio(what, ratios, DOWNLOAD if case == "download" else UPLOAD))
    return all(reached)


def main(size: int, rounds: int) -> int:
    with site() as daemon:
        return 0 if compared(daemon, size * MIB, rounds) else 1


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(numbers + [SIZE, ROUNDS][len(numbers) :])))
