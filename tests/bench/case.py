"""A case of the benchmark: what is measured, against what, and the goal."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias


class NotInstalled(Exception):  # noqa: N818 - no error: the case is left out
    """A program that only this case needs is missing; the text names it."""


class Pair(NamedTuple):
    """Two values that were measured one right after the other, or at the same time."""

    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        """Ours as a multiple of theirs; infinite where only theirs is 0, and 1 where both are."""
        if self.theirs:
            return self.ours / self.theirs
        return math.inf if self.ours else 1.0


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit of the ratio, or of our own value."""

    kind: Literal["at most", "at least"]
    """Says as well which direction is better."""
    limit: float | None
    """None for a figure without a limit."""
    of: Literal["ratio", "ours"] = "ratio"

    def reached(self, value: float) -> bool:
        """Returns whether a value keeps the limit; without a limit it does."""
        return self.limit is None or not self.worse(value, self.limit)

    def worse(self, value: float, other: float) -> bool:
        """Returns whether a value is on the bad side of another one."""
        return value > other if self.kind == "at most" else value < other


def at_most(limit: float | None, of: Literal["ratio", "ours"] = "ratio") -> Goal:
    return Goal("at most", limit, of)


def at_least(limit: float | None, of: Literal["ratio", "ours"] = "ratio") -> Goal:
    return Goal("at least", limit, of)


NO_GOAL = Goal("at most", None)


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    name: str
    """In words; no other figure of its case has the same."""
    against: str
    """What it is compared with."""
    unit: str
    """The unit of both values: "s", "ms", "us", "MiB", ..."""
    goal: Goal = NO_GOAL


Pairs: TypeAlias = Generator[Sequence[Pair], None, None]
"""Sets up, then yields a pair for each figure, again and again; cleans up when it is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Figures that one set-up measures together."""

    name: str
    figures: Sequence[Figure]
    pairs: Callable[[int], Pairs]
    """Makes the pairs for a size: a number of files, calls, jobs, seconds or bytes."""
    full: int
    """The size of a full run."""
    quick: int
    """The size with --quick."""
    rounds: int = 7
    quick_rounds: int = 3
    warm_up: int = 1
    """Rounds before those that count, which fill caches."""
    sizes: Sequence[int] = ()
    """The sizes of the plot: none, and the case is not in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A figure and its pairs."""

    case: str
    figure: Figure
    size: int
    pairs: Sequence[Pair]

    @property
    def ours(self) -> float:
        """The median of our values."""
        return statistics.median(pair.ours for pair in self.pairs)

    @property
    def theirs(self) -> float:
        """The median of their values."""
        return statistics.median(pair.theirs for pair in self.pairs)

    @property
    def ratio(self) -> float:
        """The median of the ratios of the pairs: other load on the machine affects both sides."""
        return statistics.median(pair.ratio for pair in self.pairs)

    @property
    def judged(self) -> float:
        """The value that the goal is about."""
        return self.ratio if self.figure.goal.of == "ratio" else self.ours

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between which the middle half of the judged values lies; of less than 4 pairs, all."""
        ratios = self.figure.goal.of == "ratio"
        values = sorted(pair.ratio if ratios else pair.ours for pair in self.pairs)
        if len(values) < 4:
            return values[0], values[-1]
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return low, high

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without a limit."""
        goal = self.figure.goal
        return None if goal.limit is None else goal.reached(self.judged)


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def in_loop(pairs: AsyncGenerator[Sequence[Pair], None]) -> Pairs:
    """Yields what an asynchronous generator yields, all of it from one event loop."""

    async def following() -> Sequence[Pair] | None:
        return await anext(pairs, None)

    with asyncio.Runner() as runner:
        try:
            while (found := runner.run(following())) is not None:
                yield found
        finally:
            runner.run(pairs.aclose())


def measure(case: Case, size: int, rounds: int) -> Sequence[Result]:
    """Measures a case; returns a result for each of its figures.

    Whatever the case raises is raised here: it could not be measured.
    """
    with closing(case.pairs(size)) as pairs:
        taken = list(islice(pairs, case.warm_up + rounds))[case.warm_up :]
    assert len(taken) == rounds, f"{len(taken)} rounds of {rounds}"
    return [
        Result(case=case.name, figure=figure, size=size, pairs=[one[number] for one in taken])
        for number, figure in enumerate(case.figures)
    ]
