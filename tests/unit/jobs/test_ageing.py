"""When a job has waited too long: a table of what the clocks did."""

from __future__ import annotations

from claraedge.jobs.model import Unstarted
from claraedge.jobs.retention.ageing import ClockReading, Trust, assess, expired

HOUR = 3600.0
DAY = 24 * HOUR
NOON = 1767268800.0


def trust_after(*moments: tuple[float, float], newest: float | None = None) -> Trust:
    """The trust after readings at (hours of uptime, hours that the wall clock is off)."""
    trust = None
    for hours, off in moments:
        reading = ClockReading(wall=NOON + (hours + off) * HOUR, boot=hours * HOUR)
        trust = assess(trust, reading, newest)
    assert trust is not None
    return trust


def job(age: float, trust: Trust, name: str = "a") -> Unstarted:
    return Unstarted(id=name, payload="p", created=trust.last.wall - age)


def test_a_clock_is_trusted_once_it_was_steady_for_an_hour() -> None:
    assert not trust_after((0, 0)).steady
    assert not trust_after((0, 0), (0.9, 0)).steady
    assert trust_after((0, 0), (0.5, 0), (1, 0)).steady
    assert trust_after((0, 0), (1, 0)).why == ""


def test_a_jump_of_more_than_an_hour_either_way_begins_the_hour_again_and_is_reported() -> None:
    for off in (1.1, -1.1, 24 * 365):
        after = trust_after((0, 0), (2, 0), (2.1, off))
        assert not after.steady
        assert "jumped" in after.why
        assert not trust_after((0, 0), (2, 0), (2.1, off), (3.0, off)).steady
        again = trust_after((0, 0), (2, 0), (2.1, off), (3.0, off), (3.2, off))
        assert again.steady
        assert again.why == ""


def test_small_corrections_are_no_jump() -> None:
    assert trust_after((0, 0), (1, 0.5), (2, 0.0), (3, -0.9)).steady


def test_a_clock_behind_the_newest_record_is_not_trusted() -> None:
    behind = trust_after((0, 0), (2, 0), newest=NOON + 3 * HOUR)
    assert not behind.steady
    assert "behind the newest record" in behind.why
    assert trust_after((0, 0), (2, 0), newest=NOON + 2 * HOUR + 30).steady


def test_age_by_the_wall_clock_counts_only_while_that_is_trusted() -> None:
    steady, fresh = trust_after((0, 0), (2, 0)), trust_after((0, 0))
    assert expired([job(DAY, steady)], {"a": 2 * HOUR}, steady, DAY) == [job(DAY, steady)]
    assert expired([job(DAY - 1, steady)], {"a": 2 * HOUR}, steady, DAY) == []
    assert expired([job(365 * DAY, fresh)], {"a": 0.0}, fresh, DAY) == []
    jumped = trust_after((0, 0), (2, 0), (2.1, 48))
    assert expired([job(2 * DAY, jumped)], {"a": 0.0}, jumped, DAY) == []


def test_what_this_daemon_saw_wait_goes_whatever_the_wall_clock_says() -> None:
    jumped = trust_after((0, 0), (23.9, 0), (24, -9000))
    assert not jumped.steady
    waiting = [job(-9000 * HOUR, jumped, "old"), job(-9000 * HOUR, jumped, "new")]
    assert expired(waiting, {"old": 0.0, "new": HOUR}, jumped, DAY) == waiting[:1]
