"""SIGKILL between any two steps, with nothing that could tidy up: one job and one result an item.

In short, the daemon dies again and again on the way of one item, and what came out is checked in
the end. As a campaign it dies at each failpoint of each kind of item alone, and once more in the
life that recovers.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from tests.campaign import CAMPAIGN
from tests.failpoints import delivery, inbox
from tests.integration.inbox.inbox_child import ANY, Life
from tests.integration.inbox.sigkill_kinds import KINDS, Kind, Site, site_of

ROOT = Path(__file__).resolve().parents[3]
WANTED = 200
AT_ONCE = 4
#: In short, every third failpoint of a kind; another third of the next kind.
STRIDE = 3
_DIED = -signal.SIGKILL

pytestmark = pytest.mark.timeout(3600 if CAMPAIGN else 120)


class Nursery:
    """Starts lives, one at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.inbox.inbox_child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def live(self, life: Life) -> int:
        """Its exit status, negative where a signal ended it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(life).decode() + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


def begin(nursery: Nursery, site: Site) -> None:
    first = site.first()
    if first is not None:
        assert nursery.live(first) == 0
        site.passed()
    site.begin()


def points(nursery: Nursery, kind: Kind) -> list[tuple[str, int]]:
    """Each failpoint that an item passes, and the how-manieth time; nothing kills here."""
    with site_of(kind) as site:
        begin(nursery, site)
        assert nursery.live(site.life()) == 0
        assert list(site.faults()) == []
        seen: Counter[str] = Counter()
        found = []
        for name in site.passed():
            seen[name] += 1
            found.append((name, seen[name]))
    assert set(seen) == set(kind.steps)
    return found


def test_every_failpoint_is_one_of_a_kind() -> None:
    all_names = {
        name
        for module in (inbox, delivery)
        for value in vars(module).values()
        if isinstance(value, tuple)
        for name in value
    }
    # Those of drops are before there is an item: tests/unit/inbox/test_drops_appear.py.
    drops = {*inbox.DROPS, *inbox.DROPS_COPIED}
    assert {name for kind in KINDS.values() for name in kind.steps} == all_names - drops


@pytest.mark.parametrize("name", KINDS)
def test_a_daemon_that_is_killed_on_and_on_loses_and_doubles_nothing(
    nursery: Nursery, name: str
) -> None:
    kind = KINDS[name]
    found = points(nursery, kind)
    killed: list[str] = []
    with site_of(kind) as site:
        begin(nursery, site)
        for at, nth in found[list(KINDS).index(name) % STRIDE :: STRIDE]:
            # The times of before are not passed again.
            if (status := nursery.live(site.life(at, nth if not killed else 1))) != _DIED:
                assert status == 0
                site.passed()
                break
            killed.append(at)
        assert nursery.live(site.life()) == 0
        print(f"{name}: killed at {killed}")
        assert killed
        assert list(site.faults()) == []


@dataclass
class Tally:
    """What came out of the campaign."""

    points: list[tuple[str, str, int]] = field(default_factory=list)
    lives: int = 0
    again: int = 0
    """Kills in a life that recovers."""
    lost: int = 0
    doubled: int = 0
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, point: tuple[str, int], statuses: list[int], site: Site) -> None:
        with self.lock:
            self.lives += len(statuses)
            self.again += statuses[1:].count(_DIED)
            if statuses[0] == _DIED:
                self.points.append((kind, *point))
            faults = list(site.faults()) if statuses[-1] == 0 else [f"stuck: {statuses}"]
            self.lost += sum(fault.startswith("lost") for fault in faults)
            self.doubled += sum(fault.startswith("doubled") for fault in faults)
            self.faults += [f"{kind}, {point}, {statuses}: {fault}" for fault in faults]


@pytest.mark.skipif(not CAMPAIGN, reason="a campaign: CLARAEDGE_CAMPAIGN=1")
def test_a_kill_at_each_failpoint_of_each_kind_loses_and_doubles_nothing() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    tally, began = Tally(), time.monotonic()

    def run(name: str) -> int:
        kind, chance, nursery = KINDS[name], random.Random(f"{seed} {name}"), Nursery()
        try:
            found = points(nursery, kind)
            for point in found:
                for again in (0, chance.randint(1, 8)):
                    with site_of(kind) as site:
                        begin(nursery, site)
                        statuses = [nursery.live(site.life(*point))]
                        if again:
                            statuses.append(nursery.live(site.life(ANY, again)))
                        statuses.append(nursery.live(site.life()))
                        tally.add(name, point, statuses, site)
        finally:
            nursery.close()
        print(f"{name}: {len(found)} failpoints", flush=True)
        return len(found)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        count = sum(threads.map(run, KINDS))
    print(
        f"{len(set(tally.points))} kill points of {len(KINDS)} kinds, each alone and once more with"
        f" a second kill ({tally.again} of these), {tally.lives} lives in"
        f" {time.monotonic() - began:.0f} s: lost {tally.lost}, doubled {tally.doubled}",
        flush=True,
    )
    assert tally.faults == []
    assert len(set(tally.points)) == count >= WANTED
