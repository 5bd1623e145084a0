"""Whatever is killed, hung, removed or set wrong: a right end, and nothing left over."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.campaign import CAMPAIGN
from tests.integration.conftest import TestImages
from tests.integration.faults.faulty import REMOVED, STUBBORN, FaultySite, operator, podman
from tests.rig.waiting import until

pytestmark = [pytest.mark.podman, pytest.mark.timeout(900 if CAMPAIGN else 120)]

_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
_FIVE = "12345"


def five(site: FaultySite) -> str:
    """1 -> (2, 3) -> 4 -> 5; each writes what it read and its own name, and says so once."""

    def script(name: str, *sources: str) -> str:
        read = " ".join(f"/in-{s}/n" for s in sources)
        gather = f"cat {read} >/out/n; " if sources else ""
        return f"echo ran {name}; sleep 0.15; {gather}echo {name} >>/out/n"

    shape = {"n1": (), "n2": ("n1",), "n3": ("n1",), "n4": ("n2", "n3"), "n5": ("n4",)}
    return site.register("five", *(operator(n, script(n, *s), *s) for n, s in shape.items()))


def result(site: FaultySite, job: str, name: str = "n5") -> str:
    (payload,) = site.rows("SELECT payload FROM jobs WHERE id = ?", job)[0]
    attempt = site.rows("SELECT attempt FROM operators WHERE job = ? AND name = ?", job, name)[0][0]
    folder = site.state / "payloads" / payload / "operators" / name / str(attempt)
    return "".join((folder / "n").read_text().split())


_NAMES = ("n1", "n2", "n3", "n4", "n5")


def ran_once(site: FaultySite, job: str, details: object) -> None:
    """All five operators ran, each of them once, and the right files came out."""
    assert result(site, job) == "n1n2n1n3n4n5", details
    for name in _NAMES:
        assert site.log(job, name) == [f"ran {name}"], (name, details)


def ran_once_but_for_starts(site: FaultySite, job: str, details: object) -> None:
    """The same where Podman was killed once: what it was about to start, two side by side at most,
    may have started, and nobody lived to say so. Then it is ended, and run again, and a message
    says so.
    """
    assert result(site, job) == "n1n2n1n3n4n5", details
    runs = {name: site.log(job, name) for name in _NAMES}
    assert all(set(lines) == {f"ran {name}"} for name, lines in runs.items()), (runs, details)
    again = [name for name, lines in runs.items() if len(lines) > 1]
    assert again in ([], ["n1"], ["n2"], ["n3"], ["n2", "n3"], ["n4"], ["n5"]), (runs, details)
    assert all(len(lines) <= 2 for lines in runs.values()), (runs, details)
    messages = [text for (text,) in site.rows("SELECT text FROM job_messages WHERE job = ?", job)]
    for name in again:
        text = f"operator {name}: interrupted (Podman ended while it started it); run again"
        assert text in messages, (messages, details)


def moments(most: float) -> list[float]:
    """Seconds after a job's start: half of them while containers are made ahead, half later."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    return [chance.uniform(0, 0.4 if n % 2 else most) for n in range(20 if CAMPAIGN else 4)]


