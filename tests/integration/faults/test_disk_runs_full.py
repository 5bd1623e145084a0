"""The disk of the state is full, to the last byte: nothing is lost, and work continues later."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import TestImages, why_podman_cannot_work
from tests.integration.daemon.conftest import IMAGE, program
from tests.integration.faults import small_disk
from tests.integration.faults.faulty import GRACE, FaultySite, operator
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(180)]

#: 38 and 19 MiB of the small disk: more than the ballast gives back. The other disks are large.
_LIMITS = "[disk]\nsoft_percent = 40\nsoft_mb = 40\nhard_mb = 20\n"


@pytest.fixture(scope="module")
def a_site(
    tmp_path_factory: pytest.TempPathFactory, runtime_folder: Path, archives: TestImages
) -> Iterator[FaultySite]:
    reason = why_podman_cannot_work() or small_disk.why_there_is_none()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("site")
    runtime = Path(tempfile.mkdtemp(prefix="f-", dir=runtime_folder), "run")
    site = FaultySite(program=program(), folder=folder, runtime=runtime, disk=small_disk.emptied())
    site.temporary.mkdir()
    site.configure(f"[engine]\ngrace_seconds = {GRACE}\n{_LIMITS}")
    try:
        site.start()
        archives.load(site, f"{IMAGE}:1")
        yield site
    finally:
        site.stop()
        small_disk.emptied()


def chain(
    site: FaultySite, name: str, *, first: str = "echo 1 >/out/n", seconds: float = 0.5
) -> str:
    """Three operators; each adds a line to what it read. The second lasts `seconds`."""
    second = f"echo second; sleep {seconds}; (cat /in-first/n; echo 2) >/out/n"
    return site.register(
        name,
        operator("first", f"echo first; {first}"),
        operator("second", second, "first"),
        operator("third", "echo third; (cat /in-second/n; echo 3) >/out/n", "second"),
    )


def lines(site: FaultySite, job: str) -> list[str]:
    payload, attempt = site.rows(
        "SELECT j.payload, o.attempt FROM jobs j JOIN operators o ON o.job = j.id"
        " WHERE j.id = ? AND o.name = 'third'",
        job,
    )[0]
    return (site.state / f"payloads/{payload}/operators/third/{attempt}/n").read_text().split()


def works(site: FaultySite) -> None:
    """A job runs as on any other day, and the ballast is there again."""
    job = site.begin(chain(site, "after", seconds=0))
    ended = site.end(job)
    assert ended["status"] == "HEALTHY", ended
    assert lines(site, job) == ["1", "2", "3"]
    until("the ballast is back", (site.state / "ballast").exists)


def evicted(ended: Any) -> bool:
    """It was ended for its room, and its messages say what to do."""
    explained = any(
        text.startswith("evicted: the disk of the state folder") and "free some space there" in text
        for text in ended["messages"]
    )
    return ended["status"] == "EVICTED" and explained


def tail(log: Path, start: int) -> str:
    return log.read_bytes()[start:].decode(errors="replace")


def warns_of_disk(site: FaultySite) -> bool:
    return any("disk" in warning for warning in site.ask("status")["warnings"])


def test_an_operator_that_fills_the_disk_is_evicted_and_its_files_go(site: FaultySite) -> None:
    fill = "echo 1 >/out/n; dd if=/dev/zero of=/out/big bs=1M; sleep 60"
    job = site.begin(chain(site, "greedy", first=fill))
    ended = site.end(job)
    assert ended["status"] == "EVICTED", ended
    assert evicted(ended)
    works(site)


def test_an_operator_that_fails_of_a_full_disk_says_so(site: FaultySite) -> None:
    job = site.begin(chain(site, "fails", first="dd if=/dev/zero of=/out/big bs=1M"))
    ended = site.end(job)
    # It ends by itself, unless the disk is checked before that.
    assert ended["status"] in ("FAULTED", "EVICTED"), ended
    text = "failed with exit code 1; the disk of its outputs may be full: 0 MiB of it are free"
    assert evicted(ended) or text in ended["messages"][0], ended
    works(site)


def test_strangers_fill_the_disk_while_a_job_runs(site: FaultySite) -> None:
    """Its end is recorded, in the room that the ballast had."""
    works(site)
    job = site.begin(chain(site, "strangers", seconds=30))
    site.until_runs(job, "second")
    with small_disk.filled():
        ended = site.end(job)
        assert ended["status"] == "EVICTED", ended
        assert evicted(ended)
        assert not (site.state / "ballast").exists()
        until("new work is blocked", lambda: warns_of_disk(site))
    works(site)


def test_a_job_waits_on_a_disk_without_any_room_and_continues(site: FaultySite) -> None:
    """Not even its end can be recorded; nothing is lost by that."""
    job = site.begin(chain(site, "nothing", first="echo 1 >/out/n; sleep 1"))
    site.until_runs(job, "first")
    (site.state / "ballast").unlink()  # spent before
    with small_disk.filled():
        until("the job waits for the disk", lambda: "the disk is full" in str(site.describe(job)))
        assert warns_of_disk(site)
    assert site.end(job)["status"] in ("HEALTHY", "EVICTED")
    works(site)


def test_a_daemon_that_is_killed_on_a_full_disk_serves_again(site: FaultySite) -> None:
    works(site)
    job = site.begin(chain(site, "killed", first="echo 1 >/out/n; sleep 1"))
    site.until_runs(job, "first")
    site.kill()
    with small_disk.filled():
        site.start()
    ended = site.end(job)
    assert ended["status"] == "HEALTHY" or evicted(ended), ended
    works(site)


def test_a_start_waits_where_not_even_the_ballast_is_left(site: FaultySite) -> None:
    job = site.begin(chain(site, "stopped", first="echo 1 >/out/n; sleep 1"))
    site.until_runs(job, "first")
    site.stop()
    (site.state / "ballast").unlink()
    log = site.folder / "daemon.log"
    before = log.stat().st_size
    with small_disk.filled():
        site.launch()
        until("it says that it waits", lambda: "the start waits" in tail(log, before))
        assert not site.serves()
    until("it serves", site.serves)
    assert site.end(job)["status"] == "HEALTHY"
    works(site)
