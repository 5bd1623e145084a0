"""The sum of reservations as steps over time."""

from __future__ import annotations

import pytest

from claraedge.usage.steps import Reserved, UsageStep, steps

NOW = 10_000.0
SINCE = NOW - 3600


def had(begin: float, end: float | None, memory: int = 100, gpus: int = 0, shared: str = ""):
    return Reserved(begin=begin, end=end, memory=memory, gpus=gpus, shared=shared)


def summed(*reserved: Reserved, gpus: int = 8, most: int = 300) -> list[tuple[float, int, int]]:
    found = steps(reserved, since=SINCE, now=NOW, gpus=gpus, most=most)
    return [(step.time, step.memory, step.gpus) for step in found]


def test_without_reservations_there_is_one_step_of_nothing() -> None:
    assert steps([], since=SINCE, now=NOW, gpus=0, most=300) == [
        UsageStep(time=SINCE, memory=0, gpus=0)
    ]


def test_reservations_add_up_while_they_overlap() -> None:
    assert summed(had(7000, 9000, gpus=1), had(8000, None, memory=50, gpus=2)) == [
        (SINCE, 0, 0),
        (7000, 100, 1),
        (8000, 150, 3),
        (9000, 50, 2),
    ]


def test_what_began_before_the_hour_counts_from_its_begin_and_what_ended_before_not() -> None:
    assert summed(had(10, 7000), had(20, 6000), had(30, SINCE)) == [(SINCE, 100, 0), (7000, 0, 0)]


def test_one_that_ends_as_the_next_begins_changes_nothing() -> None:
    assert summed(had(7000, 8000), had(8000, 9000)) == [
        (SINCE, 0, 0),
        (7000, 100, 0),
        (9000, 0, 0),
    ]


@pytest.mark.parametrize(
    ("reserved", "memory"),
    [
        (had(NOW + 500, None), 100),  # it runs
        (had(NOW + 500, NOW + 600), 0),  # it ran, before the clock was set back
        (had(9000, 8000), 0),  # the clock was set back while it ran
    ],
)
def test_after_the_clock_was_set_back_only_what_runs_counts(
    reserved: Reserved, memory: int
) -> None:
    assert summed(reserved)[-1][1] == memory
    assert all(step[0] <= NOW and step[1] >= 0 for step in summed(reserved))


def test_what_jobs_share_counts_once_while_one_of_them_has_it() -> None:
    assert summed(
        had(7000, 8000, shared="a"),
        had(7500, 7600, shared="a"),
        had(7900, 8500, shared="a"),
        had(9000, None, shared="a"),
        had(9500, None, shared="a"),
        had(7000, 7100, memory=7, shared="b"),
    ) == [
        (SINCE, 0, 0),
        (7000, 107, 0),
        (7100, 100, 0),
        (8500, 0, 0),
        (9000, 100, 0),
    ]


def test_operators_that_share_a_gpu_are_no_more_gpus_than_there_are() -> None:
    assert summed(had(7000, None, gpus=1), had(7000, None, gpus=1), gpus=1)[-1] == (7000, 200, 1)


def test_with_many_changes_no_peak_is_lost_and_the_last_step_is_now() -> None:
    short = [had(SINCE + 3 * i, SINCE + 3 * i + 1) for i in range(1200)]
    peak = had(SINCE + 1801, SINCE + 1801.5, memory=5000)
    found = summed(*short, peak, had(NOW - 0.5, None, memory=7), most=100)
    assert len(found) <= 100
    assert max(memory for _, memory, _ in found) == 5000
    (at,) = [time for time, memory, _ in found if memory == 5000]
    assert SINCE + 1801 - 3600 / 99 <= at <= SINCE + 1801
    assert found[0][0] == SINCE
    assert found[-1] == (NOW, 7, 0)
    assert [time for time, *_ in found] == sorted({time for time, *_ in found})