def test_the_daemon_is_killed_at_random_moments(site: FaultySite) -> None:
    pipeline = five(site)
    for moment in moments(1.4):
        before = len(site.rows("SELECT id FROM jobs"))
        with subprocess.Popen(
            [site.program, "create", "job", "-n", "job", "-p", pipeline, "--start"],
            env=site.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as creating:  # fmt: skip
            until(
                "the job is started",
                lambda count=before: (
                    len(site.rows("SELECT id FROM jobs WHERE queue_position IS NOT NULL")) > count
                ),
            )
            time.sleep(moment)
            site.kill()
            creating.wait()
        site.start()
        (job,) = site.rows("SELECT id FROM jobs ORDER BY sequence DESC LIMIT 1")[0]
        ended = site.end(job)
        assert ended["status"] == "HEALTHY", (moment, ended)
        ran_once(site, job, (moment, ended))
        until("nothing is left", lambda: not site.leftovers(), seconds=20, details=site.leftovers)


def test_podmans_service_is_killed_at_random_moments(site: FaultySite) -> None:
    pipeline = five(site)
    for moment in moments(1.0):
        job = site.begin(pipeline)
        time.sleep(moment)
        os.kill(site.service(), signal.SIGKILL)
        ended = site.end(job)
        assert ended["status"] == "HEALTHY", (moment, ended)
        ran_once_but_for_starts(site, job, (moment, ended))
        until("nothing is left", lambda: not site.leftovers(), seconds=20, details=site.leftovers)


def test_podmans_service_is_killed_again_and_again(site: FaultySite) -> None:
    job = site.begin(five(site))
    for _ in range(3):
        os.kill(site.service(), signal.SIGKILL)
        time.sleep(0.25)
    ended = site.end(job)
    assert ended["status"] == "HEALTHY", ended
    assert result(site, job) == "n1n2n1n3n4n5"


def test_podmans_service_hangs(site: FaultySite) -> None:
    pipeline = site.register(
        "hangs",
        operator("first", "echo first; sleep 1; echo 1 >/out/n"),
        operator("second", "echo second; cat /in-first/n >/out/n", "first"),
    )
    job = site.begin(pipeline)
    site.until_runs(job, "first")
    hung = site.service()
    os.kill(hung, signal.SIGSTOP)
    began = time.monotonic()
    ended = site.end(job)
    print(f"{time.monotonic() - began:.1f} s")
    assert ended["status"] == "HEALTHY", ended
    assert site.log(job, "second") == ["second"]
    assert site.service() != hung
    assert time.monotonic() - began < 40


@pytest.mark.parametrize(
    ("victim", "text"),
    [
        ("conmon", "exit code unknown: its supervisor"),
        ("operator", "failed with exit code 137 (SIGKILL: it was killed by somebody"),
    ],
)
def test_a_process_of_an_operator_is_killed(site: FaultySite, victim: str, text: str) -> None:
    pipeline = site.register(
        f"kill-{victim}",
        operator("first", "echo on; echo half >/out/n; sleep 30"),
        operator("second", "cp /in-first/n /out/n", "first"),
    )
    job = site.begin(pipeline)
    site.until_runs(job, "first")
    _, process, conmon = site.of_container(job, "first")
    os.kill(process if victim == "operator" else conmon, signal.SIGKILL)
    ended = site.end(job)
    assert ended["status"] == "FAULTED", ended
    assert text in ended["messages"][-1]
    assert ended["operators"][1]["status"] == "PENDING"


def test_an_image_is_removed_between_create_and_start(
    site: FaultySite, archives: TestImages
) -> None:
    site.say("create", "image", "-f", archives.archive(REMOVED, user="1000:1000"))
    pipeline = site.register(
        "removed",
        operator("first", "echo on; until [ -e /in/go ]; do sleep 0.1; done"),
        operator("second", "true", "first", image=REMOVED.rpartition(":")[0]),
    )
    job = site.begin(pipeline)
    site.until_runs(job, "first")
    label = f"label=io.claraedge.job={job}"
    made = ("ps", "-aq", "--filter", label, "--filter", "label=io.claraedge.operator=second")
    until("the second is made", lambda: podman(*made).split())
    podman("rmi", "-f", REMOVED)
    assert podman(*made).split() == []
    (payload,) = site.rows("SELECT payload FROM jobs WHERE id = ?", job)[0]
    (site.state / "payloads" / payload / "input" / "go").touch()
    ended = site.end(job)
    assert ended["status"] == "FAULTED", ended
    assert "removed before its start" in ended["messages"][0]
    assert "is not on this device" in ended["messages"][-1]


def test_an_image_is_removed_between_two_attempts(site: FaultySite, archives: TestImages) -> None:
    site.say("create", "image", "-f", archives.archive(REMOVED, user="1000:1000"))
    image = REMOVED.rpartition(":")[0]
    retry = "  retry: {attempts: 2, backoff: 1}\n"
    pipeline = site.register("twice", operator("only", "exit 3", image=image, more=retry))
    job = site.begin(pipeline)
    until("its first attempt has failed", lambda: "is run again" in str(site.describe(job)))
    podman("rmi", "-f", REMOVED)
    ended = site.end(job)
    assert ended["status"] == "FAULTED", ended
    assert "is not on this device" in ended["messages"][-1]


@pytest.mark.skipif(_FAKETIME is None, reason="libfaketime is missing (build/test installs it)")
def test_the_clock_jumps_by_hours(site: FaultySite) -> None:
    offset = site.folder / "clock"
    offset.write_text("+0\n")
    site.stop()
    site.extra = {
        "LD_PRELOAD": str(_FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
    try:
        site.start()
        retry = "  retry: {attempts: 2, backoff: 1}\n"
        pipeline = site.register(
            "clock",
            operator("first", "echo on; sleep 1; echo 1 >/out/n"),
            operator("again", "echo again; sleep 0.5; exit 5", "first", more=retry),
            more="timeout: 60\n",
        )
        job = site.begin(pipeline)
        site.until_runs(job, "first")
        jumped = time.time()
        offset.write_text("+3600\n")
        site.until_runs(job, "again")
        offset.write_text("-7200\n")
        began = time.monotonic()
        ended = site.end(job)
        assert time.monotonic() - began < 15, "it waited for a clock"
        # It ends by its own failures, and not by a time-out; and the daemon did see the jumps.
        assert ended["status"] == "FAULTED", ended
        assert "timed out" not in str(ended["messages"])
        assert site.log(job, "again") == ["again"] * 2
        (started,) = site.rows(
            "SELECT started FROM operators WHERE job = ? AND name = 'again'", job
        )[0]
        assert abs(started - jumped) > 3000
    finally:
        site.stop()
        site.extra = {}
        site.start()


def test_the_machine_goes_down(site: FaultySite) -> None:
    pipeline = site.register(
        "down",
        operator("first", "echo first; echo 1 >/out/n"),
        operator("second", "echo second; cp /in-first/n /out/n; sleep 1", "first"),
        operator("third", "echo third; cp /in-second/n /out/n", "second"),
    )
    job = site.begin(pipeline)
    site.until_runs(job, "second")
    site.kill()
    label = f"label=io.claraedge.instance={site.instance}"
    podman("rm", "-f", "-t", "0", *podman("ps", "-aq", "--filter", label).split())

    with closing(sqlite3.connect(site.state / "claraedge.db")) as db, db:
        db.execute("UPDATE operators SET boot = 'another', began = began + 1e6 WHERE status = 2")
        db.execute("UPDATE jobs SET ran_since = ran_since + 1e6 WHERE id = ?", (job,))
    site.start()
    ended = site.end(job)
    assert ended["status"] == "HEALTHY", ended
    assert ended["messages"] == ["operator second: interrupted (the machine ended it); run again"]
    assert site.log(job, "first") == ["first"]
    assert site.log(job, "third") == ["third"]
    assert result(site, job, "third") == "1"


def test_a_daemon_is_killed_while_it_stops_an_operator(site: FaultySite) -> None:
    job = site.begin(site.register("stubborn", operator("only", STUBBORN)))
    site.until_runs(job, "only")
    cancelling = subprocess.Popen(
        [site.program, "cancel", "job", "-j", job, "--reason", "enough"],
        env=site.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    query = "SELECT cancel_reason FROM jobs WHERE id = ?"
    until("it is cancelled", lambda: site.rows(query, job)[0][0])
    site.kill()
    cancelling.wait()
    site.start()
    ended = site.end(job)
    assert (ended["status"], ended["messages"][-1]) == ("CANCELED", "canceled: enough")
