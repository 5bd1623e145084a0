"""An event, and what a watcher follows, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A state change or, in a snapshot, a present state."""

    number: int
    """Number of the change; in a snapshot, the last change that it contains."""
    time: float
    """Unix seconds."""
    kind: str
    """One of: job, operator, message, delivery, pipeline, item, deployment."""
    job: str | None
    body: Mapping[str, object]
    snapshot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """What a watcher follows."""

    jobs: frozenset[str] = frozenset()
    all_jobs: bool = False
    pipelines: bool = False
    inbox: bool = False
    deployments: bool = False

    def wants(self, event: Event) -> bool:
        """Returns whether this watcher follows an event."""
        if event.kind == "pipeline":
            return self.pipelines
        if event.kind == "item":
            return self.inbox
        if event.kind == "deployment":
            return self.deployments
        return self.all_jobs or event.job in self.jobs
