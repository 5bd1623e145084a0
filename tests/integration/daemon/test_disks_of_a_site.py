"""The disk of a real daemon becomes full: work waits, frees its space, and continues."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.freeze.frozen_site import Site
from tests.integration.conftest import TestImages
from tests.integration.daemon.conftest import IMAGE, program
from tests.integration.daemon.test_main_path import (
    containers,
    describe,
    end,
    inbox,
    items,
    operator,
    operator_runs,
    register,
    start_job,
)
from tests.integration.faults import small_disk
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

_SETTINGS = "[inbox]\nsettle_seconds = 0.2\n[engine]\ngrace_seconds = 1\n"
#: No disk has what this asks for; no job is evicted by it.
_MORE_THAN_THERE_IS = "[disk]\nsoft_percent = 100\nsoft_mb = 16777216\nhard_mb = 1\n"
#: Until somebody puts a file `go` next to the input.
_WAITS = "echo on; until [ -e /in/go ]; do sleep 0.1; done; echo 1 >/out/n"


def go(site: Site, *jobs: str) -> None:
    for job in jobs:
        payload = describe(site, job)["payload_id"]
        (site.folder / "state" / "payloads" / payload / "input" / "go").touch()


def is_low(site: Site) -> bool:
    """Whether `claraedge status` warns of a disk."""
    return any("the disk of" in warning for warning in site.ask("status")["warnings"])


def assert_that_work_waits(site: Site, pipeline: str, waiting: str) -> None:
    """A job that was not started yet stays where it is, and so does what is new."""
    payload = describe(site, waiting)["payload_id"]
    word = site.folder / "word"
    word.write_text("x")
    refused = site.call("upload", payload, word)
    assert refused.returncode != 0
    assert "the disk of the state folder" in refused.stderr
    assert "free some space" in refused.stderr
    site.say("start", "job", "-j", waiting)
    (inbox(site, pipeline) / "item").write_text("1")
    until("the item waits", lambda: [i["state"] for i in items(site)] == ["PARKED"])
    (item,) = items(site)
    assert item["reason"].startswith("disk: the disk of the state folder"), item
    shown = site.say("status")
    assert "DISK" in shown
    assert "no job starts: disk: the disk of the state folder" in shown
    shown = site.say("describe", "job", "-j", waiting)
    assert "no job starts: disk: the disk of the state folder" in shown
    found = describe(site, waiting)
    assert (found["state"], found["operators"][0]["status"]) == ("PENDING", "PENDING")


def created(site: Site, pipeline: str) -> str:
    made = site.say("create", "job", "-n", "job", "-p", pipeline)
    return made.splitlines()[0].removeprefix("JOB_ID:")


def assert_that_work_continues(site: Site, waiting: str) -> None:
    assert end(site, waiting)["status"] == "HEALTHY"
    until("the item is delivered", lambda: [i["state"] for i in items(site)] == ["DELIVERED"])
    assert not is_low(site)


def test_below_the_soft_limit_new_work_waits_and_running_work_continues(
    idle_site: Site, archives: TestImages
) -> None:
    site = idle_site
    site.configure(_SETTINGS)
    site.start()
    archives.load(site, f"{IMAGE}:1")
    register(site, "quick", operator("only", "echo 1 >/out/n"))
    running = start_job(site, register(site, "waits", operator("only", _WAITS)))
    operator_runs(site, running, 0)
    waiting = created(site, "quick")
    site.stop()
    site.configure(_SETTINGS + _MORE_THAN_THERE_IS)
    site.start()
    assert_that_work_waits(site, "quick", waiting)
    go(site, running)
    assert end(site, running)["status"] == "HEALTHY"
    assert describe(site, waiting)["state"] == "PENDING"
    site.stop()
    site.configure(_SETTINGS)
    site.start()
    assert_that_work_continues(site, waiting)


# --- on a disk of its own ------------------------------------------------------------------------


@pytest.fixture
def small_site(runtime_folder: Path, archives: TestImages) -> Iterator[Site]:
    """A daemon whose state is on a small disk; the limits are shares of that."""
    reason = small_disk.why_there_is_none()
    if reason is not None:
        pytest.skip(reason)
    folder = small_disk.emptied()
    runtime = Path(tempfile.mkdtemp(prefix="d-", dir=runtime_folder), "run")
    site = Site(program=program(), folder=folder, runtime=runtime)
    site.temporary.mkdir()
    # Podman's own disk has that much, if anything is to be tested on it.
    site.configure(f"{_SETTINGS}[disk]\nsoft_mb = 64\nhard_mb = 32\n")
    try:
        site.start()
        archives.load(site, f"{IMAGE}:1")
        yield site
        until("no container is left", lambda: containers(site) == [])
    finally:
        site.stop()
        small_disk.emptied()


def hard() -> int:
    """The hard limit of the small disk, in bytes."""
    return min(32 << 20, min(64 << 20, total() // 5) // 2)


def total() -> int:
    found = os.statvfs(small_disk.PLACE)
    return found.f_blocks * found.f_frsize


def test_a_disk_that_runs_low_lets_work_wait_until_there_is_room(small_site: Site) -> None:
    site = small_site
    register(site, "quick", operator("only", "echo 1 >/out/n"))
    running = start_job(site, register(site, "waits", operator("only", _WAITS)))
    operator_runs(site, running, 0)
    waiting = created(site, "quick")
    with small_disk.filled(hard() * 3 // 2):
        until("the daemon sees it", lambda: is_low(site))
        assert_that_work_waits(site, "quick", waiting)
        go(site, running)
        assert end(site, running)["status"] == "HEALTHY"
    assert_that_work_continues(site, waiting)


def test_a_job_that_fills_the_disk_is_evicted_and_the_others_continue(small_site: Site) -> None:
    site = small_site
    pipeline = register(site, "waits", operator("only", _WAITS))
    older = start_job(site, pipeline)
    operator_runs(site, older, 0)
    free = small_disk.free()
    size = (free - hard() // 2) >> 20
    greedy = register(
        site,
        "greedy",
        operator("only", f"echo on; dd if=/dev/zero of=/out/n bs=1048576 count={size}; sleep 60"),
    )
    evicted = start_job(site, greedy)
    made = site.say("create", "job", "-n", "job", "-p", pipeline, "-i", "higher", "--start")
    urgent = made.splitlines()[0].removeprefix("JOB_ID:")
    found = end(site, evicted)
    assert found["status"] == "EVICTED", found
    (message,) = [m for m in found["messages"] if m.startswith("evicted: ")]
    assert "the disk of the state folder" in message
    assert "free some space there, then create the job again" in message
    # What it wrote is gone, and with it the reason: the others were not ended for it.
    until("there is room again", lambda: small_disk.free() > free - (8 << 20))
    until("the daemon sees it", lambda: not is_low(site))
    operator_runs(site, urgent, 0)
    go(site, older, urgent)
    for job in (older, urgent):
        assert end(site, job)["status"] == "HEALTHY"


def test_the_state_is_recorded_on_a_disk_that_others_have_filled(small_site: Site) -> None:
    site = small_site
    running = start_job(site, register(site, "waits", operator("only", _WAITS)))
    operator_runs(site, running, 0)
    with small_disk.filled():
        found = end(site, running)
        assert found["status"] == "EVICTED", found
        assert 0 < small_disk.free() < 17 << 20, "the ballast was given up for that"
        assert site.process is not None
        assert site.process.poll() is None
    until("the daemon sees it", lambda: not is_low(site))
    again = start_job(site, register(site, "quick", operator("only", "echo 1 >/out/n")))
    assert end(site, again)["status"] == "HEALTHY"
