"""Classes of waiting jobs are taken in their proportion, and none starves."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from claraedge.jobs.model import Priority
from claraedge.jobs.scheduling.admission import decide
from claraedge.jobs.scheduling.budget import Candidate, Capacity, Usage
from claraedge.jobs.scheduling.overtaking import Overtaking, overtaken
from claraedge.jobs.scheduling.turns import Turns
from claraedge.pipelines.requests import OperatorRequests

ALL = (Priority.LOWER, Priority.NORMAL, Priority.HIGHER)
#: Of so many jobs in a row, one is of the class where all three wait.
BOUND = {Priority.HIGHER: 3, Priority.NORMAL: 5, Priority.LOWER: 9}


def taken(count: int, waiting: tuple[Priority, ...], turns: Turns | None = None) -> list[Priority]:
    turns = turns or Turns()
    found = []
    for _ in range(count):
        found.append(turns.order(waiting)[0])
        turns = turns.taken(found[-1])
    return found


def test_classes_are_taken_four_to_two_to_one() -> None:
    assert Counter(taken(70, ALL)) == {
        Priority.HIGHER: 40,
        Priority.NORMAL: 20,
        Priority.LOWER: 10,
    }


def test_two_classes_keep_their_proportion() -> None:
    assert Counter(taken(30, (Priority.LOWER, Priority.NORMAL))) == {
        Priority.NORMAL: 20,
        Priority.LOWER: 10,
    }


def test_the_higher_class_begins() -> None:
    assert taken(3, ALL) == [Priority.HIGHER, Priority.NORMAL, Priority.LOWER]


def test_immediate_is_always_first_and_costs_the_others_nothing() -> None:
    turns = Turns()
    assert turns.order((*ALL, Priority.IMMEDIATE))[0] is Priority.IMMEDIATE
    assert turns.taken(Priority.IMMEDIATE) == turns


@given(st.lists(st.sampled_from(ALL), max_size=60))
def test_within_the_bound_each_class_has_its_turn(before: list[Priority]) -> None:
    turns = Turns()
    for priority in before:  # any past, also one in which only some classes had jobs
        turns = turns.taken(priority)
    found = taken(60, ALL, turns)
    for priority, bound in BOUND.items():
        for start in range(len(found) - bound + 1):
            assert priority in found[start : start + bound]


@given(st.integers(1, 200))
def test_a_class_that_had_nothing_waiting_saves_up_nothing(alone: int) -> None:
    turns = Turns()
    for _ in range(alone):
        turns = turns.taken(Priority.LOWER)
    found = taken(9, ALL, turns)
    assert Priority.LOWER in found
    assert found.count(Priority.HIGHER) >= 4


Jobs = list[tuple[Priority, int, int]]


@given(
    st.lists(
        st.tuples(st.sampled_from(ALL), st.integers(0, 4), st.integers(1, 3)),
        min_size=1,
        max_size=40,
    )
)
@settings(deadline=None)
def test_every_job_starts_within_a_stated_bound(jobs: Jobs) -> None:
    """With jobs of (class, cores, rounds), all waiting from the start, on four cores and slots.

    A job that something else holds up is passed over for three rounds at most; from then on it
    starts within the time of the longest job. All end in the time of one after the other.
    """
    patience, longest = 3, max(rounds for _, _, rounds in jobs)
    capacity = Capacity(operators=4, cores=4)
    waiting = {
        f"{n}": Candidate(
            job=f"{n}",
            operator="o",
            priority=p,
            position=n,
            job_runs=False,
            requests=OperatorRequests(cores=cores),
        )
        for n, (p, cores, _) in enumerate(jobs)
    }
    running: dict[str, int] = {}
    overtaking = Overtaking()
    turns = Turns()
    now = 0
    reserved_at: dict[str, int] = {}
    while waiting:
        while True:
            usage = Usage(operators=len(running), cores=sum(jobs[int(job)][1] for job in running))
            blocked = [c.who for c in overtaken(waiting.values(), capacity, usage)]
            left = {c.who: c for c in waiting.values()}
            overtaking = overtaking.after(blocked, left, now, patience)
            reserved = left.get(overtaking.reserved or ("", ""))
            if reserved is not None:
                reserved_at.setdefault(reserved.job, now)
            classes = turns.order({c.priority for c in waiting.values()})
            chosen = decide(
                waiting.values(), capacity, usage, classes=classes, reserved=reserved
            ).candidate
            if chosen is None:
                break
            del waiting[chosen.job]
            running[chosen.job] = jobs[int(chosen.job)][2]
            turns = turns.taken(chosen.priority)
            if chosen.job in reserved_at:
                assert now - reserved_at[chosen.job] <= longest
        assert running, "something can always start"
        now += 1
        running = {job: left - 1 for job, left in running.items() if left > 1}
    # Nothing waits longer than the work of all others, one after the other, and its patience.
    assert now <= sum(rounds for _, _, rounds in jobs) + patience
