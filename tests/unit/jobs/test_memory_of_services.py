"""Services and operators share one memory budget: tables of cases, and random jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claraedge.jobs.model import Priority
from claraedge.jobs.scheduling.admission import decide, obstacle
from claraedge.jobs.scheduling.budget import Candidate, Capacity, Usage
from claraedge.jobs.scheduling.overtaking import Overtaking, overtaken
from claraedge.pipelines.requests import MemoryRequest, OperatorRequests

ROOM = Capacity(operators=4, cores=4, memory=8000)
JETSON = Capacity(operators=4, cores=4, memory=8000, gpus=("g",), gpu_memory=8000, unified=True)


def candidate(job: str = "j", memory: int = 0, gpu_memory: int = 0, **more: Any) -> Candidate:
    requests = OperatorRequests(
        memory=MemoryRequest(reserved=memory, limit=None, written=True), gpu_memory=gpu_memory
    )
    values: dict[str, Any] = {
        "operator": "op",
        "requests": requests,
        "priority": Priority.NORMAL,
        "position": 1,
        "job_runs": False,
        "largest": memory,
        **more,
    }
    return Candidate(job=job, **values)


def runs(job: str = "j", memory: int = 0, **more: Any) -> Candidate:
    return candidate(job, memory, job_runs=True, **more)


S3 = {"s": 3000}


@pytest.mark.parametrize(
    ("wanted", "usage", "waits_for"),
    [
        # Services that jobs use hold their memory.
        (candidate(memory=5000), Usage(services=S3, service_users=frozenset("a")), None),
        (
            candidate(memory=5001),
            Usage(services=S3, service_users=frozenset("a")),
            "5001 MB of memory; 5000 of 8000 are free, services hold 3000",
        ),
        (
            candidate(memory=3000),
            Usage(services=S3, service_users=frozenset("a"), memory=2001),
            "3000 MB of memory; 2999 of 8000 are free, services hold 3000",
        ),
        # A job asks for its services with its first operator.
        (candidate(memory=5000, services=S3), Usage(), None),
        (candidate(memory=5000, services=S3), Usage(memory=1), "8000 MB of memory; 7999 of 8000"),
        # What is there already, or begins to be used, is asked for once.
        (
            candidate(memory=5000, services=S3),
            Usage(services=S3, service_users=frozenset("a"), largest=1000),
            None,
        ),
        (candidate(memory=5000, services=S3), Usage(idle=S3), None),
        # Its own operators come on top of its services.
        (runs(memory=5000, services=S3), Usage(services=S3, service_users=frozenset("j")), None),
        (
            runs(memory=5000, services=S3),
            Usage(services=S3, service_users=frozenset("j"), memory=1),
            "5000 MB of memory; 4999 of 8000 are free, services hold 3000",
        ),
        # Services that leave no room for the largest operator of all that use some: not begun.
        (
            candidate(memory=1000, services={"t": 3000}),
            Usage(services=S3, service_users=frozenset("a"), largest=2001),
            "5001 MB of memory for its services and their largest operator; 5000 of 8000 are not"
            " reserved by services of other jobs",
        ),
        (
            candidate(memory=1000, largest=2001, services={"t": 3000}),
            Usage(services=S3, service_users=frozenset("a"), largest=1000),
            "5001 MB of memory for its services and their largest operator; 5000 of 8000 are not"
            " reserved by services of other jobs",
        ),
        (
            candidate(memory=1000, services={"t": 3000}),
            Usage(services=S3, service_users=frozenset("a"), largest=2000),
            None,
        ),
        # A request above the capacity means the whole capacity: no other job runs at that time.
        (candidate(memory=6000, services=S3), Usage(), None),
        (candidate(memory=6000, services=S3), Usage(memory=1), "8000 MB of memory; 7999 of 8000"),
        (runs(memory=6000, services=S3), Usage(services=S3, service_users=frozenset("j")), None),
        (
            runs(memory=6000, services=S3),
            Usage(services=S3, service_users=frozenset("j"), memory=100),
            "6000 MB of memory; 4900 of 8000 are free, services hold 3000",
        ),
        # After a change of settings two jobs may use more than the device has: one continues.
        (
            runs(memory=3000, services=S3),
            Usage(services={"s": 3000, "t": 3000}, service_users=frozenset("ja")),
            None,
        ),
        # Idle ones are no obstacle for good; see below.
        (candidate(memory=5001), Usage(idle=S3), "5001 MB of memory; 5000 of 8000 are free"),
        # Without a count nobody waits.
        (candidate(), Usage(services={"s": 9000}, service_users=frozenset("a")), None),
    ],
)
def test_what_an_operator_waits_for(wanted: Candidate, usage: Usage, waits_for: str | None) -> None:
    found = obstacle(wanted, ROOM, usage)
    if waits_for is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(waits_for)
    assert obstacle(wanted, Capacity(operators=4, cores=4), usage) is None


@pytest.mark.parametrize(
    ("gpu_memory", "services", "waits_for"),
    [
        (5000, 3000, None),
        (5001, 3000, "5001 MB of memory; 5000 of 8000 are free, services hold 3000"),
        (5000, 3001, "5000 MB of memory; 4999 of 8000 are free, services hold 3001"),
    ],
)
def test_memory_of_the_gpu_is_the_same_budget_where_it_is_the_systems(
    gpu_memory: int, services: int, waits_for: str | None
) -> None:
    usage = Usage(services={"s": services}, service_users=frozenset("a"))
    assert obstacle(candidate(gpu_memory=gpu_memory), JETSON, usage) == waits_for


@pytest.mark.parametrize(
    ("waiting", "usage", "decision"),
    [
        # It starts while idle services run, if there is memory for both.
        ([candidate("a", 5000)], Usage(idle=S3), ("a", 0, set())),
        # Otherwise idle services end, as many as are needed.
        ([candidate("a", 6000)], Usage(idle=S3), (None, 1000, set())),
        ([candidate("a", 8000)], Usage(idle={"s": 3000, "t": 3000}), (None, 6000, set())),
        ([candidate("a", 8000)], Usage(idle=S3), (None, 3000, set())),
        # Not for one that waits for operators as well.
        ([candidate("a", 6000)], Usage(idle=S3, memory=2001), (None, 0, set())),
        # Nor what it needs itself.
        (
            [candidate("a", 4000, services=S3)],
            Usage(idle={"s": 3000, "t": 3000}),
            (None, 2000, {"s"}),
        ),
        # Those after it start on what it leaves, and on no more.
        (
            [candidate("a", 6000), candidate("b", 2000, position=2)],
            Usage(idle=S3),
            (None, 3000, set()),
        ),
        (
            [candidate("a", 6000), candidate("b", 2001, position=2)],
            Usage(idle=S3),
            (None, 1000, set()),
        ),
        # What has the device to itself never waits for what is idle for ever.
        (
            [runs("a", 6000, services=S3)],
            Usage(services=S3, service_users=frozenset("a"), idle={"t": 1}),
            (None, 1, {"s"}),
        ),
    ],
)
def test_idle_services_end_for_operators_that_need_their_memory(
    waiting: list[Candidate], usage: Usage, decision: tuple[str | None, int, set[str]]
) -> None:
    found = decide(waiting, ROOM, usage)
    job = None if found.candidate is None else found.candidate.job
    assert (job, found.idle_memory, set(found.wanted)) == decision


def test_an_operator_of_a_job_that_runs_is_overtaken_for_a_minute_at_most() -> None:
    large, small = runs("large", 7000), candidate("small", 2000, position=2)
    usage = Usage(memory=2000)
    assert decide([large, small], ROOM, usage).candidate is small
    assert [c.who for c in overtaken([large, small], ROOM, usage)] == [large.who]
    overtaking = Overtaking().after([large.who], {large.who}, 0.0)
    assert overtaking.after([large.who], {large.who}, 59.0).reserved is None
    assert overtaking.after([large.who], {large.who}, 60.0).reserved == large.who
    assert decide([large, small], ROOM, usage, reserved=large).candidate is None


# --- all sorts of jobs -------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """A job: the memory of its operators in a row, and of its services."""

    operators: tuple[int, ...]
    services: Mapping[str, int]


JOBS = st.lists(
    st.builds(
        Wanted,
        st.lists(st.integers(1, 8), min_size=1, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from("stu"), st.integers(1, 8), max_size=2),
    ),
    min_size=1,
    max_size=12,
)


@given(JOBS)
@settings(deadline=None)
def test_all_jobs_with_services_end_and_no_memory_is_granted_twice(
    jobs: list[Wanted],
) -> None:
    """One operator of each job after the other, each for a round, on a device of eight megabytes.

    Services stay until somebody needs their memory. A job whose services and largest operator are
    more than the device has may have more, alone.
    """
    whole, capacity = 8, Capacity(operators=4, cores=4, memory=8)
    done = [0] * len(jobs)
    begun: set[int] = set()
    running: dict[int, int] = {}
    living: dict[str, int] = {}
    overtaking, now = Overtaking(), 0.0

    def usage() -> Usage:
        users = [n for n in begun if done[n] < len(jobs[n].operators) and jobs[n].services]
        used: dict[str, int] = {}
        for n in users:
            for key, size in jobs[n].services.items():
                used[key] = max(size, used.get(key, 0), living.get(key, 0))
        return Usage(
            operators=len(running),
            memory=sum(running.values()),
            services=used,
            service_users=frozenset(str(n) for n in users),
            largest=max((max(jobs[n].operators) for n in users), default=0),
            idle={key: size for key, size in living.items() if key not in used},
        )

    while any(d < len(job.operators) for d, job in zip(done, jobs, strict=True)):
        while True:
            waiting = [
                candidate(
                    str(n),
                    job.operators[done[n]],
                    position=n,
                    job_runs=n in begun,
                    services=job.services,
                    largest=max(job.operators),
                )
                for n, job in enumerate(jobs)
                if n not in running and done[n] < len(job.operators)
            ]
            who = {c.who: c for c in waiting}
            blocked = [c.who for c in overtaken(waiting, capacity, usage())]
            overtaking = overtaking.after(blocked, who, now, 3.0)
            reserved = who.get(overtaking.reserved or ("", ""))
            found = decide(waiting, capacity, usage(), reserved=reserved)
            idle = usage().idle
            ended = 0
            for key in idle:
                if ended < found.idle_memory and key not in found.wanted:
                    ended += living.pop(key)
            if found.candidate is not None:
                n = int(found.candidate.job)
                begun.add(n)
                for key, size in jobs[n].services.items():
                    living[key] = max(size, living.get(key, 0))
                running[n] = found.candidate.requests.memory.reserved
                taken = sum(running.values()) + sum(living.values())
                alone = len(running) == 1 and living.keys() <= jobs[n].services.keys()
                assert taken <= whole or alone
            elif not ended:
                break
        assert running, "something can always start"
        now += 1
        for n in running:
            done[n] += 1
        running.clear()
