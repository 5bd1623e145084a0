"""Measures how fast jobs start: real daemons compared with `podman run --rm`, in one run.

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
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc

from claraedge.wire.claraedge.v1 import events_pb2, events_pb2_grpc
from claraedge.wire.nvidia.clara.platform import (
    common_pb2,
    jobs_pb2,
    jobs_pb2_grpc,
)
from tests.bench.case import Case, Figure, Pair, Pairs, at_most
from tests.bench.run import main
from tests.freeze.frozen_site import Site
from tests.integration.daemon.conftest import IMAGE, program
from tests.rig.operators import busybox_image

Edges: TypeAlias = Mapping[str, Sequence[str]]
"""The operators that each operator reads."""

DEFAULT = "host"
NOTHING = ("true",)
PODMAN_RUN = ("podman", "run", "--rm", "--network", "none")
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
        self.site = site
        self._channel = grpc.insecure_channel(f"unix:{site.runtime / 'claraedge.sock'}")
        self._jobs = jobs_pb2_grpc.JobsStub(self._channel)
        self._events = events_pb2_grpc.EventsStub(self._channel)

    def register(self, name: str, edges: Edges, command: Sequence[str]) -> str:
        path = self.site.folder / f"{name}.yaml"
        path.write_text(definition(name, edges, command))
        return self.site.say("create", "pipeline", "-p", path).strip()

    def create(self, pipeline: str) -> str:
        """Creates a job; returns its id."""
        made = self._jobs.Create(
            jobs_pb2.JobsCreateRequest(
                name="bench", pipeline_id=common_pb2.Identifier(value=pipeline)
            )
        )
        assert made.header.code == 0, made.header.messages
        return made.job_id.value

    def status(self, job: str) -> float:
        """Calls Jobs.Status; returns the time in seconds."""
        request = jobs_pb2.JobsStatusRequest(job_id=common_pb2.Identifier(value=job))
        begin = time.perf_counter()
        answer = self._jobs.Status(request)
        seconds = time.perf_counter() - begin
        assert answer.header.code == 0, answer.header.messages
        return seconds

    def run(self, pipeline: str) -> float:
        """Runs one job; returns its time in seconds."""
        return self.start(self.create(pipeline))

    def start(self, job: str) -> float:
        """Starts a job and waits until it has stopped; returns the time in seconds."""
        follow = events_pb2.Follow(job_ids=[job])
        watch = self._events.Watch(iter([events_pb2.WatchRequest(follow=follow)]))
        for response in watch:
            if response.HasField("caught_up"):
                break
        request = jobs_pb2.JobsStartRequest(job_id=common_pb2.Identifier(value=job))
        begin = time.perf_counter()
        started = self._jobs.Start(request)
        assert started.header.code == 0, started.header.messages
        for response in watch:
            seen = response.event.job
            if seen.state == jobs_pb2.JOB_STATE_STOPPED:
                seconds = time.perf_counter() - begin
                assert seen.status == jobs_pb2.JOB_STATUS_HEALTHY, self.site.say(
                    "describe", "job", "-j", job
                )
                watch.cancel()
                return seconds
        raise AssertionError("the watch ended")


def podman_run(count: int, *, image: str = f"{IMAGE}:1", command: Sequence[str] = NOTHING) -> float:
    """Runs `podman run --rm` `count` times in sequence; returns the time in seconds."""
    begin = time.perf_counter()
    for _ in range(count):
        subprocess.run([*PODMAN_RUN, image, *command], check=True, cwd="/", capture_output=True)
    return time.perf_counter() - begin


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs of one pipeline, which are compared with `runs` times `podman run`."""

    name: str
    words: str
    edges: Edges
    command: Sequence[str]
    runs: int
    limit: float | None = None
    """With the default setting, as a part of the time of `podman run`."""

    def figures(self) -> Iterator[Figure]:
        """Yields one for each setting, the default first."""
        against = f"{self.runs} podman run --rm"
        yield Figure(self.words, against, "ms", at_most(self.limit))
        yield Figure(f"{self.words}, nomap", against, "ms")


JOBS = (
    Jobs("chain", "chain of 3", CHAIN, NOTHING, 3, 0.20),
    Jobs("four", "4 side by side", FOUR, NOTHING, 4, 0.15),
    Jobs("chain-of-files", "chain of 3, a file each", CHAIN, A_FILE, 3),
    Jobs("four-files", "4 side by side, a file each", FOUR, A_FILE, 4),
)


@contextmanager
def started_daemon(settings: str = "") -> Iterator[Daemon]:
    """Runs a separate daemon with these settings, which has the image."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=os.environ["XDG_RUNTIME_DIR"]) as runtime,
    ):
        site = Site(program=program(), folder=Path(folder), runtime=Path(runtime, "run"))
        site.temporary.mkdir()
        site.configure(settings)
        site.start()
        try:
            archive = busybox_image(Path(folder, "image.tar"), f"{IMAGE}:1")
            site.say("create", "image", "-f", archive)
            yield Daemon(site)
        finally:
            site.stop()


def pairs(_: int) -> Pairs:
    with ExitStack() as stack:
        daemons = [
            stack.enter_context(started_daemon(f'[engine]\nuser_namespace = "{setting}"\n'))
            for setting in (DEFAULT, "nomap")
        ]
        ways = [
            (jobs, [(one, one.register(jobs.name, jobs.edges, jobs.command)) for one in daemons])
            for jobs in JOBS
        ]
        while True:
            found = []
            for jobs, pipelines in ways:
                theirs = podman_run(jobs.runs) * 1000
                found += [Pair(one.run(pipeline) * 1000, theirs) for one, pipeline in pipelines]
            yield found


CASES = (
    Case(
        name="start",
        figures=[figure for jobs in JOBS for figure in jobs.figures()],
        pairs=pairs,
        full=1,
        quick=1,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
