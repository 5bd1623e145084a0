"""One client that keeps open all it can keeps nobody else from `Status`, `Cancel` and `status`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pytest

from claraedge.api.transport.slots import BOUNDS, OPENING, CallKind
from claraedge.wire.claraedge.v1 import appliance_pb2
from claraedge.wire.claraedge.v1.appliance_pb2_grpc import ApplianceStub
from claraedge.wire.nvidia.clara.platform import common_pb2, jobs_pb2
from claraedge.wire.nvidia.clara.platform.jobs_pb2_grpc import JobsStub
from tests.campaign import CAMPAIGN
from tests.rig.waiting import until
from tests.robustness.site import MIB, ROOT, Site, site
from tests.robustness.test_cancellation import Client
from tests.robustness.test_idle_clients import work

pytestmark = pytest.mark.timeout(300)

PROGRAM = Path(__file__).with_name("greedy_client.py")
#: What the greedy client opens: of most kinds more than the daemon accepts.
MANY = {"silent": 600, "following": 600, "requestless": 600, "uploads": 300, "readers": 40}
if CAMPAIGN:
    MANY = {"silent": 2000, "following": 600, "requestless": 600, "uploads": 500, "readers": 200}
IDLE = 15.0 if CAMPAIGN else 5.0
ROUNDS = 3000 if CAMPAIGN else 50
#: Seconds of 99 in 100 calls of Status: measured where the machine has nothing else to do.
P99 = 0.05
#: MiB that the daemon grows by at most.
GROWTH = 512


@dataclass
class Greedy:
    """The client, whose calls are open."""

    process: subprocess.Popen[str]

    def ends(self) -> dict[str, dict[str, int]]:
        """Reads all calls to their end: kind -> status -> how many."""
        cast("IO[str]", self.process.stdin).write("\n")
        cast("IO[str]", self.process.stdin).flush()
        found: dict[str, dict[str, int]] = json.loads(
            cast("IO[str]", self.process.stdout).readline()
        )
        return found


@contextmanager
def greedy(daemon: Site, **wanted: Any) -> Iterator[Greedy]:
    """The client while its calls are open; it is killed at the end."""
    with subprocess.Popen(
        [sys.executable, PROGRAM, daemon.target, json.dumps(wanted)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert cast("IO[str]", process.stdout).readline() == "open\n"
            yield Greedy(process)
        finally:
            process.kill()


def asked(client: Client, job: common_pb2.Identifier) -> list[float]:
    """Asks for the state of a job, and of the device; the seconds of each of the former."""
    taken = []
    device = ApplianceStub(client.channel)
    for number in range(ROUNDS):
        begin = time.monotonic()
        assert client.status(job).header.code == 0
        taken.append(time.monotonic() - begin)
        if number % 10 == 0:
            assert device.Status(appliance_pb2.StatusRequest()).instance
    return sorted(taken)


def cancelled(client: Client, job: common_pb2.Identifier) -> bool:
    """Whether a job ends when its client asks for that."""
    answer = JobsStub(client.channel).Cancel(jobs_pb2.JobsCancelRequest(job_id=job))
    return answer.header.code == 0 and client.stopped(job)


def print_times(what: str, taken: list[float]) -> float:
    """Prints the times of calls; returns the one that 99 of 100 keep."""
    p99 = taken[len(taken) * 99 // 100]
    print(f"Status {what}: p50 {taken[len(taken) // 2] * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms")
    return p99


def test_one_client_with_all_it_can_open_denies_nothing_to_others() -> None:
    settings = f"[api]\nidle_seconds = {IDLE}\n[engine]\ngrace_seconds = 0.2\n"
    with site(settings) as daemon, daemon.channel() as channel:
        client = Client(daemon, channel)
        payload, job = client.payload(), client.job("hello")
        client.upload(payload, "large", 16 * MIB)
        until("the job has ended", lambda: client.stopped(job))
        print_times("alone", asked(client, job))
        running = [client.job("stubborn") for _ in range(2)]
        before = daemon.memory()
        with greedy(daemon, payload=payload.value, job=job.value, **MANY) as other:
            begin = time.monotonic()
            p99 = print_times("with the greedy client", asked(client, job))
            assert cancelled(client, running[0])
            print(f"{daemon.calls()} calls are open, {time.monotonic() - begin:.1f} s later")
            readers = min(MANY["readers"], BOUNDS[CallKind.UNREAD])
            left = BOUNDS[CallKind.WATCH] + readers
            until("what is silent has ended", lambda: daemon.calls() <= left, 2 * IDLE + 20)
            until("no file is read", lambda: not daemon.open_files(), 2 * IDLE + 20)
            assert work(daemon) < 10, "uploads and lists have room again"
            ends = other.ends()
            print(f"{ends}\n{(daemon.peak() - before) / MIB:.0f} MiB more at most")
        assert daemon.peak() - before < GROWTH * MIB
        until("all calls are over", lambda: daemon.calls() == 0, 20)
        assert work(daemon) < 10
        assert cancelled(client, running[1])
        daemon.check_log()
    refused, timed_out = "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"
    silent = Counter(ends["silent"]) + Counter(ends["requestless"])
    assert set(silent) == {refused, timed_out}
    assert silent[timed_out] <= OPENING
    # A client whose write meets the refusal may make INTERNAL of it.
    for kind, status, bound in (
        ("uploads", timed_out, BOUNDS[CallKind.UPLOAD]),
        ("following", "CANCELLED", BOUNDS[CallKind.WATCH]),
    ):
        assert ends[kind].pop(status) == bound
        assert set(ends[kind]) <= {refused, "INTERNAL"}
    assert ends["readers"] == {timed_out: MANY["readers"]}
    if CAMPAIGN:
        assert p99 < P99
