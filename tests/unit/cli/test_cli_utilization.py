"""`claraedge utilization` and `stop` against a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from claraedge.wire.nvidia.clara.platform import clara_pb2, clara_pb2_grpc, common_pb2
from tests.rig.waiting import until

NOON = 1767268800 + 62135596800
JOB = "c1" + "0" * 30
ROOT = Path(__file__).resolve().parents[3]


class Clara(clara_pb2_grpc.ClaraServicer):
    def __init__(self) -> None:
        self.header = common_pb2.ResponseHeader()
        self.gpus: list[clara_pb2.ClaraUtilizationResponse.GpuUtilization] = []
        self.asked: list[object] = []
        self.gone = False

    def Utilization(self, request, context):  # noqa: N802
        self.asked.append(request)

        def end():
            self.gone = True

        context.add_callback(end)
        while True:
            yield clara_pb2.ClaraUtilizationResponse(header=self.header, gpu_metrics=self.gpus)
            if not request.watch or not context.is_active():
                return
            time.sleep(0.05)

    def Stop(self, request, context):  # noqa: N802
        self.asked.append(request)
        return clara_pb2.ClaraStopResponse(header=self.header)


@pytest.fixture
def clara(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clara]:
    servicer = Clara()
    server = grpc.server(ThreadPoolExecutor(2))
    clara_pb2_grpc.add_ClaraServicer_to_server(servicer, server)
    with tempfile.TemporaryDirectory(prefix="ce-") as folder:
        server.add_insecure_port(f"unix:{folder}/s")
        server.start()
        monkeypatch.setenv("CLARAEDGE_HOST", f"unix:{folder}/s")
        monkeypatch.setenv("TZ", "Etc/GMT-2")
        time.tzset()
        yield servicer
        server.stop(0).wait()
    monkeypatch.undo()
    time.tzset()


def card() -> clara_pb2.ClaraUtilizationResponse.GpuUtilization:
    gpu = clara_pb2.ClaraUtilizationResponse.GpuUtilization(
        node_id="edge-1",
        pcie_id=0x0001_41_08,
        compute_utilization=0.25,
        memory_free=12000,
        memory_used=4000,
        memory_utilization=0.25,
        timestamp=common_pb2.Timestamp(value=NOON),
    )
    gpu.process_details.add(name="segment", job_id=common_pb2.Identifier(value=JOB))
    return gpu


def test_each_gpu_is_a_line_with_its_operators(clara, claraedge):
    clara.gpus = [card()]
    answer = claraedge("utilization")
    assert answer.code == 0
    headings, row = answer.out.splitlines()
    assert headings.split() == [
        "TIME", "GPU", "PCI", "COMPUTE", "MEMORY", "USED_MB", "FREE_MB", "OPERATORS",
    ]  # fmt: skip
    assert row.split() == [
        "2026-01-01", "14:00:00", "0", "0001:41:01.0", "25%", "25%", "4000", "12000",
        f"segment@{JOB[:12]}",
    ]  # fmt: skip
    assert [request.watch for request in clara.asked] == [False]


def test_what_is_unknown_is_distinguished_from_0(clara, claraedge):
    bare = clara_pb2.ClaraUtilizationResponse.GpuUtilization(node_id="edge-1")
    clara.gpus = [card(), bare]
    clara.header.messages.extend(
        f"gpu_metrics[1].{field}: unknown"
        for field in ("pcie_id", "memory_free", "memory_used", "memory_utilization")
    )
    row = claraedge("utilization").out.splitlines()[2]
    assert row.split() == ["-", "1", "-", "0%", "-", "-", "-"]
    first, second = json.loads(claraedge("utilization", "--output", "json").out)
    assert (first["pci"], first["memory_free"]) == ("0001:41:01.0", 12000)
    assert second == {
        "node": "edge-1",
        "pci": None,
        "compute_utilization": 0.0,
        "memory_used": None,
        "memory_free": None,
        "memory_utilization": None,
        "users": [],
        "time": None,
    }


def test_a_machine_without_a_gpu_is_no_error(clara, claraedge):
    assert (claraedge("utilization").code, claraedge("utilization").out) == (0, "no GPU\n")
    assert json.loads(claraedge("utilization", "--output", "json").out) == []


def test_an_error_of_the_daemon_is_shown(clara, claraedge):
    clara.header.code = -0x5205
    clara.header.messages.append("the GPU driver has not answered for 10 s")
    answer = claraedge("utilization")
    assert answer.code != 0
    assert "the GPU driver has not answered for 10 s" in answer.err


def test_a_watch_goes_on_until_it_is_interrupted_and_ends_its_call(clara):
    clara.gpus = [card()]
    watching = subprocess.Popen(
        [sys.executable, "-m", "claraedge", "utilization", "--watch", "--output", "json"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert watching.stdout is not None
    for _ in range(3):
        assert json.loads(watching.stdout.readline())[0]["node"] == "edge-1"
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=20)
    assert watching.returncode == 130
    until("the server has ended its stream", lambda: clara.gone)


def test_stop_ends_the_services(clara, claraedge):
    assert claraedge("stop").out == "SERVICES: stopped\n"
    assert json.loads(claraedge("stop", "--output", "json").out) == {"services": "stopped"}
    assert len(clara.asked) == 2
    clara.header.code = -0x5205
    clara.header.messages.append("the inference server does not end")
    assert claraedge("stop").code != 0
