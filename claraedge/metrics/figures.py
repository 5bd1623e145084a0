"""Reads the figures of one moment from the parts of the daemon."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from claraedge.appliance.disks import Figures
from claraedge.bugs import known
from claraedge.deployments.model import DeploymentStatus
from claraedge.gpu.sampler import Sampler
from claraedge.gpu.telemetry import GpuReading
from claraedge.inbox.model import ItemState
from claraedge.metrics.observations import Distribution, Labels, Observations
from claraedge.store.database import Database, Row

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: Seconds to wait for a source: a driver or a disk that hangs must not hide the other figures.
_PATIENCE = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is asked."""

    version: str
    instance: str
    observations: Observations
    database: Database
    jobs: Callable[[], Coroutine[Any, Any, Mapping[str, int]]]
    """Returns the number of jobs by state."""
    items: Callable[[], Coroutine[Any, Any, Mapping[ItemState, int]]]
    """Returns the number of items by state."""
    disks: Callable[[], Sequence[Figures]]
    gpus: Sampler
    deployments: Callable[[], Mapping[DeploymentStatus, int]]
    """Returns the number of deployments by status."""
    deployment_restarts: Callable[[], int]
    """Returns how often executables of deployments were started again."""
    restarts: Callable[[], int]
    """Returns how often containers of services were started again."""
    is_paused: Callable[[], bool]
    """Returns whether an outage keeps operators from being started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All figures at one moment; a source that did not answer has none."""

    version: str
    instance: str
    answered: Mapping[str, bool]
    """Source -> whether it answered."""
    calls: Mapping[Labels, int]
    call_seconds: Mapping[Labels, Distribution]
    queued: int
    stopped: Mapping[Labels, int]
    waits: Mapping[Labels, Distribution]
    attempts: Mapping[Labels, int]
    attempt_seconds: Mapping[Labels, Distribution]
    restarts: int
    deployment_restarts: int
    is_paused: bool
    disks: Sequence[Figures]
    deployments: Mapping[str, int] = field(default_factory=dict)
    jobs: Mapping[str, int] = field(default_factory=dict)
    items: Mapping[str, int] = field(default_factory=dict)
    deliveries: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """result, failure or original -> (folders, bytes)."""
    gpus: Sequence[GpuReading] = ()


class FigureReader:
    """Reads all figures; a source that does not answer is left out, and delays no other."""

    def __init__(self, sources: Sources, patience: float = _PATIENCE) -> None:
        """`patience`: seconds to wait for a source."""
        self._sources = sources
        self._patience = patience
        self._asked: dict[str, asyncio.Task[Any]] = {}
        """Questions that are not answered yet."""
        self._failing: set[str] = set()

    async def read(self) -> Snapshot:
        """Asks all sources at the same time."""
        sources = self._sources
        jobs, items, deliveries, gpus = await asyncio.gather(
            self._answer("jobs", sources.jobs),
            self._answer("inbox", sources.items),
            self._answer("deliveries", self._deliveries),
            self._answer("gpus", sources.gpus.sample),
        )
        answers = {"jobs": jobs, "inbox": items, "deliveries": deliveries, "gpus": gpus}
        due, kept = deliveries or ((), ())
        seen = sources.observations
        return Snapshot(
            version=sources.version,
            instance=sources.instance,
            answered={name: answer is not None for name, answer in answers.items()},
            calls=dict(seen.calls),
            call_seconds=seen.call_seconds.values(),
            queued=seen.queued,
            stopped=dict(seen.stopped),
            waits=seen.waits.values(),
            attempts=dict(seen.attempts),
            attempt_seconds=seen.attempt_seconds.values(),
            restarts=sources.restarts(),
            deployment_restarts=sources.deployment_restarts(),
            is_paused=sources.is_paused(),
            disks=sources.disks(),
            deployments={status.lower(): n for status, n in sources.deployments().items()},
            jobs=jobs or {},
            items={state.value: count for state, count in (items or {}).items()},
            deliveries={row["state"]: row["count"] for row in due},
            kept={row["kind"]: (row["count"], row["size"]) for row in kept},
            gpus=[gpu for gpu, _ in gpus.gpus] if gpus is not None else (),
        )

    async def _answer(self, name: str, question: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Returns the answer of a source; None if it failed, or has not answered in time.

        A question that has no answer yet is not asked again: it may occupy a thread.
        """
        if name in self._asked:
            return None
        task = asyncio.create_task(question(), name=f"metrics: {name}")
        self._asked[name] = task
        task.add_done_callback(lambda _: self._asked.pop(name))
        done, _ = await asyncio.wait([task], timeout=self._patience)
        if not done:
            task.add_done_callback(_ignored)
            return None
        try:
            answer = task.result()
        except Exception as error:  # noqa: BLE001 - it fails alone
            if name not in self._failing:  # requests come every few seconds
                self._failing.add(name)
                _log.warning("no figures of %s: %s", name, known(error, f"the figures of {name}"))
            return None
        self._failing.discard(name)
        return answer

    async def _deliveries(self) -> tuple[Sequence[Row], Sequence[Row]]:
        return await self._sources.database.read(
            lambda tx: (tx.rows("delivery_counts"), tx.rows("kept_totals"))
        )


def _ignored(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
