"""Which operator starts next: by tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claraedge.clock import SystemClock
from claraedge.jobs.model import Priority
from claraedge.jobs.scheduling.admission import decide, obstacle, value_turn
from claraedge.jobs.scheduling.budget import Candidate, Capacity, Usage, ValueSpace
from claraedge.jobs.scheduling.gpu_leases import grant
from claraedge.jobs.scheduling.overtaking import OVERTAKEN, overtaken
from claraedge.jobs.scheduling.scheduler import Resources, Scheduler
from claraedge.pipelines.requests import OperatorRequests

G0, G1 = "nvidia.com/gpu=0", "nvidia.com/gpu=1"
ONE_GPU = Capacity(operators=4, cores=4, gpus=(G0,))
TWO_GPUS = Capacity(operators=4, cores=4, gpus=(G0, G1))


def candidate(job: str = "j", cores: int = 0, gpus: int = 0, **more: Any) -> Candidate:
    values: dict[str, Any] = {
        "operator": "op",
        "requests": OperatorRequests(cores=cores, gpus=gpus),
        "priority": Priority.NORMAL,
        "position": 1,
        "job_runs": False,
        **more,
    }
    return Candidate(job=job, **values)


def gpu(job: str = "j", count: int = 1, **more: Any) -> Candidate:
    return candidate(job, gpus=count, **{"job_gpus": count, **more})


@pytest.mark.parametrize(
    ("wanted", "capacity", "usage", "waits_for"),
    [
        (candidate(), Capacity(operators=1, cores=1), Usage(), None),
        (candidate(), Capacity(operators=1, cores=1), Usage(operators=1), "all 1 operator slots"),
        # Cores count only where a definition asks for them.
        (candidate(), Capacity(operators=2, cores=2), Usage(operators=1, cores=2), None),
        (candidate(cores=1), Capacity(operators=2, cores=2), Usage(cores=1), None),
        (candidate(cores=2), Capacity(operators=2, cores=2), Usage(cores=1), "2 cores; 1 of 2"),
        # More cores than there are means all there are.
        (candidate(cores=64), Capacity(operators=2, cores=2), Usage(), None),
        (candidate(cores=64), Capacity(operators=2, cores=2), Usage(cores=1), "2 cores; 1 of 2"),
        # Services reserve cores as well, but never the turn of an operator that would be alone.
        (candidate(), Capacity(operators=9, cores=4), Usage(cores=1, service_cores=3), None),
        (candidate(cores=1), Capacity(operators=9, cores=4), Usage(cores=1, service_cores=2), None),
        (
            candidate(cores=2),
            Capacity(operators=9, cores=4),
            Usage(cores=1, service_cores=2),
            "2 cores; 1 of 4 are free, services hold 2",
        ),
        (
            candidate(cores=1),
            Capacity(operators=9, cores=4),
            Usage(cores=1, service_cores=9),
            "1 cores; 0 of 4 are free, services hold 9",
        ),
        (candidate(cores=4), Capacity(operators=9, cores=4), Usage(service_cores=9), None),
        # GPUs.
        (gpu(), Capacity(operators=1, cores=1), Usage(), "no GPU present"),
        (gpu(), ONE_GPU, Usage(), None),
        (gpu(), ONE_GPU, Usage(leases={"other": (G0,)}), "1 GPUs; 0 of 1 are free"),
        (gpu(), TWO_GPUS, Usage(leases={"other": (G0,)}), None),
        (gpu(count=2), TWO_GPUS, Usage(leases={"other": (G0,)}), "2 GPUs; 1 of 2 are free"),
        (gpu(job_gpus=2), TWO_GPUS, Usage(leases={"other": (G0,)}), "2 GPUs; 1 of 2"),
        (gpu(count=2), ONE_GPU, Usage(), "2 GPUs; this device shows 1"),
        # A job's own operators take turns on its GPU.
        (gpu(), ONE_GPU, Usage(leases={"j": (G0,)}), None),
        (
            gpu(),
            ONE_GPU,
            Usage(leases={"j": (G0,)}, gpus_in_use=frozenset({G0})),
            "another operator of this job",
        ),
        (gpu(), TWO_GPUS, Usage(leases={"j": (G0, G1)}, gpus_in_use=frozenset({G0})), None),
        # Services that need a GPU start only where no other job has one, except by those services.
        (
            candidate(services_want_gpu=True),
            TWO_GPUS,
            Usage(gpu_jobs=frozenset({"other"})),
            "a GPU for its services or models, which another job has",
        ),
        (
            gpu(services_want_gpu=True),
            TWO_GPUS,
            Usage(gpu_jobs=frozenset({"j", "other"}), service_gpu_users=frozenset({"other"})),
            None,
        ),
        # An operator without a GPU does not wait for one.
        (candidate(job_gpus=1), ONE_GPU, Usage(leases={"other": (G0,)}), None),
    ],
)
def test_what_an_operator_waits_for(
    wanted: Candidate, capacity: Capacity, usage: Usage, waits_for: str | None
) -> None:
    found = obstacle(wanted, capacity, usage)
    if waits_for is None:
        assert found is None
    else:
        assert found is not None
        assert waits_for in found
    assert (decide([wanted], capacity, usage).candidate is None) is (waits_for is not None)


MB = 1 << 20
FULL = ValueSpace(total=100 * MB, free=70 * MB, promised={"other": 30 * MB})


@pytest.mark.parametrize(
    ("wanted", "space", "turn", "waits_for"),
    [
        (40, FULL, "j", None),
        (41, FULL, "j", "41 MB of shared memory, which other jobs hold"),
        # In the order in which jobs ask, also where there is memory for one that came later.
        (40, FULL, "first", "40 MB of shared memory"),
        # What can never be placed does not wait: its operator fails, and says why.
        (101, FULL, "first", None),
        (80, ValueSpace(total=100 * MB, free=70 * MB, promised={}), "j", None),
        (41, None, None, None),
        (0, FULL, "first", None),
    ],
)
def test_a_job_waits_for_the_shared_memory_of_its_values_before_its_first_operator(
    wanted: int, space: ValueSpace | None, turn: str | None, waits_for: str | None
) -> None:
    room, usage = Capacity(operators=1, cores=1), Usage(value_space=space, value_turn=turn)
    asking = candidate(values=wanted * MB, job_runs=True)
    found = obstacle(asking, room, usage)
    assert found == waits_for or (waits_for and found and found.startswith(waits_for))
    assert obstacle(candidate(values=wanted * MB), room, usage) is None, "it leaves the queue"
    assert not overtaken([asking], room, usage), "no slot is kept for it"


def test_the_turn_for_shared_memory_is_of_the_first_that_waits_for_nothing_else() -> None:
    served = replace(gpu("served"), values=MB, job_runs=True)
    large = candidate("large", values=50 * MB, job_runs=True)
    small = candidate("small", values=MB, job_runs=True)
    usage = Usage(value_space=FULL)
    assert value_turn([large, small], ONE_GPU, usage) == "large", "also where it does not fit yet"
    assert value_turn([served, small], ONE_GPU, usage) == "served"
    # A GPU that another job has, or that is not there, delays no job without one.
    assert value_turn([served, small], ONE_GPU, replace(usage, leases={"other": (G0,)})) == "small"
    assert value_turn([served, small], Capacity(operators=1, cores=1), usage) == "small"
    assert value_turn([served], ONE_GPU, replace(usage, leases={"other": (G0,)})) is None
    assert value_turn([candidate("queued", values=MB)], ONE_GPU, usage) is None
    busy = candidate("busy", values=MB, job_runs=True, services={"viewer": 10})
    idle = Usage(value_space=FULL, memory=5, idle={"old": 10})
    room = Capacity(operators=2, cores=1, memory=20)
    assert value_turn([busy], room, idle) == "busy", "services that nobody uses end for it"


@pytest.mark.parametrize(
    ("wanted", "usage", "lease", "gpus"),
    [
        (candidate(), Usage(), (), ()),
        (candidate(), Usage(leases={"j": (G0,)}), (G0,), ()),
        (gpu(), Usage(), (G0,), (G0,)),
        (gpu(), Usage(leases={"other": (G0,)}), (G1,), (G1,)),
        (gpu(job_gpus=2), Usage(), (G0, G1), (G0,)),
        (gpu(count=2), Usage(), (G0, G1), (G0, G1)),
        (gpu(), Usage(leases={"j": (G0, G1)}, gpus_in_use=frozenset({G0})), (G0, G1), (G1,)),
    ],
)
def test_what_is_granted(
    wanted: Candidate, usage: Usage, lease: tuple[str, ...], gpus: tuple[str, ...]
) -> None:
    assert obstacle(wanted, TWO_GPUS, usage) is None
    assert grant(wanted, TWO_GPUS, usage) == (lease, gpus)


def test_the_order_of_turns() -> None:
    in_order = [
        candidate("urgent", priority=Priority.IMMEDIATE, position=9),
        candidate("runs low", priority=Priority.LOWER, position=8, job_runs=True),
        candidate("high", priority=Priority.HIGHER, position=7),
        candidate("first", position=2),
        candidate("second", position=3),
        candidate("low", priority=Priority.LOWER, position=1),
    ]
    waiting = list(reversed(in_order))
    room = Capacity(operators=1, cores=1)
    turns = []
    while (chosen := decide(waiting, room, Usage()).candidate) is not None:
        turns.append(chosen.job)
        waiting.remove(chosen)
    assert turns == [c.job for c in in_order]


def test_an_urgent_job_delays_others_but_not_while_its_services_wait_for_a_gpu() -> None:
    other = candidate("other", position=2)
    usage = Usage(leases={"runs": (G0,)}, gpu_jobs=frozenset({"runs"}))
    urgent = gpu("urgent", priority=Priority.IMMEDIATE)
    assert decide([urgent, other], ONE_GPU, usage).candidate is None
    served = candidate("urgent", priority=Priority.IMMEDIATE, services_want_gpu=True)
    assert decide([served, other], ONE_GPU, usage).candidate is other


def test_one_that_waits_does_not_hold_up_others() -> None:
    waiting = [gpu("first", position=1), candidate("second", position=2)]
    chosen = decide(waiting, ONE_GPU, Usage(leases={"other": (G0,)})).candidate
    assert chosen is waiting[1]
    assert decide([], ONE_GPU, Usage()).candidate is None


class Later(SystemClock):
    """A clock that a test sets."""

    now = 0.0

    def elapsed(self) -> float:
        return self.now


def test_who_waits_for_shared_memory_keeps_no_other_resource_meanwhile() -> None:
    clock = Later()
    resources = Resources(operators=2, cores=2, memory=None, gpus=lambda: ())
    scheduler = Scheduler(resources, clock)
    large = candidate("large", cores=2, job_runs=True, values=50 * MB)
    other = candidate("other", cores=2, position=2)
    busy = Usage(operators=1, cores=1)
    for clock.now in (0.0, OVERTAKEN):
        assert scheduler.choose([large, other], busy).candidate is None
    assert scheduler.soonest() is None, "its resources are reserved"
    full = Usage(value_space=FULL, value_turn="large")
    assert scheduler.choose([large, other], full).candidate is other
