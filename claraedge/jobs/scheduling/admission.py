"""Decides which operator starts next. Pure: waiting operators, capacity and usage go in.

IMMEDIATE is first, then operators of running jobs, then the classes in turn, each in the order of
Start. Operators and services reserve cores only if their definition requests them. Memory of unused
services blocks no one: they end when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from claraedge.jobs.model import Priority
from claraedge.jobs.scheduling.budget import (
    Candidate,
    Capacity,
    Usage,
    idle_to_end,
    memory_obstacle,
    value_obstacle,
    with_memory,
)
from claraedge.jobs.scheduling.gpu_leases import (
    SERVICES_TURN,
    absent,
    gpu_obstacle,
    kept_by_deployments,
    services_obstacle,
    with_gpus,
)


def obstacle(candidate: Candidate, capacity: Capacity, usage: Usage) -> str | None:
    """Returns what a candidate waits for, as text for users; None: it may start."""
    if (waits_for := services_obstacle(candidate, capacity, usage)) is not None:
        return waits_for
    if candidate.requests.slot and usage.operators >= capacity.operators:
        return f"all {capacity.operators} operator slots are taken"
    return (
        _core_obstacle(candidate, capacity, usage)
        or memory_obstacle(candidate, capacity, usage)
        or gpu_obstacle(candidate, capacity, usage)
        or value_obstacle(candidate, usage)
    )


def value_turn(candidates: Iterable[Candidate], capacity: Capacity, usage: Usage) -> str | None:
    """Returns the first job that asks for memory of its values and waits for nothing else.

    `candidates`: in the order in which their jobs left the queue. One that waits for something else
    lets the others go first: what it waits for may last, or not be there.
    """
    free = replace(usage, value_space=None)
    for candidate in candidates:
        others = free.without_idle(candidate.services)
        if candidate.wants_value_space and obstacle(candidate, capacity, others) is None:
            return candidate.job
    return None


def _core_obstacle(candidate: Candidate, capacity: Capacity, usage: Usage) -> str | None:
    """Returns the cores that a candidate waits for, as text.

    Services reduce the cores of operators, but do not block an operator while no other one reserves
    cores: nothing that runs would release any.
    """
    cpu = min(candidate.requests.cores, capacity.cores)  # a larger request means all cores
    free = max(0, capacity.cores - usage.cores - usage.service_cores)
    if not cpu or not usage.cores or cpu <= free:
        return None
    text = f"{cpu} cores; {free} of {capacity.cores} are free"
    return f"{text}, services hold {usage.service_cores}" if usage.service_cores else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision of one scheduling step."""

    candidate: Candidate | None = None
    """The operator that starts now; None: all of them wait."""
    idle_memory: int = 0
    """Megabytes that unused services have to release."""
    wanted: frozenset[str] = frozenset()
    """Keys of services that are about to be used, and so do not end to release memory."""


def decide(
    candidates: Iterable[Candidate],
    capacity: Capacity,
    usage: Usage,
    *,
    classes: Sequence[Priority] = tuple(reversed(Priority)),
    reserved: Candidate | None = None,
) -> Decision:
    """Decides what starts now, and how much memory unused services release.

    `classes`: the classes in the order of their turns. `reserved`: the candidate that was overtaken
    for too long; no other job starts on resources that it waits for.
    """
    first = None if reserved is None else reserved.job
    ranked = sorted(candidates, key=lambda c: (c.queued and c.job != first, *_rank(c, classes)))
    kept = usage if reserved is None else _with(reserved, capacity, usage)
    immediate_waits = False
    idle_memory, wanted = 0, frozenset[str]()
    for candidate in ranked:
        if candidate.queued and immediate_waits:
            continue
        others = candidate.queued and reserved is not None and candidate.job != reserved.job
        room = kept if others else usage
        waits_for = obstacle(candidate, capacity, room)
        if waits_for is None:
            return Decision(candidate=candidate, idle_memory=idle_memory, wanted=wanted)
        ended = room.without_idle(candidate.services)
        if room.idle and obstacle(candidate, capacity, ended) is None:
            # Its turn has come: candidates after it may only use the remaining resources.
            usage, kept = _with(candidate, capacity, usage), _with(candidate, capacity, kept)
            wanted |= candidate.services.keys()
            idle_memory = idle_to_end(usage, capacity)
        if candidate.priority is Priority.IMMEDIATE and not candidate.job_runs:
            # Its queue has to be empty before any other job starts (Clara 0.8.1), unless that may
            # last: for a GPU that is not there, one for services, or what deployments have.
            may_last = (
                waits_for == SERVICES_TURN
                or absent(candidate, capacity) is not None
                or kept_by_deployments(candidate, capacity, usage)
            )
            immediate_waits = immediate_waits or not may_last
    return Decision(idle_memory=idle_memory, wanted=wanted)


def _rank(candidate: Candidate, classes: Sequence[Priority]) -> tuple[bool, bool, int, int, int]:
    """Returns the sort key of a candidate: the smallest is considered first."""
    turn = 0 if candidate.job_runs else classes.index(candidate.priority)
    return (
        candidate.priority is not Priority.IMMEDIATE,
        not candidate.job_runs,
        turn,
        -candidate.priority,
        candidate.position,
    )


def _with(candidate: Candidate, capacity: Capacity, usage: Usage) -> Usage:
    """Returns the usage with the resources of a waiting candidate reserved."""
    usage = with_gpus(candidate, capacity, with_memory(candidate, capacity, usage))
    return replace(
        usage,
        operators=usage.operators + candidate.requests.slot,
        cores=usage.cores + min(candidate.requests.cores, capacity.cores),
    )
