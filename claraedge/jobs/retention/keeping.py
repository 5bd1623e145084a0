"""What of stopped jobs is kept, and what goes first. Pure: a decision over values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DAY = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long, how many, and how much of one kind; None: no limit of that sort."""

    seconds: float
    count: int | None = None
    size: int | None = None
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What an operator of the device configured."""

    payloads: Keep = Keep(seconds=30 * DAY)
    logs: Keep = Keep(seconds=90 * DAY, size=1 << 30)
    jobs: Keep = Keep(seconds=365 * DAY, count=100_000)
    """The rows; with them goes all that is left of the job."""
    undelivered: float = 3600.0
    """Seconds that results stay which only an API client can fetch, however full the disk is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How many, and how many bytes."""

    count: int = 0
    size: int = 0

    def __sub__(self, gone: Totals) -> Totals:
        return Totals(count=self.count - gone.count, size=self.size - gone.size)

    def __add__(self, more: Totals) -> Totals:
        return Totals(count=self.count + more.count, size=self.size + more.size)

    @property
    def is_none(self) -> bool:
        """Nothing is left to remove."""
        return self.count <= 0 and self.size <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """What a stopped job left, of one kind. Its results are delivered, where they are at all."""

    sequence: int
    """Order of the ends, whatever the clock did."""
    job: str
    payload: str | None
    """None: gone already."""
    stopped: float
    """By the wall clock of then."""
    size: int
    """Bytes that its removal gives back."""
    spent: bool
    """Nobody comes for it: the job failed, or its results were delivered."""


def surplus(kept: Totals, keep: Keep) -> Totals:
    """What is kept beyond the count and the bytes that a rule allows."""
    return Totals(
        count=0 if keep.count is None else max(0, kept.count - keep.count),
        size=0 if keep.size is None else max(0, kept.size - keep.size),
    )


def oldest_first(leavings: Iterable[Leaving], over: Totals) -> list[Leaving]:
    """Those that go so that `over` is none; `leavings` come in the order of their ends."""
    chosen: list[Leaving] = []
    for leaving in leavings:
        if over.is_none:
            break
        chosen.append(leaving)
        over -= Totals(count=1, size=leaving.size)
    return chosen


def may_make_room(leaving: Leaving, now: float | None, rules: Rules) -> bool:
    """Whether it may go because the disk is full; `now` is None while the clock is not trusted."""
    if leaving.size <= 0:  # its bytes have other names still: nothing would be gained
        return False
    if leaving.spent or not rules.undelivered:
        return True
    return now is not None and now - leaving.stopped >= rules.undelivered
