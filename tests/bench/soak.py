"""Checks what many jobs leave behind: a real daemon on real Podman, one job after the other.

    python -m tests.bench.soak [JOBS]

Each job is a chain of three operators. The daemon's resident memory after the last job is compared
with that after the 50th (at most 10 % more), its file descriptors and threads with those at that
time; and no container and no mount of a container may be left. The exit code is 1 if one of these
checks fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.runner.protocol import LABEL_INSTANCE
from tests.bench.start import CHAIN, NOTHING, Daemon
from tests.freeze.frozen_site import Site
from tests.integration.daemon.conftest import IMAGE, program
from tests.rig.operators import busybox_image
from tests.rig.waiting import until

MARK = 50
GROWTH = 1.10
#: Threads and descriptors vary with calls in progress: the minimum of this many samples counts.
SAMPLES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The resource usage of a process at one point in time."""

    memory: int
    """Resident memory in KiB."""
    descriptors: int
    threads: int

    @classmethod
    def of(cls, process: int) -> Figures:
        """Samples a process a few times; returns the last memory, and the minimum of the others."""
        samples = [cls._sample(process)]
        for _ in range(SAMPLES - 1):
            time.sleep(0.1)
            samples.append(cls._sample(process))
        return cls(
            memory=samples[-1].memory,
            descriptors=min(each.descriptors for each in samples),
            threads=min(each.threads for each in samples),
        )

    @classmethod
    def _sample(cls, process: int) -> Figures:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        return cls(
            memory=int(status["VmRSS"].split()[0]),
            descriptors=sum(1 for _ in Path(f"/proc/{process}/fd").iterdir()),
            threads=int(status["Threads"]),
        )

    def __str__(self) -> str:
        return (
            f"{self.memory / 1024:.1f} MiB, {self.descriptors} descriptors, {self.threads} threads"
        )


def said(*command: str) -> Sequence[str]:
    """Returns the lines that a command prints."""
    ended = subprocess.run(command, check=True, cwd="/", capture_output=True, text=True)
    return ended.stdout.splitlines()


def tried(*command: str) -> Sequence[str]:
    """Returns the lines that a command prints, even if it fails, as for a removed container."""
    return subprocess.run(
        command, check=False, cwd="/", capture_output=True, text=True
    ).stdout.splitlines()


def containers(instance: str, *filters: str) -> Sequence[str]:
    chosen = (f"label={LABEL_INSTANCE}={instance}", *filters)
    return said("podman", "ps", "--all", "--quiet", *(f"--filter={one}" for one in chosen))


def mounts() -> set[str]:
    """Returns the mounts of containers of this user that no longer exist.

    Other containers of this user may come and go meanwhile, so the mounts are listed first and the
    containers after them.
    """
    lines = said("podman", "unshare", "cat", "/proc/self/mountinfo")
    there = {line.split()[4] for line in lines if "/overlay" in line.split()[4]}
    form = "{{.Id}} {{.GraphDriver.Data.MergedDir}}"
    owners = [
        word
        for container in said("podman", "ps", "--all", "--quiet")
        for line in tried("podman", "inspect", "--format", form, container)
        for word in line.split()
    ]
    return {place for place in there if not any(owner in place for owner in owners)}


def soaked(site: Site, jobs: int) -> bool:
    """Runs the jobs and prints the figures; returns whether all limits are kept."""
    site.say("create", "image", "-f", busybox_image(site.folder / "image.tar", f"{IMAGE}:1"))
    daemon = Daemon(site)
    chain = daemon.register("chain", CHAIN, NOTHING)
    assert site.process is not None
    process, instance = site.process.pid, site.ask("status")["instance"]
    mounted = mounts()
    print(f"before: {Figures.of(process)}", flush=True)
    mark = MARK if jobs > MARK else max(1, jobs // 2)
    at_mark = Figures.of(process)
    begin, seconds = time.perf_counter(), 0.0
    for number in range(1, jobs + 1):
        daemon.run(chain)
        if number == mark or number % MARK == 0:
            seconds += time.perf_counter() - begin
            now = Figures.of(process)
            print(f"{number} jobs in {seconds:.0f} s: {now}", flush=True)
            at_mark = now if number == mark else at_mark
            begin = time.perf_counter()
    seconds += time.perf_counter() - begin
    print(f"throughput: {jobs / seconds:.2f} jobs, {3 * jobs / seconds:.2f} operators a second")
    until("the containers are removed", lambda: not containers(instance))
    # A mount of a container that another process is removing is gone in the second list.
    left = (mounts() & mounts()) - mounted
    at_end = Figures.of(process)
    print(f"after: {at_end}", flush=True)
    growth = at_end.memory / at_mark.memory
    bounds = {
        f"memory grew to {growth:.3f} of that after {mark} jobs (at most {GROWTH})": growth
        <= GROWTH,
        f"descriptors: {at_mark.descriptors}, then {at_end.descriptors}": at_end.descriptors
        <= at_mark.descriptors,
        f"threads: {at_mark.threads}, then {at_end.threads}": at_end.threads <= at_mark.threads,
        f"mounts left: {', '.join(sorted(left)) or 'none'}": not left,
    }
    for text, holds in bounds.items():
        print(f"{'ok    ' if holds else 'BROKEN'} {text}", flush=True)
    return all(bounds.values())


def main(jobs: int) -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=os.environ["XDG_RUNTIME_DIR"]) as runtime,
    ):
        site = Site(program=program(), folder=Path(folder), runtime=Path(runtime, "run"))
        site.temporary.mkdir()
        site.start()
        try:
            kept = soaked(site, jobs)
        finally:
            site.stop()
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
