"""Delivers the results of stopped jobs to the outbox, and failures to the folder of failures.

Every step may be repeated: after a crash at any of them, the row is not done, and the completed
steps are found on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from claraedge import failpoints
from claraedge.blocking import in_folder_thread, in_thread
from claraedge.bugs import known
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.delivery import records, reports
from claraedge.delivery.lanes import Lane, Parked
from claraedge.delivery.parcels import Due, FullError, Parcels
from claraedge.delivery.records import DeliveryRecord
from claraedge.delivery.roots import Roots
from claraedge.errors import ClaraedgeError, DamagedFileError
from claraedge.fs.room import reason_of
from claraedge.jobs import records as jobs
from claraedge.jobs.logs.logs import JobLogs
from claraedge.payloads import records as payloads
from claraedge.payloads.tree import PayloadTree
from claraedge.store.database import Database, Transaction
from claraedge.suspects import UNRECORDED, Suspects, Work
from claraedge.waiting.backoff import Backoff
from claraedge.waiting.until import wait_set

_log = logging.getLogger(__name__)

#: Concurrent deliveries per folder: deliveries that hang on one folder do not block the other.
_AT_ONCE = 4
_FIRST_RETRY = 2.0
#: Longest seconds between attempts; and seconds between checks for the return of a missing folder.
_LAST_RETRY, _CHECK_AGAIN = 60.0, 5.0
#: Longest time (s) between two scans for due deliveries.
_SCAN = 60.0
#: Seconds that each due delivery adds to the pause between two scans of all of them.
_REST = 1e-4


class Delivery:
    """Delivers what is due while `run` runs."""

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        logs: JobLogs,
        config: Config,
        clock: Clock,
        *,
        on_done: Callable[[str], None] = lambda _job: None,
        roots: Roots | None = None,
        first_retry: float = _FIRST_RETRY,
        check_again: float = _CHECK_AGAIN,
        suspects: Suspects = UNRECORDED,
    ) -> None:
        """`on_done` is called with the job at the end of each delivery. `roots`: shared with other
        parts that write there. `first_retry`, `check_again`: seconds.
        """
        self._on_done = on_done
        self._database = database
        self._roots = roots or Roots(database, config)
        self._clock = clock
        self._suspects = suspects
        self._parcels = Parcels(tree, logs, config, self._roots, clock)
        self._first_retry = first_retry
        self._check_again = check_again
        self._lanes = tuple(Lane(root) for root in (self._roots.outbox, self._roots.failed))

    async def prepare(self) -> None:
        """Creates the folders at start; parks deliveries to a folder that cannot be created."""
        await self._roots.prepare()

    def warnings(self) -> Sequence[str]:
        """Returns the problems of folders that deliveries wait for, for `claraedge status`."""
        return [lane.trouble for lane in self._lanes if lane.trouble is not None]

    def poke(self) -> None:
        """Scans for due deliveries now, because a job has stopped."""
        for lane in self._lanes:
            lane.wake.set()

    def try_again(self) -> None:
        """Retries parked deliveries now, because what blocked them may be resolved."""
        for lane in self._lanes:
            for parked in lane.parked.values():
                parked.until = 0.0
        self.poke()

    async def run(self) -> None:
        """Delivers until cancelled; a delivery completes the step that it has begun."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(self._serve(lane, group), name=f"deliver to {lane.root.name}")

    # --- one folder -----------------------------------------------------------------------------

    async def _serve(self, lane: Lane, group: asyncio.TaskGroup) -> None:
        while True:
            lane.wake.clear()
            if not lane.queue:
                if (rest := lane.scanned + lane.rest - self._clock.elapsed()) > 0:
                    await asyncio.sleep(rest)
                await self._scan(lane)
            while lane.queue and len(lane.busy) < _AT_ONCE:
                record = lane.queue.popleft()
                lane.busy.add(record.job)
                group.create_task(self._attempt(lane, record), name=f"deliver {record.job}")
            await wait_set(lane.wake, self._pause(lane))

    def _pause(self, lane: Lane) -> float:
        now = self._clock.elapsed()
        waits = [_SCAN]
        for job, parked in lane.parked.items():
            if job not in lane.busy and parked.until > lane.scanned:
                waits.append(parked.until - now)
            if parked.needed is not None:
                waits.append(self._check_again)
        if lane.trouble is not None:
            waits.append(self._check_again)
        return max(0.01, min(waits))

    async def _scan(self, lane: Lane) -> None:
        """Queues the due deliveries; if the folder cannot be written now, parks all of them."""
        healthy = lane.root is self._roots.outbox
        due = await self._database.read(lambda tx: records.due(tx, healthy=healthy))
        present = {record.job for record in due}
        lane.parked = {job: parked for job, parked in lane.parked.items() if job in present}
        lane.rest = len(due) * _REST
        before, lane.trouble = lane.trouble, None
        if due:
            lane.trouble = await self._roots.check(lane.root)
        now = lane.scanned = self._clock.elapsed()
        if lane.trouble is not None:
            await self._park_due(lane, due, lane.trouble, before)
            return
        if before is not None:
            lane.parked.clear()
        free = lane.root.free
        for record in due:
            parked = lane.parked.get(record.job)
            if record.job in lane.busy or (parked and not parked.is_due(now, free)):
                continue
            if parked and parked.needed is not None:
                free -= parked.needed
            lane.queue.append(record)

    async def _park_due(
        self, lane: Lane, due: Sequence[DeliveryRecord], trouble: str, before: str | None
    ) -> None:
        if trouble != before:
            _log.warning("deliveries wait: %s", trouble)
        changed = [r for r in due if r.reason != trouble and r.job not in lane.busy]
        if changed:
            await self._write(lambda tx: _park_all(tx, changed, trouble))

    async def _attempt(self, lane: Lane, record: DeliveryRecord) -> None:
        try:
            async with self._suspects.during(Work.DELIVERY, record.job):
                path = await self._deliver(record)
        except Exception as error:  # noqa: BLE001 - it fails alone
            lane.queue.clear()  # the folder may be unusable: check it first
            await self._park(lane, record, known(error, "a delivery", job=record.job))
        else:
            lane.parked.pop(record.job, None)
            self._on_done(record.job)
            _log.info("delivered to %s", path, extra={"job": record.job})
        finally:
            lane.busy.discard(record.job)
            lane.wake.set()

    async def _park(self, lane: Lane, record: DeliveryRecord, error: Exception) -> None:
        before = lane.parked.get(record.job)
        reason = reason_of(error)
        backoff = Backoff(self._first_retry, _LAST_RETRY) if before is None else before.backoff
        lane.parked[record.job] = Parked(
            reason=reason,
            backoff=backoff,
            until=self._clock.elapsed() + backoff.next(),
            needed=error.needed if isinstance(error, FullError) else None,
        )
        if reason != (before.reason if before else record.reason):
            _log.warning("delivery waits: %s", reason, extra={"job": record.job})
            await self._write(lambda tx: records.park(tx, record.job, reason))

    async def _write(self, work: Callable[[Transaction], object]) -> None:
        with contextlib.suppress(ClaraedgeError):  # a full disk: the delivery is retried even so
            await self._database.write(work)

    async def _deliver(self, record: DeliveryRecord) -> Path:
        def gather(tx: Transaction) -> Due:
            job = jobs.get(tx, record.job)
            return Due(record=record, job=job, files=payloads.get(tx, job.payload).files)

        due = await self._database.read(gather)
        failpoints.reach("deliver: begun")
        try:
            done = await in_folder_thread(self._parcels.put, due)
        except DamagedFileError as error:  # lost files do not return: deliver it as a failure
            due = await self._undeliverable(due, f"its results cannot be delivered: {error}")
            record = due.record
            done = await in_folder_thread(self._parcels.put, due)
        failpoints.reach("deliver: before commit")
        now = self._clock.now()
        failure = None if record.healthy else "; ".join(reports.reasons(due.job))
        await self._database.write(
            lambda tx: records.done(
                tx,
                record,
                str(done.path),
                now,
                failure,
                size=done.size,
                original=None if done.original is None else str(done.original),
            )
        )
        failpoints.reach("deliver: committed")
        if record.item is not None:
            await in_thread(self._parcels.sweep, record.item)
        return done.path

    async def _undeliverable(self, due: Due, text: str) -> Due:
        """Returns the delivery as a failure; adds the reason to the job's messages, once."""
        job = due.job
        if text not in job.messages:
            await self._database.write(lambda tx: jobs.say(tx, job.id, self._clock.now(), text))
            job = replace(job, messages=(*job.messages, text))
        return Due(record=replace(due.record, healthy=False), job=job, files=due.files)


def _park_all(tx: Transaction, due: Sequence[DeliveryRecord], reason: str) -> None:
    for record in due:
        records.park(tx, record.job, reason)
