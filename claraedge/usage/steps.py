"""Reservations as intervals, and their sum as a function of time. Pure.

The wall clock may have been set back: what ended before it began by that clock is left out, and
what still runs counts now, whatever the time of its begin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Memory and GPUs that something had for a time. Times are Unix seconds."""

    begin: float
    end: float | None
    """None: it still has them."""
    memory: int
    """Megabytes."""
    gpus: int = 0
    shared: str = ""
    """What several users have at the same time, and counts once; empty: it is only this one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageStep:
    """What was reserved from a time on, until the next step."""

    time: float
    """Unix seconds."""
    memory: int
    """Megabytes."""
    gpus: int


def steps(
    reserved: Iterable[Reserved], *, since: float, now: float, gpus: int, most: int
) -> list[UsageStep]:
    """Returns the sum of reservations from `since` to `now`, in at most `most` steps.

    The first step is at `since`. With more changes, each step has the most of its part of the time,
    and the last one, at `now`, what is reserved now. `gpus`: those of the device; several operators
    may share one.
    """
    changes: dict[float, list[int]] = defaultdict(lambda: [0, 0])
    for each in _once(reserved):
        end = inf if each.end is None else each.end
        begin = min(each.begin, now) if each.end is None else each.begin
        begin = max(begin, since)
        if begin < end and begin <= now:
            for time, sign in ((begin, 1), (end, -1)):
                if time <= now:
                    changes[time][0] += sign * each.memory
                    changes[time][1] += sign * each.gpus
    found = [UsageStep(time=since, memory=0, gpus=0)]
    memory = devices = 0
    for time in sorted(changes):
        memory += changes[time][0]
        devices += changes[time][1]
        found.append(UsageStep(time=time, memory=memory, gpus=min(devices, gpus)))
    found = _without_repetitions(found)
    if len(found) > most:
        found = _without_repetitions(_coarse(found, since, now, most))
    return found


def _once(reserved: Iterable[Reserved]) -> Iterator[Reserved]:
    """Yields the reservations; what is shared, once for each time in which somebody has it."""
    of_many = []
    for each in reserved:
        if each.shared:
            of_many.append(each)
        else:
            yield each
    last: Reserved | None = None
    for each in sorted(of_many, key=lambda each: (each.shared, each.begin)):
        if last is None or last.shared != each.shared or each.begin > _end(last):
            if last is not None:
                yield last
            last = each
        elif _end(each) > _end(last):
            last = replace(last, end=each.end)
    if last is not None:
        yield last


def _end(reserved: Reserved) -> float:
    return inf if reserved.end is None else reserved.end


def _without_repetitions(found: Sequence[UsageStep]) -> list[UsageStep]:
    """Returns the steps that change something; of those at one time, the last."""
    kept: list[UsageStep] = []
    for step in found:
        if kept and kept[-1].time == step.time:
            kept.pop()
        if not kept or (kept[-1].memory, kept[-1].gpus) != (step.memory, step.gpus):
            kept.append(step)
    return kept


def _coarse(found: Sequence[UsageStep], since: float, now: float, most: int) -> list[UsageStep]:
    """Returns one step for each part of the time, with the most of it, and one for now."""
    parts = most - 1
    width = (now - since) / parts
    coarse = []
    position, last = 0, found[0]
    for part in range(parts):
        memory, gpus = last.memory, last.gpus
        while position < len(found) and found[position].time < since + (part + 1) * width:
            last = found[position]
            memory, gpus = max(memory, last.memory), max(gpus, last.gpus)
            position += 1
        coarse.append(UsageStep(time=since + part * width, memory=memory, gpus=gpus))
    return [*coarse, UsageStep(time=now, memory=found[-1].memory, gpus=found[-1].gpus)]
