"""A transfer of any size passes through the daemon in a few MiB of memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from claraedge.wire.nvidia.clara.platform import common_pb2, payloads_pb2
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub
from tests.campaign import CAMPAIGN
from tests.rig.waiting import until
from tests.robustness.site import MIB, Site, site

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]

SIZE = (2048 if CAMPAIGN else 256) * MIB
MORE = 32 * MIB
CHUNK = bytes(MIB)
PARALLEL = 20
#: Seconds for which a reader reads nothing.
STALL = 1.0


@pytest.fixture(scope="module")
def daemon() -> Iterator[Site]:
    with site() as served:
        payload = new_payload(served)
        for _ in range(3):  # a first transfer loads code and fills pools
            send(served, payload, 32 * MIB, "warm")
            assert receive(served, payload, "warm") == 32 * MIB
        yield served
        served.check_log()


@pytest.fixture
def payload(daemon: Site) -> Iterator[common_pb2.Identifier]:
    made = new_payload(daemon)
    yield made
    with daemon.channel() as channel:
        PayloadsStub(channel).Delete(payloads_pb2.PayloadsDeleteRequest(payload_id=made))


def new_payload(served: Site) -> common_pb2.Identifier:
    with served.channel() as channel:
        return PayloadsStub(channel).Create(payloads_pb2.PayloadsCreateRequest()).payload_id


def messages(
    payload: common_pb2.Identifier, size: int, name: str, chunk: int
) -> Iterator[payloads_pb2.PayloadsUploadRequest]:
    details = payloads_pb2.PayloadFileDetails(name=name)
    message = payloads_pb2.PayloadsUploadRequest(
        payload_id=payload, details=details, data=bytes(chunk)
    )
    for _ in range(size // chunk):
        yield message


def send(
    served: Site, payload: common_pb2.Identifier, size: int, name: str = "large", chunk: int = MIB
) -> float:
    """Uploads zeros; returns MiB a second."""
    with served.channel() as channel:
        begin = time.monotonic()
        answer = PayloadsStub(channel).Upload(messages(payload, size, name, chunk))
        assert (answer.header.code, answer.details.size) == (0, size)
        return size / MIB / (time.monotonic() - begin)


def receive(served: Site, payload: common_pb2.Identifier, name: str, stall: float = 0) -> int:
    """Downloads a file; returns its size. `stall`: seconds without reading after each quarter."""
    request = payloads_pb2.PayloadsDownloadRequest(payload_id=payload, name=name)
    with served.channel() as channel:
        size, pause = 0, 0
        for message in PayloadsStub(channel).Download(request):
            size += len(message.data)
            if stall and size >= pause:
                time.sleep(stall)
                pause += message.details.size // 4
        return size


@contextmanager
def bounded(served: Site, what: str, bound: int = MORE) -> Iterator[None]:
    """The daemon's resident memory rises by less than the bound while the block runs."""
    until("the calls before have ended", lambda: served.calls() == 0)
    served.probe("trim")
    before = served.memory()
    served.forget_peak()
    yield
    peak = served.peak()
    print(f"{what}: {before / MIB:.1f} MiB before, +{(peak - before) / MIB:.1f} MiB at most")
    assert peak - before < bound


def test_an_upload(daemon: Site, payload: common_pb2.Identifier) -> None:
    with bounded(daemon, f"upload of {SIZE // MIB} MiB"):
        send(daemon, payload, SIZE)


def test_a_reader_that_stalls(daemon: Site, payload: common_pb2.Identifier) -> None:
    send(daemon, payload, SIZE)
    with bounded(daemon, f"stalling download of {SIZE // MIB} MiB"):
        assert receive(daemon, payload, "large", STALL) == SIZE


@pytest.mark.parametrize(
    ("chunk", "bound"),
    # A message that is being received is in memory as a whole, and so is the one being written.
    [(128 * 1024, MORE), (MIB, PARALLEL * 8 * MIB)],
    ids=["chunks of 128 KiB", "chunks of 1 MiB"],
)
def test_uploads_side_by_side(
    daemon: Site, payload: common_pb2.Identifier, chunk: int, bound: int
) -> None:
    each = SIZE // 8
    with (
        bounded(
            daemon, f"{PARALLEL} uploads of {each // MIB} MiB, {chunk // 1024} KiB each", bound
        ),
        ThreadPoolExecutor(PARALLEL) as pool,
    ):
        sent = [pool.submit(send, daemon, payload, each, f"f{n}", chunk) for n in range(PARALLEL)]
        for future in sent:
            future.result()
    with daemon.channel() as channel:
        request = payloads_pb2.PayloadsDetailsRequest(payload_id=payload)
        found = [message.file.size for message in PayloadsStub(channel).Details(request)]
    assert found == [each] * PARALLEL


def test_readers_that_stall_side_by_side(daemon: Site, payload: common_pb2.Identifier) -> None:
    send(daemon, payload, 64 * MIB)
    with (
        bounded(daemon, f"{PARALLEL} stalling downloads"),
        ThreadPoolExecutor(PARALLEL) as pool,
    ):
        read = [pool.submit(receive, daemon, payload, "large", 0.3) for _ in range(PARALLEL)]
        assert {future.result() for future in read} == {64 * MIB}


def test_throughput_compared_with_a_server_that_does_nothing(
    daemon: Site, payload: common_pb2.Identifier
) -> None:
    """Prints figures; the machine says what they are worth."""
    size = SIZE // 2
    socket = daemon.folder / "echo.sock"
    program = Path(__file__).with_name("echo_server.py")
    echo = subprocess.Popen([sys.executable, program, str(socket)])
    try:
        until("the other server serves", socket.exists)
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            grpc.channel_ready_future(channel).result(10)
            begin = time.monotonic()
            taken = channel.stream_unary("/echo/Sink")(CHUNK for _ in range(size // MIB))
            assert int(taken) == size
            sink = size / MIB / (time.monotonic() - begin)
            begin = time.monotonic()
            read = channel.unary_stream("/echo/Source")(str(size // MIB).encode())
            assert sum(map(len, read)) == size
            source = size / MIB / (time.monotonic() - begin)
    finally:
        echo.terminate()
        echo.wait(20)
    up = send(daemon, payload, size)
    begin = time.monotonic()
    assert receive(daemon, payload, "large") == size
    down = size / MIB / (time.monotonic() - begin)
    print(f"upload {up:.0f} MiB/s durable, compared with a raw sink of {sink:.0f}")
    print(f"download {down:.0f} MiB/s, compared with a raw source of {source:.0f}")
