"""Takes what stopped jobs made to the outbox, and what failed to the folder of failures.

Every step may be repeated: a crash at any of them leaves a row that is not done, and the steps that
were taken are found on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge import files
from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.delivery import records, reports
from claraedge.delivery.plan import Delivered, plan
from claraedge.delivery.publish import process_umask, publish, shown_mode, write_json
from claraedge.delivery.records import DeliveryRecord
from claraedge.delivery.spool import Spool
from claraedge.delivery.trees import move, remove
from claraedge.errors import ClaraedgeError
from claraedge.jobs import records as jobs
from claraedge.jobs.logs import JobLogs
from claraedge.jobs.model import Job, JobStatus
from claraedge.payloads import records as payloads
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.tree import PayloadTree, printable
from claraedge.pipelines.model import decode
from claraedge.store.database import Database, Transaction

_log = logging.getLogger(__name__)

LOG_LINES = 200
_AT_ONCE = 4
_FIRST_RETRY = 2.0
_LAST_RETRY = 300.0
_LOOK = 60.0
_READ = 1024 * 1024


@dataclass(slots=True)
class _Parked:
    reason: str
    wait: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    record: DeliveryRecord
    job: Job
    files: Sequence[PayloadFile]


class Delivery:
    """Delivers what is due, for as long as `run` runs."""

    def __init__(
        self,
        database: Database,
        tree: PayloadTree,
        logs: JobLogs,
        config: Config,
        clock: Clock,
        *,
        failpoint: Callable[[str], None] = lambda _: None,
        first_retry: float = _FIRST_RETRY,
    ) -> None:
        self._database = database
        self._tree = tree
        self._outbox = config.outbox_dir
        self._failed = config.failed_dir
        self._originals = config.originals_dir
        self._spool = Spool(config.state_dir)
        self._clock = clock
        self._logs = logs
        self._failpoint = failpoint
        self._first_retry = first_retry
        self._wake = asyncio.Event()
        self._parked: dict[str, _Parked] = {}
        self._busy: set[str] = set()

    async def prepare(self) -> None:
        """At start: makes the folders. One that cannot be made parks what would go there."""
        for root in (self._outbox, self._failed, self._originals):
            try:
                await in_thread(files.make_folders, root, 0o755)
            except OSError as error:
                _log.warning("%s cannot be made: %s; results wait for it", root, error.strerror)

    def poke(self) -> None:
        """A job has stopped, or space was freed: look now, at what is parked too."""
        for parked in self._parked.values():
            parked.until = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Delivers until it is cancelled; a delivery that has begun a step finishes that step."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                await self._round(group)
                # Not wait_for: that of Python 3.11 loses a cancel that meets the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._wake.wait()

    # --- one round ------------------------------------------------------------------------------

    def _pause(self) -> float:
        now = self._clock.elapsed()
        waits = [
            parked.until - now for job, parked in self._parked.items() if job not in self._busy
        ]
        return max(0.01, min([_LOOK, *waits]))

    async def _round(self, group: asyncio.TaskGroup) -> None:
        due = await self._database.read(records.due)
        present = {record.job for record in due}
        for job in [job for job in self._parked if job not in present]:
            del self._parked[job]
        now = self._clock.elapsed()
        for record in due:
            if len(self._busy) >= _AT_ONCE:
                return  # the end of each wakes the loop
            parked = self._parked.get(record.job)
            if record.job in self._busy or (parked is not None and parked.until > now):
                continue
            self._busy.add(record.job)
            group.create_task(self._attempt(record), name=f"deliver {record.job}")

    async def _attempt(self, record: DeliveryRecord) -> None:
        try:
            path = await self._deliver(record)
        except (OSError, ClaraedgeError) as error:
            await self._park(record, _text(error))
        else:
            self._parked.pop(record.job, None)
            _log.info("delivered to %s", path, extra={"job": record.job})
        finally:
            self._busy.discard(record.job)
            self._wake.set()

    async def _park(self, record: DeliveryRecord, reason: str) -> None:
        before = self._parked.get(record.job)
        wait = self._first_retry if before is None else min(before.wait * 2, _LAST_RETRY)
        self._parked[record.job] = _Parked(reason, wait, self._clock.elapsed() + wait)
        if reason != (before.reason if before else record.reason):
            _log.warning("delivery waits: %s", reason, extra={"job": record.job})
            with contextlib.suppress(ClaraedgeError):  # a full disk: it is tried again all the same
                await self._database.write(lambda tx: records.park(tx, record.job, reason))

    async def _deliver(self, record: DeliveryRecord) -> Path:
        def gather(tx: Transaction) -> _Due:
            job = jobs.get(tx, record.job)
            return _Due(record=record, job=job, files=payloads.get(tx, job.payload).files)

        due = await self._database.read(gather)
        healthy = due.job.status is JobStatus.HEALTHY
        publishing = self._publish_result if healthy else self._publish_failure
        path = await in_cancellable_thread(publishing, due)
        await in_cancellable_thread(self._keep_original, due, path, healthy)
        self._failpoint("deliver: before commit")
        now = self._clock.now()
        failure = None if healthy else "; ".join(reports.reasons(due.job))
        await self._database.write(lambda tx: records.done(tx, record, str(path), now, failure))
        self._failpoint("deliver: committed")
        if record.item is not None:
            await in_thread(self._sweep, record.item)
        return path

    # --- in threads -----------------------------------------------------------------------------

    def _publish_result(self, flag: CancelFlag, due: _Due) -> Path:
        def build(building: Path) -> None:
            delivered = self._copy_outputs(flag, due, building)
            self._failpoint("deliver: copied")
            write_json(
                building / "result.json",
                reports.result(due.job, delivered, _origin(due.record), self._clock.now()),
            )

        return self._publish(self._outbox, "result.json", due, build)

    def _publish_failure(self, flag: CancelFlag, due: _Due) -> Path:
        def build(building: Path) -> None:
            flag.check()
            umask = process_umask()
            for operator in due.job.operators:
                if operator.attempt:
                    logs = building / "logs"
                    logs.mkdir(exist_ok=True)
                    lines = self._logs.tail(due.job.id, operator.name, operator.attempt, LOG_LINES)
                    log = logs / f"{operator.name}.log"
                    log.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
                    log.chmod(shown_mode(0o644, umask))
            write_json(
                building / "reason.json",
                reports.failure(due.job, _origin(due.record), self._clock.now()),
            )

        return self._publish(self._failed, "reason.json", due, build)

    def _publish(self, root: Path, marker: str, due: _Due, build: Callable[[Path], None]) -> Path:
        return publish(
            root,
            due.record.folder,
            due.job.id,
            marker=marker,
            key="job_id",
            build=build,
            failpoint=self._failpoint,
        )

    def _copy_outputs(
        self, flag: CancelFlag, due: _Due, building: Path
    ) -> list[reports.DeliveredFile]:
        assert due.job.snapshot is not None, "a job that ended healthy was started"
        pipeline = decode(due.job.snapshot)
        umask = process_umask()
        delivered = []
        for output in plan(pipeline, due.record.outputs):
            for file in due.files:
                inside = _inside(file, output)
                if inside is None:
                    continue
                relative = Path(output.folder, os.fsdecode(inside))
                target = building / relative
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o777)
                files.copy_file(
                    self._tree.path(due.job.payload, file),
                    target,
                    mode=shown_mode(file.mode, umask),
                    flag=flag,
                )
                delivered.append(
                    reports.DeliveredFile(
                        path=printable(str(relative)),
                        operator=output.operator,
                        output=output.output,
                        size=target.stat().st_size,
                        sha256=_sha256(target, flag),
                    )
                )
        return delivered

    def _keep_original(self, flag: CancelFlag, due: _Due, path: Path, healthy: bool) -> None:
        record = due.record
        if record.item is None or record.item_name is None:
            return
        source = self._spool.original(record.item, record.item_name)
        if healthy:
            if not self._originals.is_dir():
                raise FileNotFoundError(
                    f"{self._originals} is gone; mount it again, or make it:"
                    f" mkdir -p '{self._originals}'"
                )
            folder = self._originals / path.relative_to(self._outbox)
        else:
            folder = path / "original"
        target = folder / os.fsdecode(record.item_name)
        if not os.path.lexists(source) and not os.path.lexists(target):
            _log.warning(
                "the original of item %s is not in the spool any more",
                record.item,
                extra={"job": record.job},
            )
            return
        files.make_folders(folder, 0o755)
        self._failpoint("deliver: before original")
        move(source, target, flag=flag)
        self._failpoint("deliver: original moved")

    def _sweep(self, item: str) -> None:
        try:
            remove(self._spool.folder(item))
        except OSError as error:  # files of others that were copied: nothing is lost, only space
            _log.warning("%s cannot be removed: %s", self._spool.folder(item), error)


def _inside(file: PayloadFile, output: Delivered) -> bytes | None:
    """The raw path of a file inside an output, or None where it is not of that output."""
    prefix = f"{output.source}/"
    if not file.name.startswith(prefix):
        return None
    if output.input:
        return file.name.removeprefix(prefix).encode()
    # The name shows bytes that are no UTF-8 as text; the blob has them as they are.
    depth = file.name.removeprefix(prefix).count("/") + 1
    return b"/".join(file.blob.split(b"/")[-depth:])


def _origin(record: DeliveryRecord) -> reports.Origin | None:
    if record.item is None or record.item_name is None:
        return None
    return reports.Origin(
        item=record.item,
        name=record.item_name.decode("utf-8", "backslashreplace"),
        first_seen=record.first_seen,
    )


def _sha256(path: Path, flag: CancelFlag) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ):
            flag.check()
            digest.update(block)
    return digest.hexdigest()


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        where = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{where}"
    return str(error)
