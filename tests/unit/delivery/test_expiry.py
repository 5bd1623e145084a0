"""What was kept for long enough goes, once, whole, and never by a clock that may be wrong."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from claraedge.config import OutboxSettings
from claraedge.delivery import expiry, kept
from claraedge.delivery.expiry import Expiry
from claraedge.delivery.roots import Roots
from claraedge.failpoints import hooked
from claraedge.fs.removal import remove
from claraedge.jobs.model import JobStatus
from claraedge.jobs.retention.trust import ClockTrust
from tests.failpoints.delivery import REMOVAL
from tests.rig.inbox import (
    InboxRig,
    KilledError,
    document,
    drop,
    inbox_rig,
    make_config,
    swept,
    tree_of,
)
from tests.rig.queries import query

DAY = 86400.0
HOUR = 3600.0


@dataclass
class Hands:
    """A clock that is set by hand, from now on."""

    wall: float = field(default_factory=time.time)
    boot: float = 1000.0

    def now(self) -> float:
        return self.wall

    def elapsed(self) -> float:
        return self.boot

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds


@dataclass
class Keeping:
    """A rig that has delivered, and what removes there."""

    rig: InboxRig
    clock: Hands
    expiry: Expiry
    trust: ClockTrust

    async def totals(self) -> dict[str, tuple[int, int]]:
        row = await self.rig.database.read(lambda tx: tx.row("status_counts"))
        assert row is not None
        return {
            kind: (row[plural], row[f"{kind}_bytes"])
            for kind, plural in (
                ("result", "results"), ("failure", "failures"), ("original", "originals"),
            )
        }  # fmt: skip

    async def run_for(self, seconds: float) -> None:
        """Removes what is due while this time passes, in steps that are too short for a jump."""
        await self.expiry.remove_due()
        while seconds > 0:
            step = min(seconds, HOUR)
            self.clock.passes(step)
            seconds -= step
            await self.expiry.remove_due()


@asynccontextmanager
async def keeping(
    state: Path,
    *,
    status: JobStatus = JobStatus.HEALTHY,
    trigger: Sequence[Mapping[str, Any]] = (),
    **rules: float | None,
) -> AsyncIterator[Keeping]:
    config = make_config(state, trigger=trigger)
    async with inbox_rig(config, status=status) as rig:
        yield await keeper_of(rig, **rules)


async def keeper_of(rig: InboxRig, **rules: float | None) -> Keeping:
    roots = Roots(rig.database, rig.config)
    await roots.prepare()
    clock = Hands()
    trust = ClockTrust(rig.database, clock)
    expiry = Expiry(rig.database, roots, OutboxSettings(**rules), clock, trust)  # type: ignore[arg-type]
    return Keeping(rig, clock, expiry, trust)


async def deliver(k: Keeping, *names: str) -> list[Path]:
    """The result folders of files that were dropped."""
    if not await k.rig.database.read(lambda tx: tx.rows("pipelines", after=0)):
        await k.rig.register("ct")
    for name in names:
        drop(k.rig.config.inbox_dir / "ct" / name, name.encode())
    items = await k.rig.delivered(len(names))
    return [Path(item.result_path or "") for item in items]


async def test_nothing_goes_unless_that_is_configured(tmp_path: Path) -> None:
    async with keeping(tmp_path) as k:
        (result,) = await deliver(k, "a.dcm")
        await k.run_for(2 * HOUR)
        assert result.is_dir()
        assert (await k.totals())["result"][0] == 1


async def test_each_kind_goes_after_its_own_days(tmp_path: Path) -> None:
    async with keeping(tmp_path, keep_days=1.0, originals_keep_days=0.5) as k:
        (result,) = await deliver(k, "a.dcm")
        original = tmp_path / "originals" / result.relative_to(tmp_path / "outbox")
        size = sum(len(content) for content in tree_of(result).values())
        assert await k.totals() == {"result": (1, size), "failure": (0, 0), "original": (1, 5)}
        await k.run_for(12 * HOUR)  # the first of them only made the clock trusted
        assert (result.is_dir(), original.is_dir()) == (True, True)
        await k.run_for(2 * HOUR)
        assert (result.is_dir(), original.is_dir()) == (True, False)
        assert await k.totals() == {"result": (1, size), "failure": (0, 0), "original": (0, 0)}
        await k.run_for(12 * HOUR)
        assert not result.exists()
        assert await k.totals() == dict.fromkeys(("result", "failure", "original"), (0, 0))
        text = "SELECT path, original, removed, original_removed FROM inbox_items"
        ((path, moved, removed, original_removed),) = query(k.rig.database, text)
        assert (path, moved) == (str(result), str(original))
        assert removed > original_removed > 0
        assert query(k.rig.database, "SELECT removed FROM deliveries") == [(removed,)]
    assert list((tmp_path / "outbox/ct").iterdir()) == []
    assert list((tmp_path / "originals/ct").iterdir()) == []


@pytest.mark.parametrize("content", [b'{"job_id": "\xe9"}', b"[" * 100_000])
async def test_a_marker_that_somebody_spoiled_keeps_no_other_result(
    tmp_path: Path, content: bytes
) -> None:
    async with keeping(tmp_path, keep_days=1.0) as k:
        spoiled, other = await deliver(k, "a.dcm", "b.dcm")
        (spoiled / "result.json").write_bytes(content)
        await k.run_for(HOUR)
        await k.run_for(26 * HOUR)
        assert (spoiled.is_dir(), other.exists()) == (True, False)


async def test_failures_of_jobs_and_of_items_go_with_their_originals(tmp_path: Path) -> None:
    async with keeping(tmp_path, status=JobStatus.FAULTED, failed_keep_days=1.0) as k:
        (tmp_path / "inbox/ct/bad").mkdir(parents=True)
        outside = drop(tmp_path / "outside")
        (tmp_path / "inbox/ct/bad/link").symlink_to(outside)
        await deliver(k, "a.dcm")
        await k.rig.delivered(2)
        assert (await k.totals())["failure"][0] == 2
        assert len(list((tmp_path / "failed/ct").glob("*/original"))) == 2
        await k.run_for(26 * HOUR)
        assert list((tmp_path / "failed/ct").iterdir()) == []
        text = "SELECT COUNT(*) FROM inbox_items WHERE removed IS NOT NULL"
        assert query(k.rig.database, text) == [(2,)]
        assert (await k.totals())["failure"] == (0, 0)
    assert outside.exists()


async def test_what_a_trigger_says_of_originals_wins(tmp_path: Path) -> None:
    async with keeping(tmp_path, originals_keep_days=1.0) as k:
        await k.rig.register("ct")

        def wish(tx: Any) -> None:
            tx._connection.execute(
                "CREATE TEMP TRIGGER wishes AFTER INSERT ON main.inbox_items BEGIN UPDATE"
                " inbox_items SET keep_originals_days = CASE CAST(NEW.name AS TEXT)"
                " WHEN 'gone' THEN 0 WHEN 'long' THEN 3 END WHERE id = NEW.id; END"
            )

        await k.rig.database.write(wish)
        await deliver(k, "gone", "long", "usual")
        kept = sorted(path.name for path in (tmp_path / "originals").glob("ct/*/*"))
        assert kept == ["long", "usual"]  # 0: it went with its delivery
        await swept(tmp_path)
        await k.run_for(26 * HOUR)
        assert [path.name for path in (tmp_path / "originals").glob("ct/*/*")] == ["long"]
        await k.run_for(48 * HOUR)
        assert list((tmp_path / "originals").glob("ct/*/*")) == []


@pytest.mark.parametrize("late", [False, True])
async def test_links_of_duplicates_go_with_the_results_that_they_lead_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    if late:  # the link came after the search for what there is to remove
        search = kept.expired
        monkeypatch.setattr(
            kept, "expired", lambda *args: [replace(one, links=()) for one in search(*args)]
        )
    trigger = [{"folder": "ct", "pipeline": "ct", "duplicates": "link"}]
    async with keeping(tmp_path, trigger=trigger, keep_days=1.0) as k:
        await k.rig.register("ct")
        drop(tmp_path / "inbox/ct/one.dcm", b"the same")
        await k.rig.delivered()
        drop(tmp_path / "inbox/ct/two.dcm", b"the same")
        await k.rig.delivered(2)
        found = {path.is_symlink() for path in (tmp_path / "outbox/ct").iterdir()}
        assert found == {True, False}
        assert (await k.totals())["result"][0] == 1
        await k.run_for(26 * HOUR)
        assert list((tmp_path / "outbox/ct").iterdir()) == []
        text = "SELECT COUNT(*) FROM inbox_items WHERE removed IS NOT NULL"
        assert query(k.rig.database, text) == [(2,)]


async def test_a_clock_that_jumps_removes_nothing_and_says_so(tmp_path: Path) -> None:
    async with keeping(tmp_path, keep_days=1.0) as k:
        (result,) = await deliver(k, "a.dcm")
        await k.run_for(2 * HOUR)
        k.clock.wall += 30 * DAY
        await k.expiry.remove_due()
        assert result.is_dir()
        assert "jumped" in k.trust.warnings()[0]
        k.clock.passes(HOUR / 2)
        await k.expiry.remove_due()
        assert result.is_dir()


async def test_time_counts_from_when_the_clock_was_right(tmp_path: Path) -> None:
    """A device that starts in 1970 and learns the time later has not kept anything for decades."""
    async with keeping(tmp_path, keep_days=1.0) as k:
        (result,) = await deliver(k, "a.dcm")
        right = k.clock.wall
        k.clock.wall = 1000.0
        await k.expiry.remove_due()
        k.clock.passes(HOUR / 2)
        k.clock.wall = right
        await k.run_for(12 * HOUR)
        assert result.is_dir()
        await k.run_for(14 * HOUR)
        assert not result.exists()


async def test_what_people_removed_or_put_there_is_left_alone(tmp_path: Path) -> None:
    async with keeping(tmp_path, keep_days=1.0) as k:
        taken, mine, whole = await deliver(k, "a.dcm", "b.dcm", "c.dcm")
        taken.rename(tmp_path / "taken")
        (mine / "result.json").write_text("{}")
        stranger = drop(tmp_path / "outbox/ct/mine/notes.txt")
        await k.run_for(26 * HOUR)
        assert (mine.is_dir(), whole.exists(), stranger.exists()) == (True, False, True)
        assert len(tree_of(tmp_path / "taken")) > 0
        assert (await k.totals())["result"] == (0, 0)  # nobody waits for them here any more


async def test_a_vanished_folder_is_no_removal(tmp_path: Path) -> None:
    async with keeping(tmp_path, keep_days=1.0) as k:
        (result,) = await deliver(k, "a.dcm")
        root = tmp_path / "outbox"
        root.rename(tmp_path / "unmounted")
        await k.run_for(26 * HOUR)
        assert (await k.totals())["result"][0] == 1
        (tmp_path / "unmounted").rename(root)
        assert result.is_dir()
        await k.run_for(HOUR)
        assert (result.exists(), (await k.totals())["result"][0]) == (False, 0)


async def test_what_cannot_be_removed_is_reported_and_stops_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(path: Path) -> None:
        if path.name.endswith(job):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        remove(path)

    async with keeping(tmp_path, keep_days=1.0) as k:
        first, second = await deliver(k, "a.dcm", "b.dcm")
        job = document(first / "result.json")["job_id"]
        monkeypatch.setattr(expiry, "remove", refusing)
        await k.run_for(26 * HOUR)
        assert not second.exists()
        (warning,) = k.expiry.warnings()
        assert f"{first}: Permission denied" in warning
        assert (await k.totals())["result"][0] == 1
        monkeypatch.undo()
        await k.run_for(2 * HOUR)  # and tries again
        assert list((tmp_path / "outbox/ct").iterdir()) == []
        assert (k.expiry.warnings(), (await k.totals())["result"]) == ([], (0, 0))


@pytest.mark.parametrize("at", REMOVAL)
async def test_a_crash_at_any_step_of_a_removal_leaves_no_trace(tmp_path: Path, at: str) -> None:
    def kill(name: str) -> None:
        if name == at:
            raise KilledError(name)

    async with keeping(tmp_path, keep_days=1.0) as k:
        await deliver(k, "a.dcm")
        with pytest.raises(KilledError), hooked(kill):
            await k.run_for(26 * HOUR)
    async with keeping(tmp_path, keep_days=1.0) as k:
        await k.run_for(26 * HOUR)
        assert list((tmp_path / "outbox/ct").iterdir()) == []
        assert (await k.totals())["result"] == (0, 0)
        ((removed,),) = query(k.rig.database, "SELECT removed FROM deliveries")
        assert removed is not None


async def test_many_go_in_bounded_steps(tmp_path: Path) -> None:
    names = [f"{number}.dcm" for number in range(45)]
    steps: list[str] = []
    async with keeping(tmp_path, keep_days=1.0) as k:
        await deliver(k, *names)
        with hooked(steps.append):
            await k.run_for(26 * HOUR)
        assert list((tmp_path / "outbox/ct").iterdir()) == []
    assert steps.count("expire: recorded") == 3


async def test_a_link_in_place_of_a_folder_of_results_leads_to_nothing_that_is_removed(
    tmp_path: Path,
) -> None:
    """Whoever may write to the outbox has the daemon remove nothing elsewhere (see finding 8)."""
    async with keeping(tmp_path, keep_days=1.0) as k:
        (result,) = await deliver(k, "a.dcm")
        (tmp_path / "outbox").chmod(0o770)
        (tmp_path / "archive").mkdir(mode=0o700)
        result.parent.rename(tmp_path / "archive" / "ct")
        (tmp_path / "outbox" / "ct").symlink_to(tmp_path / "archive" / "ct")
        kept_there = tree_of(tmp_path / "archive")
        await k.run_for(26 * HOUR)
        assert tree_of(tmp_path / "archive") == kept_there
        assert "put a folder in its place" in k.expiry.warnings()[0]
