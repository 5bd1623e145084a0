"""Takes what stopped jobs made to the outbox, and what failed to the folder of failures.

Every step may be repeated: a crash at any of them leaves a row that is not done, and the steps that
were taken are found on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from claraedge import files
from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread
from claraedge.clock import Clock
from claraedge.config import Config
from claraedge.delivery import records, reports
from claraedge.delivery.failpoints import Failpoint, nothing
from claraedge.delivery.plan import Delivered, plan
from claraedge.delivery.publish import publish, write_json
from claraedge.delivery.records import DeliveryRecord
from claraedge.delivery.room import need_room, reason_of
from claraedge.delivery.roots import Root, Roots
from claraedge.delivery.shown import make_shown
from claraedge.delivery.spool import Spool
from claraedge.delivery.trees import move, remove
from claraedge.errors import ClaraedgeError
from claraedge.hashing import digest
from claraedge.jobs import records as jobs
from claraedge.jobs.logs import JobLogs
from claraedge.jobs.model import Job
from claraedge.payloads import records as payloads
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.tree import PayloadTree, printable
from claraedge.pipelines.model import decode
from claraedge.store.database import Database, Transaction

_log = logging.getLogger(__name__)

LOG_LINES = 200
#: Deliveries at once to each folder: those that hang on one keep none for another waiting.
_AT_ONCE = 4
_FIRST_RETRY = 2.0
#: Seconds between tries at most; and between looks whether a folder that was gone is back.
_LAST_RETRY, _LOOK_AGAIN = 60.0, 5.0
_LOOK = 60.0
#: Seconds that each delivery adds to the time between two looks at all of them.
_REST = 1e-4
_LONGEST_NAME = 255
_INPUT = "input/"


class _FullError(OSError):
    """The disk of a folder has no room for what is to be put there."""

    def __init__(self, root: Root, needed: int, error: OSError) -> None:
        super().__init__(error.errno, error.strerror, str(root.path))
        self.needed = needed
        """Bytes."""


@dataclass(slots=True, kw_only=True)
class _Parked:
    reason: str
    wait: float
    until: float
    needed: int | None = None
    """Bytes, where the disk had no room for them."""
    lacked: bool = False
    """They were seen not to be there."""

    def is_due(self, now: float, free: int) -> bool:
        if self.needed is None or free >= self.needed:
            return self.lacked or self.until <= now
        self.lacked = True
        return False


@dataclass(slots=True)
class _Lane:
    """What goes to one folder: it waits for nothing that goes to another."""

    root: Root
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    busy: set[str] = field(default_factory=set)
    parked: dict[str, _Parked] = field(default_factory=dict)
    queue: deque[DeliveryRecord] = field(default_factory=deque)
    """What the last look found due, and no more; when it is empty there is another look."""
    looked: float = 0.0
    rest: float = 0.0
    """Seconds that the last look is worth: it reads all that is due."""
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    record: DeliveryRecord
    job: Job
    files: Sequence[PayloadFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    path: Path
    size: int
    original: Path | None


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
        roots: Roots | None = None,
        failpoint: Failpoint = nothing,
        first_retry: float = _FIRST_RETRY,
        look_again: float = _LOOK_AGAIN,
    ) -> None:
        """`roots`: shared with others that put something there.

        `on_done` of it is called with the job, at the end of each delivery.
        """
        self.on_done: Callable[[str], None] = lambda _: None
        self._database = database
        self._tree = tree
        self._roots = roots or Roots(database, config)
        self._keep_originals = config.outbox.originals_keep_days
        self._spool = Spool(config.state_dir)
        self._clock = clock
        self._logs = logs
        self._failpoint = failpoint
        self._first_retry = first_retry
        self._look_again = look_again
        self._lanes = tuple(_Lane(root) for root in (self._roots.outbox, self._roots.failed))

    async def prepare(self) -> None:
        """At start: makes the folders. One that cannot be made parks what would go there."""
        await self._roots.prepare()

    def warnings(self) -> Sequence[str]:
        """Folders that deliveries wait for, for `claraedge status`."""
        return [lane.trouble for lane in self._lanes if lane.trouble is not None]

    def poke(self) -> None:
        """A job has stopped: look now."""
        for lane in self._lanes:
            lane.wake.set()

    def try_again(self) -> None:
        """What kept others waiting may be gone: look now at what is parked, too."""
        for lane in self._lanes:
            for parked in lane.parked.values():
                parked.until = 0.0
        self.poke()

    async def run(self) -> None:
        """Delivers until it is cancelled; a delivery that has begun a step finishes that step."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(self._serve(lane, group), name=f"deliver to {lane.root.name}")

    # --- one folder -----------------------------------------------------------------------------

    async def _serve(self, lane: _Lane, group: asyncio.TaskGroup) -> None:
        while True:
            lane.wake.clear()
            if not lane.queue:
                if (rest := lane.looked + lane.rest - self._clock.elapsed()) > 0:
                    await asyncio.sleep(rest)
                await self._look(lane)
            while lane.queue and len(lane.busy) < _AT_ONCE:
                record = lane.queue.popleft()
                lane.busy.add(record.job)
                group.create_task(self._attempt(lane, record), name=f"deliver {record.job}")
            # Not wait_for: that of Python 3.11 loses a cancel that meets the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause(lane)):
                    await lane.wake.wait()

    def _pause(self, lane: _Lane) -> float:
        now = self._clock.elapsed()
        waits = [_LOOK]
        for job, parked in lane.parked.items():
            if job not in lane.busy and parked.until > lane.looked:
                waits.append(parked.until - now)
            if parked.needed is not None:
                waits.append(self._look_again)
        if lane.trouble is not None:
            waits.append(self._look_again)
        return max(0.01, min(waits))

    async def _look(self, lane: _Lane) -> None:
        """Finds what is due; where nothing can be put there now, all of it says so."""
        healthy = lane.root is self._roots.outbox
        due = await self._database.read(lambda tx: records.due(tx, healthy=healthy))
        present = {record.job for record in due}
        lane.parked = {job: parked for job, parked in lane.parked.items() if job in present}
        lane.rest = len(due) * _REST
        before, lane.trouble = lane.trouble, None
        if due:
            lane.trouble = await self._roots.look(lane.root)
        now = lane.looked = self._clock.elapsed()
        if lane.trouble is not None:
            await self._tell(lane, due, lane.trouble, before)
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

    async def _tell(
        self, lane: _Lane, due: Sequence[DeliveryRecord], trouble: str, before: str | None
    ) -> None:
        if trouble != before:
            _log.warning("deliveries wait: %s", trouble)
        told = [r for r in due if r.reason != trouble and r.job not in lane.busy]
        if told:
            await self._write(lambda tx: _park_all(tx, told, trouble))

    async def _attempt(self, lane: _Lane, record: DeliveryRecord) -> None:
        try:
            path = await self._deliver(record)
        except (OSError, ClaraedgeError) as error:
            lane.queue.clear()  # perhaps nothing can be put there any more: look first
            await self._park(lane, record, error)
        else:
            lane.parked.pop(record.job, None)
            self.on_done(record.job)
            _log.info("delivered to %s", path, extra={"job": record.job})
        finally:
            lane.busy.discard(record.job)
            lane.wake.set()

    async def _park(self, lane: _Lane, record: DeliveryRecord, error: Exception) -> None:
        before = lane.parked.get(record.job)
        reason = reason_of(error)
        wait = self._first_retry if before is None else min(before.wait * 2, _LAST_RETRY)
        lane.parked[record.job] = _Parked(
            reason=reason,
            wait=wait,
            until=self._clock.elapsed() + wait,
            needed=error.needed if isinstance(error, _FullError) else None,
        )
        if reason != (before.reason if before else record.reason):
            _log.warning("delivery waits: %s", reason, extra={"job": record.job})
            await self._write(lambda tx: records.park(tx, record.job, reason))

    async def _write(self, work: Callable[[Transaction], object]) -> None:
        with contextlib.suppress(ClaraedgeError):  # a full disk: it is tried again all the same
            await self._database.write(work)

    async def _deliver(self, record: DeliveryRecord) -> Path:
        def gather(tx: Transaction) -> _Due:
            job = jobs.get(tx, record.job)
            return _Due(record=record, job=job, files=payloads.get(tx, job.payload).files)

        due = await self._database.read(gather)
        self._failpoint("deliver: begun")
        done = await in_cancellable_thread(self._put, due)
        self._failpoint("deliver: before commit")
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
        self._failpoint("deliver: committed")
        if record.item is not None:
            await in_thread(self._sweep, record.item)
        return done.path

    # --- in threads -----------------------------------------------------------------------------

    def _put(self, flag: CancelFlag, due: _Due) -> _Done:
        """All that goes to folders; a step that an earlier try took is found."""
        publishing = self._publish_result if due.record.healthy else self._publish_failure
        path = publishing(flag, due)
        original = self._keep_original(flag, due, path)
        return _Done(path=path, size=_size(path), original=original)

    def _publish_result(self, flag: CancelFlag, due: _Due) -> Path:
        chosen = _chosen(due)
        needed = sum(file.size for _, file, _ in chosen)

        def build(building: Path) -> None:
            need_room(building, needed, source=self._tree.payloads.stat().st_dev)
            delivered = self._copy_outputs(flag, due, chosen, building)
            self._failpoint("deliver: copied")
            inputs = [self._input(file, due, flag) for file in _inputs(due)]
            document = reports.result(
                due.job, delivered, inputs, _origin(due.record), self._clock.now()
            )
            write_json(building / "result.json", document)

        root = self._roots.outbox
        try:
            return self._publish(root, "result.json", due, build)
        except OSError as error:
            if not files.is_full(error):
                raise
            raise _FullError(root, needed, error) from error

    def _publish_failure(self, flag: CancelFlag, due: _Due) -> Path:
        def build(building: Path) -> None:
            flag.check()
            for position, operator in enumerate(due.job.operators):
                if operator.attempt:
                    logs = building / "logs"
                    logs.mkdir(exist_ok=True)
                    lines = self._logs.tail(due.job.id, operator.name, operator.attempt, LOG_LINES)
                    log = logs / _log_name(operator.name, position)
                    log.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
            if due.record.item is not None:
                (building / "original").mkdir()  # here it still gets the group of the others
            self._failpoint("deliver: logs")
            inputs = [self._input(file) for file in _inputs(due)]
            document = reports.failure(due.job, inputs, _origin(due.record), self._clock.now())
            write_json(building / "reason.json", document)

        return self._publish(self._roots.failed, "reason.json", due, build)

    def _publish(self, root: Root, marker: str, due: _Due, build: Callable[[Path], None]) -> Path:
        root.refuse()
        return publish(
            root.path,
            due.record.folder,
            due.job.id,
            marker=marker,
            key="job_id",
            build=build,
            failpoint=self._failpoint,
        )

    def _copy_outputs(
        self,
        flag: CancelFlag,
        due: _Due,
        chosen: Sequence[tuple[Delivered, PayloadFile, bytes]],
        building: Path,
    ) -> list[reports.DeliveredFile]:
        delivered = []
        for output, file, inside in chosen:
            relative = Path(output.folder, os.fsdecode(inside))
            target = building / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            size = files.copy_file(
                self._tree.path(due.job.payload, file),
                target,
                mode=0o600 | file.mode & 0o111,
                flag=flag,
            )
            delivered.append(
                reports.DeliveredFile(
                    path=printable(str(relative)),
                    operator=output.operator,
                    output=output.output,
                    size=size,
                    sha256=digest(target, flag).sha256,
                )
            )
        return delivered

    def _input(
        self, file: PayloadFile, due: _Due | None = None, flag: CancelFlag | None = None
    ) -> reports.InputFile:
        """With `due`, its digest is taken where that was not done when it came."""
        sha256 = file.sha256
        if sha256 is None and due is not None:
            sha256 = digest(self._tree.path(due.job.payload, file), flag).sha256
        path = file.name.removeprefix(_INPUT)
        return reports.InputFile(path=path, size=file.size, sha256=sha256)

    def _keep_original(self, flag: CancelFlag, due: _Due, path: Path) -> Path | None:
        """Where the original is now, if not with the failure or nowhere."""
        record = due.record
        if record.item is None or record.item_name is None:
            return None
        keep = self._keep_originals if record.keep_original is None else record.keep_original
        if record.healthy and keep == 0:
            return None  # it goes with its place in the spool, once all is recorded
        source = self._spool.original(record.item, record.item_name)
        if record.healthy:
            root = self._roots.originals
            root.refuse()
            folder = root.path / path.relative_to(self._roots.outbox.path)
        else:
            root = self._roots.failed
            folder = path / "original"
        target = folder / os.fsdecode(record.item_name)
        if not os.path.lexists(source) and not os.path.lexists(target):
            _log.warning(
                "the original of item %s is not in the spool any more",
                record.item,
                extra={"job": record.job},
            )
            return None
        make_shown(folder, root.mode)
        self._failpoint("deliver: before original")
        move(source, target, flag=flag, failpoint=self._failpoint)
        self._failpoint("deliver: original moved")
        return folder if record.healthy else None

    def _sweep(self, item: str) -> None:
        try:
            remove(self._spool.folder(item))
        except OSError as error:  # files of others that were copied: nothing is lost, only space
            _log.warning("%s cannot be removed: %s", self._spool.folder(item), error)


