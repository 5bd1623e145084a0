"""Whether and when a container that has ended is started again."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claraedge.runner.protocol import Exit, ExitCause
from claraedge.supervised.restarts import (
    REMEMBERED,
    Again,
    Always,
    Decision,
    GiveUp,
    Never,
    OnFailure,
    Rest,
    Restart,
    RestartRule,
    Within,
)

DONE = Exit(cause=ExitCause.EXITED, code=0)
FAILED = Exit(cause=ExitCause.EXITED, code=7)
POWER_CUT = Exit(cause=ExitCause.VANISHED)
UNKNOWN = Exit(cause=ExitCause.LOST_SUPERVISOR)

ENDS = st.sampled_from([None, DONE, FAILED, POWER_CUT, UNKNOWN])
FAILURES = st.sampled_from([FAILED, POWER_CUT, UNKNOWN])
RULES = st.sampled_from([Always(), OnFailure(), Never(), Within(3, 600.0, "services.restarts")])


def life(rule: RestartRule, runs: list[float], end: Exit | None) -> list[Decision]:
    """The decisions of a container that was up, and whose runs last so many seconds."""
    restarts: list[Restart] = []
    decisions: list[Decision] = []
    now = 1000.0
    for seconds in runs:
        now += seconds
        decision = rule.decide(end, was_up=True, restarts=restarts[-REMEMBERED:], now=now)
        decisions.append(decision)
        if not isinstance(decision, Again):
            break
        now += decision.after
        restarts.append(Restart(at=now, after=decision.after))
    return decisions


@given(
    rule=st.sampled_from([Always(), OnFailure()]), end=FAILURES, runs=st.lists(st.floats(0, 599))
)
def test_pauses_double_up_to_five_minutes(rule: RestartRule, end: Exit, runs: list[float]) -> None:
    pauses = [d.after for d in life(rule, runs, end) if isinstance(d, Again)]
    assert len(pauses) == len(runs), "it is never given up"
    assert pauses[:1] == [1.0] * len(pauses[:1])
    for before, after in pairwise(pauses):
        assert after == min(2 * before, 300.0)


@given(
    end=FAILURES,
    before=st.lists(st.floats(0, 599), max_size=12),
    long=st.floats(601, 1e7),
    later=st.lists(st.floats(0, 599), max_size=3),
)
def test_pauses_begin_again_after_a_run_of_ten_minutes(
    end: Exit, before: list[float], long: float, later: list[float]
) -> None:
    pauses = [d.after for d in life(OnFailure(), [*before, long, *later], end) if type(d) is Again]
    assert pauses[len(before)] == 1.0
    assert pauses[len(before) :] == [float(2**n) for n in range(len(later) + 1)]


@pytest.mark.parametrize("end", [DONE, FAILED, POWER_CUT, UNKNOWN])
def test_always_starts_again_whatever_the_end_was(end: Exit) -> None:
    assert life(Always(), [5.0, 5.0], end) == [Again(1.0), Again(2.0)]


@pytest.mark.parametrize("rule", [Always(), OnFailure()])
def test_what_ends_three_times_before_it_was_ever_up_is_given_up(rule: RestartRule) -> None:
    restarts: list[Restart] = []
    for number in range(2):
        decision = rule.decide(FAILED, was_up=False, restarts=restarts, now=number)
        assert isinstance(decision, Again)
        restarts.append(Restart(at=number, after=decision.after))
    last = rule.decide(FAILED, was_up=False, restarts=restarts, now=3)
    assert last == GiveUp("it ended 3 times before it was up")
    assert isinstance(rule.decide(FAILED, was_up=True, restarts=restarts, now=3), Again)


@pytest.mark.parametrize("rule", [Always(), OnFailure()])
def test_what_cannot_be_created_is_given_up_unless_it_was_up_before(rule: RestartRule) -> None:
    assert rule.decide(None, was_up=False, restarts=(), now=0) == GiveUp("")
    assert rule.decide(None, was_up=True, restarts=(), now=0) == Again(1.0)


@pytest.mark.parametrize("rule", [OnFailure(), Never()])
def test_exit_code_0_is_a_wanted_end_of_what_was_up(rule: RestartRule) -> None:
    assert rule.decide(DONE, was_up=True, restarts=(), now=0) == Rest("it ended with exit code 0")
    assert rule.decide(DONE, was_up=False, restarts=(), now=0) == GiveUp(
        "it ended before it was up"
    )


@given(end=FAILURES | st.none(), was_up=st.booleans())
def test_never_is_never(end: Exit | None, was_up: bool) -> None:
    decision = Never().decide(end, was_up=was_up, restarts=(), now=0)
    assert isinstance(decision, GiveUp)
    assert bool(decision.text) == (end is not None)


@given(runs=st.lists(st.floats(0, 1000), max_size=30), count=st.integers(0, 5), end=FAILURES)
def test_within_a_time_no_more_restarts_than_the_limit(
    runs: list[float], count: int, end: Exit
) -> None:
    decisions = life(Within(count, 600.0, "services.restarts"), runs, end)
    at = 1000.0
    times = []
    for seconds, decision in zip(runs, decisions, strict=False):
        at += seconds
        if isinstance(decision, Again):
            assert decision.after == 0
            times.append(at)
        else:
            assert decision == GiveUp(f"it was started again {count} times (services.restarts)")
            assert sum(1 for time in times if at - time < 600) == count
    for time in times:
        assert sum(1 for other in times if 0 <= time - other < 600) <= count


@given(end=ENDS, count=st.integers(0, 100))
def test_within_a_time_only_what_was_up_is_started_again(end: Exit | None, count: int) -> None:
    rule = Within(count, 600.0, "services.restarts")
    assert rule.decide(end, was_up=False, restarts=(), now=0) == GiveUp("")
    assert rule.decide(None, was_up=True, restarts=(), now=0) == GiveUp("")


@given(rule=RULES, end=ENDS, was_up=st.booleans(), count=st.integers(0, REMEMBERED))
def test_a_decision_is_the_same_for_the_same_values(
    rule: RestartRule, end: Exit | None, was_up: bool, count: int
) -> None:
    restarts = [Restart(at=float(n), after=1.0) for n in range(count)]
    first = rule.decide(end, was_up=was_up, restarts=restarts, now=200.0)
    assert rule.decide(end, was_up=was_up, restarts=tuple(restarts), now=200.0) == first
