"""Retention: removes jobs that were never started, and artifacts that exceed the rules.

Artifacts are what stopped jobs and interrupted deletions left behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from claraedge.clock import Clock
from claraedge.jobs import records
from claraedge.jobs.model import Unstarted
from claraedge.jobs.retention.ageing import Trust, expired
from claraedge.jobs.retention.artifacts import ALL, Artifacts
from claraedge.jobs.retention.keeping import Rules, Totals, may_make_room, surplus
from claraedge.jobs.retention.trust import ClockTrust
from claraedge.payloads.payloads import Payloads
from claraedge.store.database import Database, Transaction
from claraedge.waiting.periodic import every

_log = logging.getLogger(__name__)

_LEAST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
#: Seconds between removals of unreferenced rows, and the most rows per removal.
_TIDY, _TIDIED = 3600.0, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What one run of the retention removed."""

    payloads: int = 0
    logs: int = 0
    """Number of jobs whose logs were removed."""
    jobs: int = 0
    size: int = 0
    """Size of payloads and logs in bytes."""

    def __add__(self, more: Removed) -> Removed:
        return Removed(
            payloads=self.payloads + more.payloads,
            logs=self.logs + more.logs,
            jobs=self.jobs + more.jobs,
            size=self.size + more.size,
        )


class Retention:
    """Removes periodically while `run` runs, and at once if `reclaim` requests space."""

    def __init__(
        self,
        database: Database,
        payloads: Payloads,
        artifacts: Artifacts,
        clock: Clock,
        *,
        unstarted_after: float,
        rules: Rules,
        trust: ClockTrust | None = None,
        expire: Callable[[float | None], Awaitable[None]] | None = None,
    ) -> None:
        """`unstarted_after`: seconds that a job may wait; `trust`: shared with `Expiry`; `expire`:
        removes what else clients began and left, as `ResumableUploads.expire` does.
        """
        self._database = database
        self._payloads = payloads
        self._artifacts = artifacts
        self._clock = clock
        self._limit = unstarted_after
        self._rules = rules
        self._expire = expire
        self._trust = trust or ClockTrust(database, clock)
        self._last: Trust | None = None
        self._seen: dict[str, float] = {}
        self._turn = asyncio.Lock()
        self._next_tidy = 0.0
        self.removed = Removed()
        """The sum of all runs since the daemon's start."""
        self.last: float | None = None
        """Unix seconds of the last removal; None: none yet."""

    def warnings(self) -> Sequence[str]:
        """Returns the reasons why old artifacts are not removed, for `claraedge status`."""
        return self._trust.warnings()

    async def run(self) -> None:
        """Applies the rules until cancelled; retries after a full disk or a Podman outage."""
        pause = min(_LONGEST_PAUSE, max(_LEAST_PAUSE, self._limit / 20))
        await every(
            pause,
            self.remove_due,
            "the removal of what is old",
            lambda why: _log.warning("what is old cannot be removed now: %s", why),
        )

    async def remove_due(self) -> None:
        """Applies the rules once: removes artifacts that are too old, or over a limit."""
        async with self._turn:
            await self._by_rule()

    async def reclaim(self, lacking: int) -> int:
        """Applies the rules, then removes the oldest artifacts until `lacking` bytes are freed.

        Results that only an API client can fetch are kept for a while even then, as is everything
        that `remove_due` would never remove. Returns the freed bytes.
        """
        async with self._turn:
            removed = await self._by_rule()
            lacking -= removed.size
            if lacking > 0:
                removed += await self._by_need(lacking)
            return removed.size

    async def _by_rule(self) -> Removed:
        waiting = await self._database.read(records.unstarted)
        self._last = trust = await self._trust.check()
        now = trust.last
        self._seen = {job.id: self._seen.get(job.id, now.boot) for job in waiting}
        old = expired(waiting, self._seen, trust, self._limit)
        if old:
            await self._remove(old)
        wall = now.wall if trust.steady else None
        await self._payloads.resumable.expire(wall)
        if self._expire is not None:
            await self._expire(wall)
        await self._payloads.empty()
        await self._artifacts.measure()
        removed = await self._by_age(now.wall) if trust.steady else Removed()
        removed += await self._by_amount()
        return self._report(removed, "kept for long enough, or too much")

    async def _by_age(self, now: float) -> Removed:
        rules, artifacts = self._rules, self._artifacts
        jobs = await artifacts.remove_jobs(ALL, now - rules.jobs.seconds)
        payloads = await artifacts.remove_payloads(ALL, now - rules.payloads.seconds)
        logs = await artifacts.remove_logs(ALL, now - rules.logs.seconds)
        if self._clock.elapsed() >= self._next_tidy:
            self._next_tidy = self._clock.elapsed() + _TIDY
            await self._database.write(lambda tx: _tidy(tx, now - rules.jobs.seconds))
        return _sum(payloads, logs, jobs)

    async def _by_amount(self) -> Removed:
        rules, artifacts = self._rules, self._artifacts
        jobs = payloads = logs = Totals()
        over = surplus((await artifacts.totals()).jobs, rules.jobs)
        if not over.is_none:
            jobs = await artifacts.remove_jobs(over)
        over = surplus((await artifacts.totals()).payloads, rules.payloads)
        if not over.is_none:
            payloads = await artifacts.remove_payloads(over)
        over = surplus((await artifacts.totals()).logs, rules.logs)
        if not over.is_none:
            logs = await artifacts.remove_logs(over)
        return _sum(payloads, logs, jobs)

    async def _by_need(self, lacking: int) -> Removed:
        assert self._last is not None, "the clocks were checked"
        now = None if self._last.why else self._clock.now()

        payloads = await self._artifacts.remove_payloads(
            Totals(size=lacking), may_go=lambda one: may_make_room(one, now, self._rules)
        )
        logs = Totals()
        if payloads.size < lacking:
            logs = await self._artifacts.remove_logs(
                Totals(size=lacking - payloads.size),
                may_go=lambda one: may_make_room(one, now, self._rules),
            )
        return self._report(_sum(payloads, logs, Totals()), "the disk is low")

    def _report(self, removed: Removed, why: str) -> Removed:
        """Logs a run that removed something, and adds it to the sum."""
        if removed != Removed():
            self.removed += removed
            self.last = self._clock.now()
            _log.info(
                "removed what stopped jobs left: %s",
                why,
                extra={
                    "payloads": removed.payloads,
                    "logs": removed.logs,
                    "jobs": removed.jobs,
                    "bytes": removed.size,
                },
            )
        return removed

    async def _remove(self, jobs: Sequence[Unstarted]) -> None:
        def work(tx: Transaction) -> list[Unstarted]:
            return [job for job in jobs if records.forget_unstarted(tx, job, self._clock.now())]

        removed = await self._database.write(work)
        for job in removed:
            _log.info("job removed: it was never started", extra={"job": job.id})
        await self._payloads.discard([job.payload for job in removed])


def _sum(payloads: Totals, logs: Totals, jobs: Totals) -> Removed:
    return Removed(
        payloads=payloads.count,
        logs=logs.count,
        jobs=jobs.count,
        size=payloads.size + logs.size + jobs.size,
    )


def _tidy(tx: Transaction, before: float) -> None:
    """Removes rows that nothing refers to."""
    tx.run("forget_failed_items", before=before, limit=_TIDIED)
    tx.run("forget_deleted_payloads", before=before, limit=_TIDIED)
    tx.run("forget_definitions")