def _chosen(due: _Due) -> Sequence[tuple[Delivered, PayloadFile, bytes]]:
    """Each file that is delivered, with the output it is of and its path in that."""
    assert due.job.snapshot is not None, "a job that ended healthy was started"
    return [
        (output, file, inside)
        for output in plan(decode(due.job.snapshot), due.record.outputs)
        for file in due.files
        if (inside := _inside(file, output)) is not None
    ]


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


def _park_all(tx: Transaction, due: Sequence[DeliveryRecord], reason: str) -> None:
    for record in due:
        records.park(tx, record.job, reason)


def _inputs(due: _Due) -> Sequence[PayloadFile]:
    return [file for file in due.files if file.name.startswith(_INPUT)]


def _origin(record: DeliveryRecord) -> reports.Origin | None:
    if record.item is None or record.item_name is None:
        return None
    return reports.Origin(
        item=record.item,
        name=record.item_name,
        folder=record.item_folder,
        first_seen=record.first_seen,
    )


def _log_name(operator: str, position: int) -> str:
    """A name may have as many bytes as a file's, which leaves none for its end."""
    name = f"{operator}.log"
    return name if len(name) <= _LONGEST_NAME else f"{operator[:200]}-{position}.log"


def _size(folder: Path) -> int:
    """Bytes of all files in it."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(above, name).lstat().st_size
    return total
