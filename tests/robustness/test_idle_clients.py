"""Clients that stay connected and send nothing do not block others."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from claraedge.wire.nvidia.clara.platform import clara_pb2, common_pb2, payloads_pb2
from claraedge.wire.nvidia.clara.platform.clara_pb2_grpc import ClaraStub
from claraedge.wire.nvidia.clara.platform.payloads_pb2_grpc import PayloadsStub
from tests.rig import processes
from tests.rig.waiting import until
from tests.robustness.site import Site, site

CONNECTIONS, STREAMS = 300, 250
IDLE = 4.0
#: Seconds that a new client waits at most, from its connection to the last of its answers.
SERVED = 1.0


@pytest.fixture
def daemon() -> Iterator[Site]:
    with site(f"[api]\nidle_seconds = {IDLE}\n") as served:
        yield served
        served.check_log()


def work(daemon: Site) -> float:
    """A new client's call without threads, a write, an upload and a read; the seconds of it all."""
    begin = time.monotonic()
    with daemon.channel() as channel:
        version = ClaraStub(channel).Version(clara_pb2.ClaraVersionRequest(), timeout=10)
        assert version.header.code == 0
        payloads = PayloadsStub(channel)
        made = payloads.Create(payloads_pb2.PayloadsCreateRequest(), timeout=10).payload_id
        message = upload_of(made)
        assert payloads.Upload(iter([message]), timeout=10).header.code == 0
        request = payloads_pb2.PayloadsDetailsRequest(payload_id=made)
        assert [m.file.name for m in payloads.Details(request, timeout=10)] == ["/a"]
    return time.monotonic() - begin


def upload_of(payload: common_pb2.Identifier) -> payloads_pb2.PayloadsUploadRequest:
    details = payloads_pb2.PayloadFileDetails(name="a")
    return payloads_pb2.PayloadsUploadRequest(payload_id=payload, details=details, data=b"x")


def sockets(daemon: Site) -> int:
    """Sockets that the daemon holds open."""
    return sum("socket:" in str(path) for path in processes.descriptors(daemon.process.pid))


def test_silent_connections_and_streams_block_nobody(daemon: Site) -> None:
    alone = work(daemon)
    before = sockets(daemon)
    over = threading.Event()

    def silent(payload: common_pb2.Identifier) -> Iterator[Any]:
        yield upload_of(payload)
        over.wait()

    with ExitStack() as stack:
        stack.callback(over.set)
        for number in range(CONNECTIONS):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(daemon.folder / "run/claraedge.sock"))
            if number % 2:  # the beginning of HTTP/2, and no more
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[: number % 25])
        until("the connections are open", lambda: sockets(daemon) >= CONNECTIONS)

        channel = stack.enter_context(daemon.channel())
        payloads = PayloadsStub(channel)
        made = payloads.Create(payloads_pb2.PayloadsCreateRequest()).payload_id
        begin = time.monotonic()
        streams = [payloads.Upload.future(silent(made)) for _ in range(STREAMS)]
        until("the streams are open", lambda: len(daemon.temporary()) == STREAMS)

        taken = sorted(work(daemon) for _ in range(5))
        print(f"served in {statistics.median(taken) * 1000:.0f} ms, alone {alone * 1000:.0f} ms")
        assert taken[-1] <= SERVED
        # The end of an answered call may still be on its way through the server.
        until("only the streams are open", lambda: daemon.calls() <= STREAMS)
        assert daemon.calls() == STREAMS, "the streams were open all the while"

        until("the silent streams are ended", lambda: daemon.calls() == 0, IDLE + 3)
        ended = time.monotonic() - begin
        print(f"{STREAMS} silent uploads ended after {ended:.1f} s")
        assert ended >= IDLE
        for stream in streams:
            until("the client hears of it", stream.done, 10)
            assert stream.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "sent no message" in stream.details()
        assert daemon.temporary() == []
        assert daemon.blobs(made.value) == 0
        assert work(daemon) <= SERVED
    until("the connections are gone", lambda: sockets(daemon) <= before + 1, 10)
