"""When a disk is low: limits on disks of all sizes, and the way back."""

from __future__ import annotations

import pytest

from claraedge.appliance.watermarks import (
    GIB,
    MIB,
    DiskLimits,
    DiskReading,
    Level,
    amount,
    lacking,
    level,
    room_again,
    shortage,
)

LIMITS = DiskLimits()


def reading(free: int, total: int) -> DiskReading:
    return DiskReading(name="the state folder /s", free=free, total=total)


@pytest.mark.parametrize(
    ("total", "soft", "hard", "again"),
    [
        (4096 * GIB, 10 * GIB, GIB, 11 * GIB),
        (64 * GIB, 10 * GIB, GIB, 11 * GIB),
        (50 * GIB, 10 * GIB, GIB, 11 * GIB),
        (20 * GIB, 4 * GIB, GIB, int(4.4 * GIB)),
        (15 * GIB, 3 * GIB, GIB, int(3.3 * GIB)),  # what an eMMC of 16 GB has
        (5 * GIB, GIB, GIB // 2, int(1.1 * GIB)),
        (2000 * MIB, 400 * MIB, 200 * MIB, 440 * MIB),
        (100 * MIB, 20 * MIB, 10 * MIB, 22 * MIB),
    ],
)
def test_limits_of_disks(total: int, soft: int, hard: int, again: int) -> None:
    assert LIMITS.soft_of(total) == soft
    assert LIMITS.hard_of(total) == hard
    assert room_again(soft, total) == pytest.approx(again, abs=1)


@pytest.mark.parametrize("total", [MIB, 100 * MIB, GIB, 16 * GIB, 10_000 * GIB])
def test_the_hard_limit_is_always_below_the_soft_one_and_a_disk_can_be_over_both(
    total: int,
) -> None:
    soft, hard = LIMITS.soft_of(total), LIMITS.hard_of(total)
    assert 0 < room_again(hard, total) < soft < room_again(soft, total) < total


@pytest.mark.parametrize(
    ("before", "free", "after"),
    [
        (Level.ROOM, 401, Level.ROOM),
        (Level.ROOM, 400, Level.ROOM),
        (Level.ROOM, 399, Level.LOW),
        (Level.ROOM, 199, Level.OUT),
        (Level.LOW, 400, Level.LOW),
        (Level.LOW, 439, Level.LOW),
        (Level.LOW, 440, Level.ROOM),
        (Level.LOW, 200, Level.LOW),
        (Level.LOW, 199, Level.OUT),
        (Level.OUT, 219, Level.OUT),
        (Level.OUT, 220, Level.LOW),
        (Level.OUT, 439, Level.LOW),
        (Level.OUT, 440, Level.ROOM),
        (Level.OUT, 0, Level.OUT),
    ],
)
def test_a_disk_goes_down_at_a_limit_and_up_some_way_above_it(
    before: Level, free: int, after: Level
) -> None:
    assert level(before, reading(free * MIB, 2000 * MIB), LIMITS) is after


def test_what_is_lacking_brings_the_disk_back() -> None:
    low = reading(100 * MIB, 2000 * MIB)
    missing = lacking(low, LIMITS)
    assert missing == 340 * MIB
    assert level(Level.OUT, reading(low.free + missing, low.total), LIMITS) is Level.ROOM
    assert lacking(reading(500 * MIB, 2000 * MIB), LIMITS) == 0


def test_a_shortage_is_described_with_figures() -> None:
    assert shortage(reading(100 * MIB, 15 * GIB), Level.OUT, LIMITS) == (
        "the disk of the state folder /s has 100 MiB of 15.0 GiB free, but 1.1 GiB must be free"
    )
    assert shortage(reading(2 * GIB, 15 * GIB), Level.LOW, LIMITS).endswith(
        "but 3.3 GiB must be free"
    )
    assert (amount(0), amount(1023 * MIB), amount(GIB)) == ("0 MiB", "1023 MiB", "1.0 GiB")
