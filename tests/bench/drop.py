"""Measures the time from a dropped file to the first instruction of its operator.

It begins when the file is closed in the folder of a pipeline, and ends when the operator's program
reads the clock, as the first thing that it does; the settle time is subtracted, since it is a
setting. It is compared with `podman run --rm` of the same image and program.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.bench.case import Case, Figure, Pair, Pairs, at_most
from tests.bench.run import main
from tests.bench.start import podman_run, started_daemon
from tests.rig.operators import busybox_image
from tests.rig.waiting import until

IMAGE = "localhost/ce-bench/clock"
SETTLE = 0.5
DEFINITION = f"""\
api-version: 0.4.0
name: drop
operators:
- name: clock
  container: {{image: {IMAGE}, tag: "1", command: [clock, /out/time]}}
  input: [{{path: /in}}]
  output: [{{path: /out}}]
"""
#: Writes the nanoseconds of the clock to a file: busybox prints no part of a second.
CLOCK = """\
#include <stdio.h>
#include <time.h>
int main(int count, char **words) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    FILE *file = fopen(words[1], "w");
    if (!file) return 1;
    fprintf(file, "%lld%09ld", (long long)now.tv_sec, now.tv_nsec);
    return fclose(file) != 0;
}
"""


def clock(folder: Path) -> bytes:
    """Returns a static program: `clock FILE`."""
    program = folder / "clock"
    subprocess.run(
        ["gcc", "-O2", "-static", "-x", "c", "-o", program, "-"],
        check=True,
        input=CLOCK.encode(),
    )
    return program.read_bytes()


def times(outbox: Path) -> dict[str, int]:
    """Returns the nanoseconds that operators have read, by the name of the result."""
    return {
        path.name: int(next(path.rglob("time")).read_text())
        for path in outbox.glob("[!.]*")
        if (path / "result.json").exists()
    }


def dropped(state: Path, number: int) -> float:
    """Drops a file; returns the seconds to its operator's first instruction."""
    inbox, outbox = state / "inbox" / "drop", state / "outbox" / "drop"
    before = times(outbox)
    (inbox / f"slice-{number}.dcm").write_bytes(b"%d" % number + bytes(4096))
    closed = time.time_ns()
    until("the result is delivered", lambda: len(times(outbox)) > len(before))
    ((_, began),) = times(outbox).items() - before.items()
    return (began - closed) / 1e9


def pairs(_: int) -> Pairs:
    with started_daemon(f"[inbox]\nsettle_seconds = {SETTLE}\n") as daemon:
        site = daemon.site
        files = {"/bin/clock": clock(site.folder)}
        archive = busybox_image(site.folder / "clock.tar", f"{IMAGE}:1", files=files)
        site.say("create", "image", "-f", archive)
        (site.folder / "drop.yaml").write_text(DEFINITION)
        site.say("create", "pipeline", "-p", site.folder / "drop.yaml")
        (site.state / "inbox" / "drop").mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            theirs = podman_run(1, image=f"{IMAGE}:1", command=("clock", "/tmp/time"))
            ours = dropped(site.state, number := number + 1) - SETTLE
            yield [Pair(ours * 1000, theirs * 1000)]


CASES = (
    Case(
        name="drop",
        figures=(Figure("file to first instruction", "podman run --rm", "ms", at_most(0.5)),),
        pairs=pairs,
        full=1,
        quick=1,
    ),
)


if __name__ == "__main__":
    sys.exit(main(CASES))
