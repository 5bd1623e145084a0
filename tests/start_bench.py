"""How fast jobs start: a real daemon beside `podman run --rm`, in one run.

    python -m tests.start_bench [ROUNDS]

A chain of three operators that do nothing, against three `podman run --rm` one after the other;
four operators side by side, against four in sequence. The clock of a job runs from before
Jobs.Start is sent until the event that it is STOPPED has come, so it includes both ways over the
socket.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc

from claraedge.wire.claraedge.v1 import events_pb2, events_pb2_grpc
from claraedge.wire.nvidia.clara.platform import (
    common_pb2,
    jobs_pb2,
    jobs_pb2_grpc,
)
from tests.freeze.frozen_site import Site
from tests.integration.daemon.conftest import IMAGE, program
from tests.operators import busybox_image


def definition(name: str, edges: dict[str, Sequence[str]]) -> str:
    operators = ""
    for operator, sources in edges.items():
        inputs = [{"path": f"/in/{source}", "from": source} for source in sources]
        operators += (
            f"- name: {operator}\n"
            f"  container: {{image: {IMAGE}, tag: '1', command: ['true']}}\n"
            f"  input: {json.dumps(inputs or [{'path': '/in'}])}\n"
            "  output: [{path: /out}]\n"
        )
    return f"api-version: 0.4.0\nname: {name}\noperators:\n{operators}"


class Daemon:
    """A daemon with the benchmark's pipelines."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._channel = grpc.insecure_channel(f"unix:{site.runtime / 'claraedge.sock'}")
        self._jobs = jobs_pb2_grpc.JobsStub(self._channel)
        self._events = events_pb2_grpc.EventsStub(self._channel)

    def register(self, name: str, edges: dict[str, Sequence[str]]) -> str:
        path = self._site.folder / f"{name}.yaml"
        path.write_text(definition(name, edges))
        return self._site.say("create", "pipeline", "-p", path).strip()

    def run(self, pipeline: str) -> float:
        """Seconds of one job."""
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
                assert job.status == jobs_pb2.JOB_STATUS_HEALTHY, job
                watch.cancel()
                return seconds
        raise AssertionError("the watch ended")


def podman_run(count: int) -> float:
    """Seconds of so many `podman run --rm` one after the other."""
    begin = time.perf_counter()
    for _ in range(count):
        subprocess.run(
            ["podman", "run", "--rm", "--network", "none", f"{IMAGE}:1", "true"],
            check=True,
            cwd="/",
            capture_output=True,
        )
    return time.perf_counter() - begin


def compared(
    rounds: int, what: str, ours: Callable[[], float], theirs: Callable[[], float], most: float
) -> bool:
    """Runs both in turns; prints medians and their ratio."""
    ours(), theirs()  # the first of each fills caches
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    mine, other = (statistics.median(each) * 1000 for each in zip(*pairs, strict=True))
    ratio = mine / other
    print(f"{what}: {mine:.0f} ms against {other:.0f} ms, {ratio:.2f} (at most {most})", flush=True)
    return ratio <= most


def main(rounds: int) -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=os.environ["XDG_RUNTIME_DIR"]) as runtime,
    ):
        site = Site(program=program(), folder=Path(folder), runtime=Path(runtime, "run"))
        site.temporary.mkdir()
        site.start()
        try:
            archive = busybox_image(Path(folder, "image.tar"), f"{IMAGE}:1")
            site.say("create", "image", "-f", archive)
            daemon = Daemon(site)
            chain = daemon.register("chain", {"a": [], "b": ["a"], "c": ["b"]})
            four = daemon.register("four", {name: [] for name in "abcd"})
            kept = [
                compared(
                    rounds,
                    "a chain of three, against three podman run",
                    lambda: daemon.run(chain),
                    lambda: podman_run(3),
                    0.35,
                ),
                compared(
                    rounds,
                    "four side by side, against four podman run",
                    lambda: daemon.run(four),
                    lambda: podman_run(4),
                    0.25,
                ),
            ]
        finally:
            site.stop()
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
