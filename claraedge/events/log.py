"""The log of state changes: read after a number, waited on, snapshotted, pruned.

A number is committed together with its change. A position in the stream is (epoch, number): a
restored state gets a new epoch, so that a number from the other history is recognised.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from claraedge.clock import Clock
from claraedge.decoding import decode_json
from claraedge.errors import JobNotFoundError, StorageFullError
from claraedge.events.model import Event, Follow
from claraedge.ids import NewId
from claraedge.store.database import Database, Row, Transaction

_log = logging.getLogger(__name__)

KEEP_SECONDS = 7 * 86400.0
KEEP_COUNT = 100_000
_PRUNE_SECONDS = 3600.0
_BATCH = 256


class EventLog:
    """The log that watchers read. The database is not read while nothing changes."""

    def __init__(self, database: Database, clock: Clock, new_id: NewId) -> None:
        self.epoch = ""
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._newest = 0
        self._changed = asyncio.Event()

    async def prepare(self) -> None:
        """Reads the epoch, or creates one, and subscribes to the commits of the database."""

        def work(tx: Transaction) -> str:
            row = tx.row("fact", key="epoch")
            if row is None:
                tx.run("put_fact", key="epoch", value=self._new_id())
                row = tx.row("fact", key="epoch")
            assert row is not None
            return str(row["value"])

        self.epoch = await self._database.write(work)
        self._newest = await self._database.read(_newest)
        self._database.after_commit("newest_event", self._committed)

    async def run(self) -> None:
        """Prunes old events, now and every hour, until cancelled."""

        def work(tx: Transaction) -> int:
            return tx.run("prune_events", before=self._clock.now() - KEEP_SECONDS, keep=KEEP_COUNT)

        while True:
            try:
                removed = await self._database.write(work)
            except StorageFullError as error:
                _log.warning("events cannot be pruned now: %s", error)
                removed = 0
            if removed:
                _log.info("events pruned", extra={"count": removed})
            await asyncio.sleep(_PRUNE_SECONDS)

    @property
    def newest(self) -> int:
        """The number of the last event; 0: none yet."""
        return self._newest

    async def changed(self, number: int) -> None:
        """Returns once there is an event after `number`."""
        while self._newest <= number:
            await self._changed.wait()

    async def after(self, number: int) -> Sequence[Event]:
        """Returns the next events after a number, at most `_BATCH`."""
        rows = await self._database.read(
            lambda tx: tx.rows("events_after", number=number, limit=_BATCH)
        )
        return [_event(row, row["number"], row["time"]) for row in rows]

    async def has(self, epoch: str, number: int) -> bool:
        """Returns whether all events after this position are still stored."""
        if epoch != self.epoch:
            return False

        def work(tx: Transaction) -> bool:
            newest, row = _newest(tx), tx.row("oldest_event")
            oldest = newest + 1 if row is None or row["number"] is None else int(row["number"])
            return oldest - 1 <= number <= newest

        return await self._database.read(work)

    async def snapshot(self, follow: Follow) -> tuple[int, Sequence[Event]]:
        """Returns the number of the last change, and the present state of what is followed.

        `all_jobs` includes only jobs that have not stopped. Raises JobNotFoundError for an unknown
        job.
        """
        now = self._clock.now()

        def work(tx: Transaction) -> tuple[int, list[Event]]:
            rows: list[Row] = []
            if follow.pipelines:
                rows += tx.rows("snapshot_pipelines")
            if follow.inbox:
                rows += tx.rows("snapshot_items")
            if follow.deployments:
                rows += tx.rows("snapshot_deployments")
            heads = tx.rows("snapshot_open_jobs") if follow.all_jobs else []
            seen = {row["job"] for row in heads}
            for job in sorted(follow.jobs - seen):
                head = tx.row("snapshot_job", job=job)
                if head is None:
                    raise JobNotFoundError(
                        f"there is no job {job} to follow; `claraedge list jobs` shows those"
                        " there are"
                    )
                heads.append(head)
            for head in heads:
                rows.append(head)
                rows += tx.rows("snapshot_operators", job=head["job"])
                rows += tx.rows("snapshot_messages", job=head["job"])
            number = _newest(tx)
            return number, [_event(row, number, now, snapshot=True) for row in rows]

        return await self._database.read(work)

    def _committed(self, number: int) -> None:
        self._newest = number
        self._changed.set()
        self._changed = asyncio.Event()


def _newest(tx: Transaction) -> int:
    row = tx.row("newest_event")
    return 0 if row is None else int(row["number"])


def _event(row: Row, number: int, time: float, *, snapshot: bool = False) -> Event:
    return Event(
        number=number,
        time=time,
        kind=row["kind"],
        job=row["job"],
        body=decode_json(row["body"], dict[str, object]),
        snapshot=snapshot,
    )
