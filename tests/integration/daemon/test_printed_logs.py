"""What operators print, on real Podman: both ends are kept, and no reader slows an operator."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.campaign import CAMPAIGN
from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages
from tests.integration.daemon.conftest import IMAGE
from tests.integration.daemon.test_main_path import (
    describe,
    end,
    operator,
    operator_runs,
    register,
    start_job,
)
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(300)]

MIB = 1 << 20
LINES = 300_000 if CAMPAIGN else 150_000
#: Numbered lines of 1 KB, and how long that took in hundredths of a second.
PRINT = (
    "read now idle </proc/uptime; busybox awk"
    f" 'BEGIN {{ pad = sprintf(\"%0990d\", 0); for (n = 0; n < {LINES}; n++) print n, pad }}';"
    " read then idle </proc/uptime; echo $now $then >/out/took"
)
GAP = re.compile(r"\[claraedge: ([\d,]+) bytes of this log were left out here; it passed .*\]\n")


def serve(site: Site, limit: int, more: str = "") -> None:
    """A daemon that keeps so many MiB of a log."""
    site.stop()
    site.configure(f"[engine]\ngrace_seconds = 3\noperator_log_mb = {limit}\n{more}")
    site.start()


@pytest.fixture
def printing(idle_site: Site, archives: TestImages) -> Site:
    """A daemon that keeps 8 MiB of each log."""
    serve(idle_site, 8)
    archives.load(idle_site, f"{IMAGE}:1")
    return idle_site


def log_of(site: Site, job: str, name: str = "only") -> Path:
    return site.folder / "state" / "jobs" / job / "logs" / name / "1.log"


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


def read(site: Site, job: str) -> list[str]:
    return site.say("logs", "-j", job, "-o", "only").splitlines(keepends=True)


def check(lines: list[str], last: int) -> int:
    """Whether both ends are there, in order, with one gap between; returns the count of lines."""
    gaps = [at for at, line in enumerate(lines) if line.startswith("[")]
    assert len(gaps) == 1, f"{len(gaps)} gaps"
    found = GAP.fullmatch(lines[gaps[0]])
    assert found is not None
    # The gap may split a line: then a part of that line is next to it, on either side.
    head, tail = (
        [int(line.split()[0]) for line in part]
        for part in (lines[: gaps[0] - 1], lines[gaps[0] + 2 :])
    )
    assert head == list(range(len(head)))
    assert tail == list(range(tail[0], last + 1))
    left_out = tail[0] - head[-1] - 1
    assert left_out * 1000 < int(found[1].replace(",", "")) < left_out * 1100
    return len(head) + len(tail)


def took(site: Site, job: str) -> float:
    target = site.folder / f"took-{job}"
    site.say("download", f"{describe(site, job)['payload_id']}:operators/only/took", target)
    now, then = (target / "took" if target.is_dir() else target).read_text().split()
    return float(then) - float(now)


def test_both_ends_of_what_an_operator_prints_are_kept_and_the_disk_use_is_bounded(
    printing: Site,
) -> None:
    site = printing
    pipeline = register(site, "talk", operator("only", f"{PRINT}; sleep 6"))
    job = start_job(site, pipeline)
    operator_runs(site, job, 0)
    log = log_of(site, job)
    until("it prints", log.exists)
    most = 0

    def printed() -> bool:
        nonlocal most
        most = max(most, on_disk(log))
        return log.stat().st_size >= LINES * 1000  # all of it is in the file, holes and all

    until("it has printed all", printed, 120)
    # How far it exceeds the limit for a moment depends on the machine: it is printed, not checked.
    print(f"\nat most {most / MIB:.1f} MiB on the disk")
    until("it is cut", lambda: on_disk(log) <= 8 * MIB)
    assert describe(site, job)["operators"][0]["status"] == "RUNNING"
    while_it_runs = read(site, job)
    assert check(while_it_runs, LINES - 1) > 2 * 3 * 1024
    assert end(site, job)["status"] == "HEALTHY"
    assert read(site, job) == while_it_runs, "the container is gone, its log is not"
    site.stop()
    site.start()
    assert read(site, job) == while_it_runs
    assert on_disk(log) <= 8 * MIB
    shutil.rmtree(log.parents[2])
    (line,) = read(site, job)
    assert "were removed" in line
    assert "job stopped: HEALTHY\n" in site.say("logs", "-j", job, "-o", "claraedge-engine")


def test_a_daemon_that_was_killed_cuts_what_was_printed_meanwhile(printing: Site) -> None:
    site = printing
    job = start_job(site, register(site, "talk", operator("only", f"sleep 2; {PRINT}; sleep 6")))
    operator_runs(site, job, 0)
    assert site.process is not None
    site.process.kill()
    site.process.wait()
    log = log_of(site, job)
    until("all is printed", lambda: log.stat().st_size >= LINES * 1000)
    assert on_disk(log) > LINES * 1000 / 2, "nobody was there to cut it"
    site.start()
    until("it is cut", lambda: on_disk(log) <= 8 * MIB)
    assert end(site, job)["status"] == "HEALTHY"
    check(read(site, job), LINES - 1)


def test_all_logs_together_keep_within_their_own_limit(printing: Site) -> None:
    site = printing
    # Retention runs more often if it has to remove unstarted jobs sooner.
    serve(site, 8, "[jobs]\nunstarted_after_hours = 0.005\n[retention]\nlog_mb = 20\n")
    pipeline = register(site, "talk", operator("only", PRINT))
    jobs = []
    for _ in range(4):
        jobs.append(start_job(site, pipeline))
        assert end(site, jobs[-1])["status"] == "HEALTHY"
    until("the oldest logs are gone", lambda: not log_of(site, jobs[1]).exists())
    assert not log_of(site, jobs[0]).exists()
    for job in jobs[:2]:
        (line,) = read(site, job)
        assert "were removed" in line
    for job in jobs[2:]:
        check(read(site, job), LINES - 1)
        assert on_disk(log_of(site, job)) <= 8 * MIB


def test_neither_the_limit_nor_a_reader_that_hangs_slows_an_operator(printing: Site) -> None:
    site = printing
    pipeline = register(site, "talk", operator("only", PRINT))
    times: dict[int, list[float]] = {8: [], 4096: []}
    for limit in (8, 4096) * 2:
        serve(site, limit)
        job = start_job(site, pipeline)
        until("it prints", lambda job=job: log_of(site, job).exists())  # type: ignore[misc]
        log = log_of(site, job)
        until("it printed a lot", lambda log=log: log.stat().st_size > 20 * MIB)  # type: ignore[misc]
        reader = subprocess.Popen(
            [site.program, "logs", "-j", job, "-o", "only"],
            env=site.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert end(site, job)["status"] == "HEALTHY"
            times[limit].append(took(site, job))
        finally:
            reader.kill()
            reader.communicate()
        assert (on_disk(log) <= 8 * MIB + MIB) is (limit == 8)
    cut, whole = (min(times[limit]) for limit in (8, 4096))
    print(f"\n{LINES // 1000} MB printed in {cut:.2f} s with the limit, {whole:.2f} s without")
    assert cut <= 2 * whole + 1, "it waited for nobody"
