"""A burst of small files while the daemon is killed, again and again: one job and one result each.

All of the product but Podman, in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.campaign import CAMPAIGN
from tests.integration.inbox.inbox_site import InboxSite, inbox_site
from tests.rig.inbox import tree_of

FILES = 10_000 if CAMPAIGN else 500
KILLS = 5
DEADLINE = 1800.0 if CAMPAIGN else 90.0

pytestmark = pytest.mark.timeout(DEADLINE + 120)

SETTINGS = """\
[inbox]
settle_seconds = 0.3
rescan_seconds = 2
[engine]
max_operators = 16
"""


def figures(site: InboxSite) -> tuple[int, int, int]:
    """Items that are claimed or further, jobs, items that are delivered."""
    (row,) = site.rows(
        "SELECT (SELECT COUNT(*) FROM inbox_items), (SELECT COUNT(*) FROM jobs),"
        " (SELECT COUNT(*) FROM inbox_items WHERE state = 'delivered')"
    )
    claimed, jobs, delivered = map(int, row)
    return claimed, jobs, delivered


def until(site: InboxSite, progress: float) -> None:
    """0: nothing is claimed; 1: all is delivered."""
    site.until(
        f"{progress:.3f} of it is done",
        lambda: sum(figures(site)) >= progress * 3 * FILES,
        DEADLINE,
        details=lambda: figures(site),
    )


def content(number: int) -> bytes:
    return b"%d " % number * 64


def drop(folder: Path, numbers: Sequence[int]) -> None:
    """As different programs do: written in place, renamed to its name, or in two steps."""
    for number in numbers:
        path, written = folder / f"scan-{number}.dcm", content(number)
        if number % 3 == 0:
            path.write_bytes(written)
        elif number % 3 == 1:
            part = path.with_name(path.name + ".part")
            part.write_bytes(written)
            part.rename(path)
        else:
            with path.open("wb") as file:
                file.write(written[:7])
                file.flush()
                file.write(written[7:])


def test_a_burst_loses_and_doubles_nothing_while_the_daemon_is_killed() -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}", flush=True)
    # Most of it at once; of the rest a part after each kill, while nobody listens.
    most = FILES * 4 // 5
    first, rest = range(most), range(most, FILES)
    parts = [rest[number::KILLS] for number in range(KILLS)]
    with inbox_site(SETTINGS) as site:
        site.start()
        began = time.monotonic()
        writer = threading.Thread(target=drop, args=(site.inbox, first))
        writer.start()
        for number, part in enumerate(parts):
            # One in each fifth of the work, at any moment of it.
            until(site, (number + chance.random()) / KILLS * 0.9)
            time.sleep(chance.random() * 0.1)
            site.end(signal.SIGKILL)
            claimed, jobs, delivered = figures(site)
            print(f"killed at: claimed {claimed}, jobs {jobs}, delivered {delivered}", flush=True)
            drop(site.inbox, part)
            site.start()
        writer.join()
        until(site, 1.0)
        seconds = time.monotonic() - began
        site.end(signal.SIGTERM)
        report(site, seconds)
        check(site)


def report(site: InboxSite, seconds: float) -> None:
    """What came out, in figures."""
    counts = Counter(dict(of_contents(site)))
    doubled = sum(count - 1 for count in counts.values() if count > 1)
    _, jobs, delivered = figures(site)
    print(
        f"{FILES} files, {seconds:.1f} s with {KILLS} kills, {FILES / seconds:.0f} files/s,"
        f" {jobs} jobs, {delivered} delivered, {doubled} doubled, {FILES - len(counts)} lost,"
        f" peak {site.peak / (1 << 20):.0f} MiB resident",
        flush=True,
    )


def of_contents(site: InboxSite) -> Iterator[tuple[str, int]]:
    """The digest of each content that became a job's input, with the number of such jobs."""
    query = (
        "SELECT f.sha256, COUNT(*) FROM payload_files f JOIN jobs j ON j.payload = f.payload"
        " WHERE f.name LIKE 'input/%' GROUP BY f.sha256"
    )
    for digest, count in site.rows(query):
        yield str(digest), int(str(count))


def check(site: InboxSite) -> None:
    state = site.state
    wanted = {hashlib.sha256(content(n)).hexdigest(): f"scan-{n}.dcm" for n in range(FILES)}
    assert len(wanted) == FILES
    assert dict(of_contents(site)) == dict.fromkeys(wanted, 1)
    assert site.rows("SELECT COUNT(*) FROM jobs") == [(FILES,)]
    assert site.rows("SELECT state, COUNT(*) FROM inbox_items GROUP BY state") == [
        ("delivered", FILES)
    ]
    results = list((state / "outbox/ct").iterdir())
    assert len(results) == FILES
    documents = [json.loads((path / "result.json").read_text()) for path in results]
    assert {one["job_id"] for one in documents} == {
        job for (job,) in site.rows("SELECT id FROM jobs")
    }
    assert {one["status"] for one in documents} == {"HEALTHY"}
    given = {one["inputs"][0]["sha256"]: one["inputs"][0]["path"] for one in documents}
    assert given == wanted
    assert all((path / "only/hello.txt").read_text() == "hello" for path in results)
    # Each original is there once, as it was dropped; and nothing half done is.
    originals = sorted(tree_of(state / "originals").values())
    assert originals == sorted(content(number) for number in range(FILES))
    for folder in ("inbox/ct", "spool", "failed"):
        assert list((state / folder).iterdir()) == []
    assert [path.name for path in (state / "outbox").iterdir()] == ["ct"]
    assert len(list((state / "payloads").iterdir())) == FILES
    assert "Traceback" not in site.log()
