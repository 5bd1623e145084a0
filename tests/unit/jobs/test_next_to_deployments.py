"""Jobs and deployments share the device: what operators wait for, and what never waits for ever."""

from __future__ import annotations

from typing import Any

import pytest

from claraedge.jobs.model import Priority
from claraedge.jobs.scheduling.admission import decide, obstacle
from claraedge.jobs.scheduling.budget import Candidate, Capacity, Usage, idle_to_end
from claraedge.jobs.scheduling.gpu_leases import kept_by_deployments
from claraedge.jobs.scheduling.overtaking import overtaken
from claraedge.pipelines.requests import MemoryRequest, OperatorRequests
from claraedge.supervised.allocations import Allocated

G0, G1 = "nvidia.com/gpu=0", "nvidia.com/gpu=1"
ONE = Capacity(operators=4, cores=4, memory=8000, gpus=(G0,), gpu_memory=6000)
TWO = Capacity(operators=4, cores=4, memory=8000, gpus=(G0, G1))


def candidate(memory: int = 0, gpus: int = 0, gpu_memory: int = 0, **more: Any) -> Candidate:
    requests = OperatorRequests(
        memory=MemoryRequest(reserved=memory, limit=None, written=True),
        gpus=gpus,
        gpu_memory=gpu_memory,
    )
    values: dict[str, Any] = {
        "job": "j",
        "operator": "op",
        "requests": requests,
        "priority": Priority.NORMAL,
        "position": 1,
        "job_runs": False,
        "job_gpus": gpus,
        **more,
    }
    return Candidate(**values)


def next_to(**more: Any) -> Usage:
    return Usage(deployments=Allocated(**more))


@pytest.mark.parametrize(
    ("wanted", "capacity", "usage", "waits_for"),
    [
        (candidate(5000), ONE, next_to(memory=3000), None),
        (candidate(5001), ONE, next_to(memory=3000), "5001 MB of memory; deployments hold 3000"),
        (candidate(9000), ONE, next_to(memory=1), "8000 MB of memory; deployments hold 1 of 8000"),
        # New jobs leave what a deployment waits for; one that has begun continues.
        (candidate(2000), ONE, next_to(awaited_memory=7000), "2000 MB of memory; deployments hold"),
        (candidate(2000, job_runs=True), ONE, next_to(awaited_memory=7000), None),
        (
            candidate(1000, services={"s": 3000}),
            ONE,
            Usage(services={"t": 3000}, largest=1000, deployments=Allocated(memory=2000)),
            "4000 MB of memory for its services and their largest operator; 3000 of 8000 are not"
            " reserved by services of other jobs, deployments hold 2000",
        ),
        (candidate(gpus=1), ONE, next_to(gpus={G0}), "1 GPUs; 0 of 1 are free, deployments hold 1"),
        (candidate(gpus=1), TWO, next_to(gpus={G0}), None),
        (candidate(gpus=1), ONE, next_to(awaited_gpus={G0}), "1 GPUs; 0 of 1 are free"),
        (candidate(gpu_memory=100), ONE, next_to(gpus={G0}), "100 MB of GPU memory"),
        (
            candidate(gpus=1),
            ONE,
            Usage(leases={"j": (G0,)}, deployments=Allocated(awaited_gpus=frozenset({G0}))),
            None,
        ),
        # One that has begun would wait for ever: what it keeps is what the deployment waits for.
        (
            candidate(gpus=1, job_runs=True),
            ONE,
            Usage(begun=frozenset("j"), deployments=Allocated(awaited_gpus=frozenset({G0}))),
            None,
        ),
        # A new job is asked for all that it will keep.
        (candidate(500, largest=4000), ONE, next_to(awaited_memory=5000), "4000 MB of memory"),
        (
            candidate(services_want_gpu=True),
            ONE,
            next_to(gpus={G0}),
            "a GPU for its services or models, which deployments have",
        ),
        (candidate(services_want_gpu=True), TWO, next_to(gpus={G0}), None),
    ],
)
def test_what_an_operator_waits_for(
    wanted: Candidate, capacity: Capacity, usage: Usage, waits_for: str | None
) -> None:
    found = obstacle(wanted, capacity, usage)
    assert found == waits_for or (waits_for and found and found.startswith(waits_for))


@pytest.mark.parametrize(
    ("wanted", "usage"),
    [
        (candidate(6000), next_to(memory=3000)),
        (candidate(gpus=1), next_to(gpus={G0})),
        (candidate(services_want_gpu=True), next_to(gpus={G0})),
    ],
)
def test_a_job_that_waits_for_a_deployment_keeps_nothing_from_others(
    wanted: Candidate, usage: Usage
) -> None:
    assert kept_by_deployments(wanted, ONE, usage)
    other = candidate(10, job="other", position=2)
    assert decide([wanted, other], ONE, usage).candidate == other
    assert overtaken([wanted, other], ONE, usage) == ()
    urgent = candidate(6000, gpus=1, priority=Priority.IMMEDIATE)
    assert decide([urgent, other], ONE, next_to(memory=3000, gpus={G0})).candidate == other


def test_idle_services_end_for_a_job_next_to_a_deployment() -> None:
    usage = Usage(memory=4000, idle={"s": 2000}, deployments=Allocated(memory=3000))
    assert idle_to_end(usage, ONE) == 1000
