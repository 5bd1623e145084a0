"""The guard: what it says, in which order it makes room, and how it ends by itself."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from claraedge.appliance import disk_guard
from claraedge.appliance.ballast import Ballast
from claraedge.appliance.disk_guard import DiskGuard
from claraedge.appliance.disks import Disks, Store, measured
from claraedge.appliance.watermarks import MIB, DiskLimits, Level
from claraedge.errors import RunnerUnavailableError, StorageFullError
from tests.rig.waiting import eventually

TOTAL = 2000


@dataclass
class DiskRig:
    """Disks whose figures are set by hand, in MiB; what the guard did is noted."""

    folder: Path
    free: dict[str, int] = field(
        default_factory=lambda: {"state": 1000, "inbox": 1000, "podman": 1000}
    )
    """A negative figure: it cannot be seen."""
    time: float = 100.0
    removable: int = 0
    did: list[str] = field(default_factory=list)
    trouble: Exception | None = None

    def __post_init__(self) -> None:
        self.ballast = Ballast(self.folder)
        self.disks = Disks(
            self.store("state"),
            [self.store("inbox", jobs_write=False), self.store("podman")],
            DiskLimits(),
        )
        self.guard = DiskGuard(
            self.disks,
            self.ballast,
            self,
            reclaim=self.reclaim,
            evict=self.evict,
            on_room=lambda: self.did.append("room"),
        )

    def now(self) -> float:
        return self.time

    def elapsed(self) -> float:
        return self.time

    def store(self, name: str, *, jobs_write: bool = True) -> Store:
        async def measure() -> tuple[int, int]:
            if self.free[name] < 0:
                raise RunnerUnavailableError("Podman does not answer")
            return self.free[name] * MIB, TOTAL * MIB

        return Store(area="state", name=name, measure=measure, jobs_write=jobs_write)

    async def reclaim(self, lacking: int) -> int:
        self.did.append(f"reclaim {lacking // MIB}")
        if self.trouble is not None:
            raise self.trouble
        taken = min(self.removable, lacking // MIB)
        self.free["state"] += taken
        self.removable -= taken
        return taken * MIB

    async def evict(self, reason: str) -> None:
        self.did.append(f"evict: {reason}")

    async def check(self, seconds: float = 0.0, **free: int) -> list[str]:
        """Returns what it does at a check so many seconds later, with these figures."""
        self.free.update(free)
        self.time += seconds
        self.did.clear()
        await self.guard.check()
        return list(self.did)


@pytest.fixture
def rig(tmp_path: Path) -> DiskRig:
    return DiskRig(tmp_path)


async def test_enough_room_blocks_nothing(rig: DiskRig) -> None:
    await rig.guard.prepare()
    assert await rig.check() == []
    assert (rig.disks.blocked_by(), rig.guard.warnings(), rig.disks.level) == (
        None,
        [],
        Level.ROOM,
    )
    assert [(f.name, f.free, f.soft, f.hard) for f in rig.disks.figures()] == [
        (name, 1000 * MIB, 400 * MIB, 200 * MIB) for name in ("state", "inbox", "podman")
    ]


@pytest.mark.parametrize("name", ["state", "inbox", "podman"])
async def test_any_low_disk_blocks_work_and_says_which(rig: DiskRig, name: str) -> None:
    await rig.guard.prepare()
    await rig.check(**{name: 300})
    why = f"the disk of {name} has 300 MiB of 2.0 GiB free, but 440 MiB must be free"
    assert rig.disks.blocked_by() == f"disk: {why}"
    assert rig.guard.warnings()[0].startswith(why)


async def test_it_blocks_work_from_the_first_check_on(tmp_path: Path) -> None:
    rig = DiskRig(tmp_path)
    rig.free["state"] = 1
    await rig.guard.prepare()
    assert rig.disks.blocked_by() is not None
    assert not rig.ballast.is_there()


async def test_retention_runs_at_once_and_then_now_and_then(rig: DiskRig) -> None:
    await rig.guard.prepare()
    assert await rig.check(state=300) == ["reclaim 140"]
    assert await rig.check(0.5) == []
    assert "nothing more that it may remove" in rig.guard.warnings()[0]
    assert await rig.check(5) == ["reclaim 140"]
    rig.removable = 500
    assert await rig.check(5) == ["reclaim 140", "room"]
    assert rig.free["state"] == 440
    assert rig.disks.blocked_by() is None


async def test_what_lies_on_another_disk_is_not_removed_in_vain(rig: DiskRig) -> None:
    await rig.guard.prepare()
    rig.removable = 500
    assert await rig.check(podman=300) == ["reclaim 0"]
    assert rig.removable == 500
    assert "nothing more" not in rig.guard.warnings()[0]


async def test_it_ends_some_way_above_the_limit_and_pokes_once(rig: DiskRig) -> None:
    await rig.guard.prepare()
    await rig.check(podman=300)
    assert await rig.check(0.5, podman=439) == []
    assert rig.disks.blocked_by() is not None
    assert await rig.check(0.5, podman=440) == ["room"]
    assert await rig.check(0.5) == []


async def test_below_the_hard_limit_it_removes_and_then_evicts(rig: DiskRig) -> None:
    await rig.guard.prepare()
    assert await rig.check(state=100) == [
        "reclaim 340",
        "evict: the disk of state has 100 MiB of 2.0 GiB free, but 220 MiB must be free",
    ]
    # New work needs more than those that run.
    why = "the disk of state has 100 MiB of 2.0 GiB free, but 440 MiB must be free"
    assert rig.disks.blocked_by() == f"disk: {why}"
    assert rig.guard.warnings()[0].startswith(f"{why}: until then nothing new is taken")
    assert "evicted" in rig.guard.warnings()[0]
    did = await rig.check(0.5)
    assert [one.split()[0] for one in did] == ["reclaim", "evict:"], "at every check"
    rig.removable = 200
    assert await rig.check(0.5) == ["reclaim 340"], "that was enough"
    assert rig.disks.level is Level.LOW


@pytest.mark.parametrize("trouble", [OSError(36, "File name too long"), RecursionError("deep")])
async def test_it_evicts_also_where_nothing_can_be_removed(
    rig: DiskRig, trouble: Exception
) -> None:
    await rig.guard.prepare()
    rig.trouble = trouble
    with pytest.raises(type(trouble)):
        await rig.check(state=100)
    assert [one.split()[0] for one in rig.did] == ["reclaim", "evict:"]


async def test_no_job_is_evicted_for_a_disk_that_jobs_do_not_write_to(rig: DiskRig) -> None:
    await rig.guard.prepare()
    assert await rig.check(inbox=10) == ["reclaim 0"]
    assert rig.disks.level is Level.OUT
    assert "evicted" not in rig.guard.warnings()[0]
    assert rig.disks.blocked_by() is not None


async def test_a_disk_that_cannot_be_seen_counts_as_it_was_last(rig: DiskRig) -> None:
    await rig.guard.prepare()
    await rig.check(podman=-1)
    assert rig.disks.blocked_by() is None
    await rig.check(podman=300)
    await rig.check(podman=-1)
    assert "podman" in (rig.disks.blocked_by() or "")


async def test_the_log_says_it_once_with_figures(
    rig: DiskRig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, disk_guard.__name__)
    await rig.guard.prepare()
    for free in (300, 290, 280, 500):
        await rig.check(1, state=free)
    assert caplog.messages == [
        "the disk of state has 300 MiB of 2.0 GiB free, but 440 MiB must be free: work waits",
        "the disks have room again: work continues",
    ]


async def test_the_ballast_is_made_when_there_is_room_beyond_the_soft_limit(rig: DiskRig) -> None:
    rig.free["state"] = 455  # 440 would be enough without it
    await rig.guard.prepare()
    assert not rig.ballast.is_there()
    await rig.check(1, state=456)
    assert rig.ballast.is_there()
    rig.ballast.give_up()
    await rig.check(1, state=300)
    await rig.check(70)
    assert not rig.ballast.is_there()
    await rig.check(70, state=1000)
    assert rig.ballast.is_there()


async def test_disks_with_much_room_are_checked_less_often(rig: DiskRig) -> None:
    for free, seconds in ((300, 0.5), (500, 2), (16_000, 2), (17_000, 4), (10_000_000, 16)):
        await rig.check(1, state=free, inbox=free, podman=free)
        assert rig.guard.pause == seconds
    await rig.check(1, podman=20_000)  # the fullest disk decides
    assert rig.guard.pause == 4


async def test_what_keeps_it_from_making_room_is_tried_again(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(disk_guard, "_PAUSE", 0.001)
    monkeypatch.setattr(disk_guard, "_PAUSE_LOW", 0.001)
    monkeypatch.setattr(disk_guard, "_RELIEF", 0.0)
    await rig.guard.prepare()
    rig.trouble = StorageFullError("claraedge.db: the disk is full")
    rig.free["state"] = 300
    running = asyncio.create_task(rig.guard.run())
    try:
        await eventually(lambda: len(rig.did) >= 5, "it tried again")
        rig.trouble, rig.removable = None, 500
        await eventually(lambda: rig.disks.blocked_by() is None, "there is room")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    logged = [m for m in caplog.messages if m.startswith("no room can be made")]
    assert logged == ["no room can be made now: claraedge.db: the disk is full"]


async def test_a_real_disk_is_measured_as_this_user_may_fill_it(tmp_path: Path) -> None:
    free, total = await measured(tmp_path)()
    assert 0 < free < total
    with pytest.raises(FileNotFoundError):
        await measured(tmp_path / "gone")()
