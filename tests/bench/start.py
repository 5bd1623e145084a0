"""Measures how fast jobs start: real daemons compared with `podman run --rm`, in one run.

    python -m tests.bench.start [ROUNDS]

A chain of three operators is compared with three `podman run --rm` in sequence, and four parallel
operators with four in sequence: once with operators that do nothing, and once with operators that
write a file. The time of a job runs from before Jobs.Start is sent until the event of STOPPED
arrives, so it includes both directions over the socket. There is one daemon for each
`[engine] user_namespace`; all take turns in each round, so that other load on the machine affects
all of them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import grpc

from claraedge.wire.claraedge.v1 import events_pb2, events_pb2_grpc
from claraedge.wire.nvidia.clara.platform import (
    common_pb2,
    jobs_pb2,
    jobs_pb2_grpc,
)
from tests.freeze.frozen_site import Site
from tests.integration.daemon.conftest import IMAGE, program
from tests.rig.operators import busybox_image

Edges: TypeAlias = Mapping[str, Sequence[str]]
"""The operators that each operator reads."""

DEFAULT = "host"
NOTHING = ("true",)
A_FILE = ("cp", "/bin/busybox", "/out/file")
CHAIN: Edges = {"a": (), "b": ("a",), "c": ("b",)}
FOUR: Edges = dict.fromkeys("abcd", ())


def definition(name: str, edges: Edges, command: Sequence[str]) -> str:
    operators = ""
    for operator, sources in edges.items():
        inputs = [{"path": f"/in/{source}", "from": source} for source in sources]
        operators += (
            f"- name: {operator}\n"
            f"  container: {{image: {IMAGE}, tag: '1', command: {json.dumps(command)}}}\n"
            f"  input: {json.dumps(inputs or [{'path': '/in'}])}\n"
            "  output: [{path: /out}]\n"
        )
    return f"api-version: 0.4.0\nname: {name}\noperators:\n{operators}"


class Daemon:
    """A daemon with the pipelines of the benchmark."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._channel = grpc.insecure_channel(f"unix:{site.runtime / 'claraedge.sock'}")
        self._jobs = jobs_pb2_grpc.JobsStub(self._channel)
        self._events = events_pb2_grpc.EventsStub(self._channel)

    def register(self, name: str, edges: Edges, command: Sequence[str]) -> str:
        path = self._site.folder / f"{name}.yaml"
        path.write_text(definition(name, edges, command))
        return self._site.say("create", "pipeline", "-p", path).strip()

    def run(self, pipeline: str) -> float:
        """Runs one job; returns its time in seconds."""
        made = self._jobs.Create(
            jobs_pb2.JobsCreateRequest(
                name="bench", pipeline_id=common_pb2.Identifier(value=pipeline)
            )
        )
        assert made.header.code == 0, made.header.messages
        follow = events_pb2.Follow(job_ids=[made.job_id.value])
        watch = self._events.Watch(iter([events_pb2.WatchRequest(follow=follow)]))
        for response in watch:
            if response.HasField("caught_up"):
                break
        begin = time.perf_counter()
        started = self._jobs.Start(jobs_pb2.JobsStartRequest(job_id=made.job_id))
        assert started.header.code == 0, started.header.messages
        for response in watch:
            job = response.event.job
            if job.state == jobs_pb2.JOB_STATE_STOPPED:
                seconds = time.perf_counter() - begin
                assert job.status == jobs_pb2.JOB_STATUS_HEALTHY, self._site.say(
                    "describe", "job", "-j", job.job_id
                )
                watch.cancel()
                return seconds
        raise AssertionError("the watch ended")


def podman_run(count: int) -> float:
    """Runs `podman run --rm` `count` times in sequence; returns the time in seconds."""
    begin = time.perf_counter()
    for _ in range(count):
        subprocess.run(
            ["podman", "run", "--rm", "--network", "none", f"{IMAGE}:1", "true"],
            check=True,
            cwd="/",
            capture_output=True,
        )
    return time.perf_counter() - begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A job that is compared with `runs` times `podman run`."""

    name: str
    edges: Edges
    command: Sequence[str]
    runs: int
    most: float | None = None
    """The limit with the default setting, as a part of the time of `podman run`."""


CASES = (
    Case(name="chain", edges=CHAIN, command=NOTHING, runs=3, most=0.30),
    Case(name="four", edges=FOUR, command=NOTHING, runs=4, most=0.25),
    Case(name="chain-of-files", edges=CHAIN, command=A_FILE, runs=3),
    Case(name="four-files", edges=FOUR, command=A_FILE, runs=4),
)


def compared(rounds: int, case: Case, daemons: Mapping[str, Daemon]) -> bool:
    """Prints medians and minima, and their ratios; returns whether the default keeps its limit."""
    ways: dict[str, Callable[[], float]] = {"podman run": lambda: podman_run(case.runs)}
    for setting, daemon in daemons.items():
        pipeline = daemon.register(case.name, case.edges, case.command)
        ways[setting] = partial(daemon.run, pipeline)
    for way in ways.values():
        way()  # the first run fills caches, and copies the image for another user namespace
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(way() * 1000)
    theirs = times.pop("podman run")
    print(
        f"{case.name}: {case.runs} podman run {statistics.median(theirs):.0f} ms"
        f" (least {min(theirs):.0f})"
    )
    ratios = {}
    for name, mine in times.items():
        ratios[name] = statistics.median(mine) / statistics.median(theirs)
        print(
            f"  user_namespace {name}: {statistics.median(mine):.0f} ms (least {min(mine):.0f}),"
            f" {ratios[name]:.2f} (least {min(mine) / min(theirs):.2f})",
            flush=True,
        )
    return case.most is None or ratios[DEFAULT] <= case.most


@contextmanager
def started_daemon(setting: str) -> Iterator[Daemon]:
    """Runs a separate daemon with this `user_namespace`."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=os.environ["XDG_RUNTIME_DIR"]) as runtime,
    ):
        site = Site(program=program(), folder=Path(folder), runtime=Path(runtime, "run"))
        site.temporary.mkdir()
        site.configure(f'[engine]\nuser_namespace = "{setting}"\n')
        site.start()
        try:
            archive = busybox_image(Path(folder, "image.tar"), f"{IMAGE}:1")
            site.say("create", "image", "-f", archive)
            yield Daemon(site)
        finally:
            site.stop()


def main(rounds: int) -> int:
    with ExitStack() as stack:
        daemons = {
            setting: stack.enter_context(started_daemon(setting)) for setting in (DEFAULT, "nomap")
        }
        kept = [compared(rounds, case, daemons) for case in CASES]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
