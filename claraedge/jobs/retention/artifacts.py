"""Artifacts of stopped jobs: measured once, removed in small steps.

A crash may interrupt a removal anywhere: the rows of a payload are removed before its bytes (the
next start sweeps the rest), logs before the row that records it, and a job's own rows last.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from claraedge.blocking import CancelFlag, in_cancellable_thread
from claraedge.bugs import known
from claraedge.errors import SetAsideError
from claraedge.fs.removal import remove
from claraedge.fs.walking import size_alone
from claraedge.jobs import records
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.model import JobStatus
from claraedge.jobs.retention.keeping import AllTotals, Artifact, Totals, oldest_first
from claraedge.payloads.payloads import Payloads
from claraedge.store.database import Database, Row, Transaction
from claraedge.suspects import UNRECORDED, Suspects, Work

_log = logging.getLogger(__name__)

#: Number of jobs that are read at once, measured at once, and removed in one transaction.
_PAGE, _MEASURED, _STEP = 500, 200, 20
#: A surplus that includes all artifacts.
ALL = Totals(count=sys.maxsize)

MayGo: TypeAlias = Callable[[Artifact], bool]


class Artifacts:
    """The rows of the table `artifacts`, and the files that they record."""

    def __init__(
        self,
        database: Database,
        payloads: Payloads,
        logs: JobLogs,
        *,
        suspects: Suspects = UNRECORDED,
    ) -> None:
        self._database = database
        self._payloads = payloads
        self._logs = logs
        self._suspects = suspects

    async def measure(self) -> None:
        """Measures the sizes of artifacts that are not measured yet."""
        while rows := await self._database.read(
            lambda tx: tx.rows("unmeasured_artifacts", limit=_MEASURED)
        ):
            await self._record(await in_cancellable_thread(self._sizes, rows))

    async def totals(self) -> AllTotals:
        """Returns the totals of all kinds."""
        row = await self._database.read(lambda tx: tx.row("artifact_totals"))
        assert row is not None, "the schema adds it"
        return AllTotals(
            payloads=Totals(count=row["payloads"], size=row["payload_bytes"]),
            logs=Totals(count=row["logs"], size=row["log_bytes"]),
            jobs=Totals(count=row["jobs"]),
        )

    async def remove_payloads(
        self, over: Totals, before: float | None = None, may_go: MayGo = lambda _: True
    ) -> Totals:
        """Removes the oldest payloads until no surplus `over` is left.

        Payloads that a client reads now are kept. `before`: only of jobs that stopped before that
        Unix time (seconds); None: of any. Returns the removed total.
        """
        queries = ("oldest_payloads", "aged_payloads")
        return await self._remove(queries, self._drop_payloads, over, before, may_go)

    async def remove_logs(
        self, over: Totals, before: float | None = None, may_go: MayGo = lambda _: True
    ) -> Totals:
        """Removes the logs of the oldest jobs, as `remove_payloads` does."""
        queries = ("oldest_logs", "aged_logs")
        return await self._remove(queries, self._drop_logs, over, before, may_go)

    async def remove_jobs(self, over: Totals, before: float | None = None) -> Totals:
        """Removes the oldest jobs with all their artifacts, as `remove_payloads` does."""
        queries = ("oldest_jobs", "aged_jobs")
        return await self._remove(queries, self._drop_jobs, over, before, lambda _: True)

    async def _remove(
        self,
        queries: tuple[str, str],
        drop: Callable[[Sequence[Artifact]], Awaitable[Sequence[Artifact]]],
        over: Totals,
        before: float | None,
        may_go: MayGo,
    ) -> Totals:
        removed = Totals()
        last: Artifact | None = None
        while not (over - removed).is_none:
            page = await self._page(queries, last, before)
            if not page:
                break
            last = page[-1]
            while not (over - removed).is_none:
                read = self._payloads.readers.present()
                free = [i for i in page if i.payload not in read and may_go(i)]
                chosen = oldest_first(free[:_STEP], over - removed)
                if not chosen:
                    break
                page = page[page.index(chosen[-1]) + 1 :]
                gone = await drop(chosen)
                removed += Totals(count=len(gone), size=sum(artifact.size for artifact in gone))
        return removed

    async def _page(
        self, queries: tuple[str, str], last: Artifact | None, before: float | None
    ) -> Sequence[Artifact]:
        """Returns the next artifacts after `last`: in the order of the ends, or by their age.

        `queries`: the names of the queries for both.
        """
        by_end, by_age = queries
        after = 0 if last is None else last.sequence
        since = -math.inf if last is None else last.stopped

        def work(tx: Transaction) -> list[Row]:
            if before is None:
                return tx.rows(by_end, after=after, limit=_PAGE)
            return tx.rows(by_age, since=since, after=after, before=before, limit=_PAGE)

        return [_artifact(row) for row in await self._database.read(work)]

    async def _drop_payloads(self, artifacts: Sequence[Artifact]) -> Sequence[Artifact]:
        gone = await self._payloads.delete_unneeded([i.payload for i in artifacts if i.payload])
        return [artifact for artifact in artifacts if artifact.payload in gone]

    async def _drop_logs(self, artifacts: Sequence[Artifact]) -> Sequence[Artifact]:
        gone = await in_cancellable_thread(self._remove_logs, artifacts)

        def work(tx: Transaction) -> None:
            for artifact in gone:
                tx.run("logs_gone", job=artifact.job)

        await self._database.write(work)
        return gone

    async def _drop_jobs(self, artifacts: Sequence[Artifact]) -> Sequence[Artifact]:
        await self._drop_payloads(artifacts)
        await self._drop_logs(artifacts)
        gone = await self._database.write(
            lambda tx: {i.job for i in artifacts if records.forget_stopped(tx, i.job)}
        )
        return [artifact for artifact in artifacts if artifact.job in gone]

    async def _record(self, sizes: Sequence[tuple[str, int, int]]) -> None:
        def work(tx: Transaction) -> None:
            for job, payload, logs in sizes:
                tx.run("artifacts_measured", job=job, payload_size=payload, log_size=logs)

        await self._database.write(work)

    def _sizes(self, flag: CancelFlag, rows: Sequence[Row]) -> list[tuple[str, int, int]]:
        found = []
        for row in rows:
            flag.check()
            payload = 0
            if row["payload"] is not None:
                payload = _size(self._payloads.tree.folder(row["payload"]), row["job"])
            found.append((row["job"], payload, _size(self._logs.folder(row["job"]), row["job"])))
        return found

    def _remove_logs(self, flag: CancelFlag, artifacts: Sequence[Artifact]) -> Sequence[Artifact]:
        """Removes logs; returns those that were removed."""
        gone = []
        for artifact in artifacts:
            flag.check()
            try:
                with self._suspects.on(Work.REMOVAL, artifact.job):
                    remove(self._logs.folder(artifact.job))
            except SetAsideError:
                continue  # `claraedge status` reports it
            except Exception as error:  # noqa: BLE001 - it fails alone
                why = known(error, "the removal of logs", job=artifact.job)
                _log.warning("logs stay: %s", why, extra={"job": artifact.job})
            else:
                gone.append(artifact)
        return gone


def _size(folder: Path, job: str) -> int:
    """Returns the bytes of a folder that its removal frees; 0 if it cannot be measured."""
    try:
        return size_alone(folder)
    except Exception as error:  # noqa: BLE001 - it fails alone
        _log.warning("%s cannot be measured: %s", folder, known(error, "a measure", job=job))
        return 0


def _artifact(row: Row) -> Artifact:
    return Artifact(
        sequence=row["sequence"],
        job=row["job"],
        payload=row["payload"],
        stopped=row["stopped"],
        size=row["size"],
        spent=row["status"] != JobStatus.HEALTHY or row["delivery"] is not None,
    )
