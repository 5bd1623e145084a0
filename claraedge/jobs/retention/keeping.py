"""Decides which artifacts of stopped jobs are kept, and which are removed first. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Seconds.
DAY = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """The limits for one kind: age in seconds, number, and size in bytes; None: no such limit."""

    seconds: float
    """Longest age in seconds."""
    count: int | None = None
    size: int | None = None
    """Limit of the total size in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The configured retention rules."""

    payloads: Keep = Keep(seconds=30 * DAY)
    logs: Keep = Keep(seconds=90 * DAY, size=1 << 30)
    jobs: Keep = Keep(seconds=365 * DAY, count=100_000)
    """For the rows of jobs; all artifacts of the job are removed with them."""
    undelivered: float = 3600.0
    """Seconds for which results that only an API client can fetch are kept on a full disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """A number of artifacts, and their size in bytes."""

    count: int = 0
    size: int = 0

    def __sub__(self, gone: Totals) -> Totals:
        return Totals(count=self.count - gone.count, size=self.size - gone.size)

    def __add__(self, more: Totals) -> Totals:
        return Totals(count=self.count + more.count, size=self.size + more.size)

    @property
    def is_none(self) -> bool:
        """Whether nothing is left to remove."""
        return self.count <= 0 and self.size <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AllTotals:
    """The totals of all artifacts, by kind."""

    payloads: Totals
    logs: Totals
    jobs: Totals
    """Without a size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An artifact of a stopped job, of one kind, that no delivery needs any more."""

    sequence: int
    """Order in which jobs ended, independent of the clock."""
    job: str
    payload: str | None
    """None: already removed."""
    stopped: float
    """Unix seconds, by the wall clock at that time."""
    size: int
    """Bytes that its removal frees."""
    spent: bool
    """Whether no client will fetch it: the job failed, or its results were delivered."""


def surplus(kept: Totals, keep: Keep) -> Totals:
    """Returns what exceeds the number and the bytes that a rule allows."""
    return Totals(
        count=0 if keep.count is None else max(0, kept.count - keep.count),
        size=0 if keep.size is None else max(0, kept.size - keep.size),
    )


def oldest_first(artifacts: Iterable[Artifact], over: Totals) -> list[Artifact]:
    """Returns the artifacts to remove so that `over` is none; `artifacts`: oldest first."""
    chosen: list[Artifact] = []
    for artifact in artifacts:
        if over.is_none:
            break
        chosen.append(artifact)
        over -= Totals(count=1, size=artifact.size)
    return chosen


def may_make_room(artifact: Artifact, now: float | None, rules: Rules) -> bool:
    """Returns whether a full disk may remove it; `now` None: the clock is not trusted."""
    if artifact.size <= 0:  # hard links keep its bytes: nothing would be freed
        return False
    if artifact.spent or not rules.undelivered:
        return True
    return now is not None and now - artifact.stopped >= rules.undelivered
