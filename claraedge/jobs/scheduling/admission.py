"""Which operator starts next. Pure: what waits, what is held and what there is go in.

IMMEDIATE goes first, then operators of jobs that run already, then the classes by their turns, each
in the order of Start. Operators and services reserve cores only where their definition says so.
Memory of services that nobody uses is no obstacle: they end for whoever needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from claraedge.jobs.model import Priority
from claraedge.jobs.scheduling.budget import (
    Candidate,
    Capacity,
    Held,
    idle_to_end,
    memory_obstacle,
    with_memory,
)
from claraedge.jobs.scheduling.gpu_leases import absent, gpu_obstacle, with_gpus


def obstacle(candidate: Candidate, capacity: Capacity, held: Held) -> str | None:
    """What a candidate waits for, in words for its user; None: it may start."""
    if candidate.slot and held.operators >= capacity.operators:
        return f"all {capacity.operators} operator slots are taken"
    return (
        _core_obstacle(candidate, capacity, held)
        or memory_obstacle(candidate, capacity, held)
        or gpu_obstacle(candidate, capacity, held)
    )


def _core_obstacle(candidate: Candidate, capacity: Capacity, held: Held) -> str | None:
    """What cores a candidate waits for. Services take theirs from operators, but never the turn of
    one that would be alone: nothing that runs would give any back.
    """
    cpu = min(candidate.cpu, capacity.cores)  # more than there is means all there is
    free = max(0, capacity.cores - held.cores - held.cores_beside)
    if not cpu or not held.cores or cpu <= free:
        return None
    text = f"{cpu} cores; {free} of {capacity.cores} are free"
    return f"{text}, services hold {held.cores_beside}" if held.cores_beside else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What happens next."""

    candidate: Candidate | None = None
    """It starts now; None: each one waits."""
    idle_memory: int = 0
    """Megabytes that services which nobody uses are to give back."""
    wanted: frozenset[str] = frozenset()
    """Keys of services that are about to be used: these do not end for it."""


def decide(
    candidates: Iterable[Candidate],
    capacity: Capacity,
    held: Held,
    *,
    classes: Sequence[Priority] = tuple(reversed(Priority)),
    reserved: Candidate | None = None,
) -> Decision:
    """What starts now, and what is to end for others.

    `classes`: the classes in the order of their turns. `reserved`: the candidate that was overtaken
    for long enough; no other job starts on what it waits for.
    """
    first = None if reserved is None else reserved.job
    ranked = sorted(candidates, key=lambda c: (c.queued and c.job != first, *_rank(c, classes)))
    kept = held if reserved is None else _with(reserved, capacity, held)
    immediate_waits = False
    idle_memory, wanted = 0, frozenset[str]()
    for candidate in ranked:
        if candidate.queued and immediate_waits:
            continue
        others = candidate.queued and reserved is not None and candidate.job != reserved.job
        room = kept if others else held
        waits_for = obstacle(candidate, capacity, room)
        if waits_for is None:
            return Decision(candidate=candidate, idle_memory=idle_memory, wanted=wanted)
        ended = room.without_idle(candidate.services)
        if room.idle and obstacle(candidate, capacity, ended) is None:
            # Its turn has come: those after it start on what it leaves.
            held, kept = _with(candidate, capacity, held), _with(candidate, capacity, kept)
            wanted |= candidate.services.keys()
            idle_memory = idle_to_end(held, capacity)
        if candidate.priority is Priority.IMMEDIATE and not candidate.job_runs:
            # Its queue has to be empty before any other job starts (Clara 0.8.1).
            immediate_waits = immediate_waits or absent(candidate, capacity) is None
    return Decision(idle_memory=idle_memory, wanted=wanted)


def _rank(candidate: Candidate, classes: Sequence[Priority]) -> tuple[bool, bool, int, int, int]:
    """The order in which candidates are looked at, smallest first."""
    turn = 0 if candidate.job_runs else classes.index(candidate.priority)
    return (
        candidate.priority is not Priority.IMMEDIATE,
        not candidate.job_runs,
        turn,
        -candidate.priority,
        candidate.position,
    )


def _with(candidate: Candidate, capacity: Capacity, held: Held) -> Held:
    """What is held, with what is kept for a candidate that waits."""
    held = with_gpus(candidate, capacity, with_memory(candidate, capacity, held))
    return replace(
        held,
        operators=held.operators + candidate.slot,
        cores=held.cores + min(candidate.cpu, capacity.cores),
    )
