"""What goes first, and how much of it."""

from __future__ import annotations

import pytest

from claraedge.jobs.retention.keeping import (
    Artifact,
    Keep,
    Rules,
    Totals,
    may_make_room,
    oldest_first,
    surplus,
)

HOUR = 3600.0


def artifact(number: int, size: int = 10, *, spent: bool = False, stopped: float = 0.0) -> Artifact:
    return Artifact(
        sequence=number,
        job=f"job-{number}",
        payload=f"payload-{number}",
        stopped=stopped,
        size=size,
        spent=spent,
    )


@pytest.mark.parametrize(
    ("keep", "kept", "over"),
    [
        (Keep(seconds=1), Totals(count=1000, size=1 << 50), Totals()),
        (Keep(seconds=1, count=10), Totals(count=10, size=5), Totals()),
        (Keep(seconds=1, count=10), Totals(count=13, size=5), Totals(count=3)),
        (Keep(seconds=1, size=100), Totals(count=13, size=101), Totals(size=1)),
        (Keep(seconds=1, count=2, size=9), Totals(count=3, size=10), Totals(count=1, size=1)),
    ],
)
def test_what_is_too_much(keep: Keep, kept: Totals, over: Totals) -> None:
    assert surplus(kept, keep) == over


@pytest.mark.parametrize(
    ("over", "gone"),
    [
        (Totals(), []),
        (Totals(count=2), [1, 2]),
        (Totals(size=1), [1]),
        (Totals(size=10), [1]),
        (Totals(size=11), [1, 2]),
        (Totals(count=1, size=25), [1, 2, 3]),
        (Totals(count=3, size=5), [1, 2, 3]),
        (Totals(count=99), [1, 2, 3, 4]),
    ],
)
def test_the_oldest_go_until_it_is_enough(over: Totals, gone: list[int]) -> None:
    artifacts = [artifact(number) for number in (1, 2, 3, 4)]
    assert [one.sequence for one in oldest_first(artifacts, over)] == gone


@pytest.mark.parametrize(
    ("one", "now", "may"),
    [
        (artifact(1, spent=True), None, True),
        (artifact(1, spent=True), 0.0, True),
        (artifact(1, 0, spent=True), 0.0, False),
        (artifact(1, stopped=100.0), 100.0 + HOUR, True),
        (artifact(1, stopped=100.0), 99.0 + HOUR, False),
        (artifact(1, stopped=100.0), None, False),
    ],
)
def test_results_that_a_client_may_come_for_stay_on_a_full_disk(
    one: Artifact, now: float | None, may: bool
) -> None:
    assert may_make_room(one, now, Rules(undelivered=HOUR)) is may
