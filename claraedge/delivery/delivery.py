"""Takes what stopped jobs made to the outbox, and what failed to the folder of failures.

Every step may be repeated: a crash at any of them leaves a row that is not done, and the steps that
were taken are found on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
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
from claraedge.delivery.failpoints import Failpoint, nothing
from claraedge.delivery.plan import Delivered, plan
from claraedge.delivery.publish import publish, write_json
from claraedge.delivery.records import DeliveryRecord
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
_LONGEST_NAME = 255
_INPUT = "input/"


@dataclass(slots=True)
class _Parked:
    reason: str
    wait: float
    until: float
    full: bool = False
    """The disk was full: whether there is room is asked before anything is copied again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    record: DeliveryRecord
    job: Job
    files: Sequence[PayloadFile]
    ask_room: bool


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
        """`roots`: shared with others that put something there."""
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
        self._wake = asyncio.Event()
        self._parked: dict[str, _Parked] = {}
        self._busy: dict[Root, set[str]] = {root: set() for root in self._roots.all}
        self._troubles: dict[Root, str] = {}

    async def prepare(self) -> None:
        """At start: makes the folders. One that cannot be made parks what would go there."""
        await self._roots.prepare()

    def warnings(self) -> Sequence[str]:
        """Folders that deliveries wait for, for `claraedge status`."""
        return list(self._troubles.values())

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
        busy = set().union(*self._busy.values())
        waits = [p.until - now for job, p in self._parked.items() if job not in busy]
        if self._troubles:
            waits = [wait for wait in waits if wait > 0] + [self._look_again]
        return max(0.01, min([_LOOK, *waits]))

    async def _round(self, group: asyncio.TaskGroup) -> None:
        due = await self._database.read(records.due)
        present = {record.job for record in due}
        for job in [job for job in self._parked if job not in present]:
            del self._parked[job]
        for root in (self._roots.outbox, self._roots.failed):
            mine = [record for record in due if self._root(record) is root]
            if not mine:
                self._troubles.pop(root, None)
            elif await self._is_there(root, mine):
                self._start(root, mine, group)

    def _root(self, record: DeliveryRecord) -> Root:
        return self._roots.outbox if record.healthy else self._roots.failed

    async def _is_there(self, root: Root, due: Sequence[DeliveryRecord]) -> bool:
        """Whether anything can be put there; where not, all that waits for it says so."""
        trouble = await self._roots.look(root)
        before = self._troubles.pop(root, None)
        if trouble is None:
            if before is not None:
                for record in due:
                    self._parked.pop(record.job, None)
            return True
        self._troubles[root] = trouble
        if trouble != before:
            _log.warning("deliveries wait: %s", trouble)
        told = [r for r in due if r.reason != trouble and r.job not in self._busy[root]]
        if told:
            await self._write(lambda tx: _park_all(tx, told, trouble))
        return False

    def _start(self, root: Root, due: Sequence[DeliveryRecord], group: asyncio.TaskGroup) -> None:
        now = self._clock.elapsed()
        for record in due:
            if len(self._busy[root]) >= _AT_ONCE:
                return  # the end of each wakes the loop
            parked = self._parked.get(record.job)
            if record.job in self._busy[root] or (parked is not None and parked.until > now):
                continue
            self._busy[root].add(record.job)
            group.create_task(self._attempt(root, record), name=f"deliver {record.job}")

    async def _attempt(self, root: Root, record: DeliveryRecord) -> None:
        try:
            path = await self._deliver(record)
        except (OSError, ClaraedgeError) as error:
            await self._park(record, error)
        else:
            self._parked.pop(record.job, None)
            _log.info("delivered to %s", path, extra={"job": record.job})
            for parked in self._parked.values():
                if parked.full:
                    parked.until = 0.0  # there was room for one
        finally:
            self._busy[root].discard(record.job)
            self._wake.set()

    async def _park(self, record: DeliveryRecord, error: Exception) -> None:
        before = self._parked.get(record.job)
        reason = _text(error)
        wait = self._first_retry if before is None else min(before.wait * 2, _LAST_RETRY)
        self._parked[record.job] = _Parked(
            reason,
            wait,
            self._clock.elapsed() + wait,
            full=isinstance(error, OSError) and files.is_full(error),
        )
        if reason != (before.reason if before else record.reason):
            _log.warning("delivery waits: %s", reason, extra={"job": record.job})
            await self._write(lambda tx: records.park(tx, record.job, reason))

    async def _write(self, work: Callable[[Transaction], object]) -> None:
        with contextlib.suppress(ClaraedgeError):  # a full disk: it is tried again all the same
            await self._database.write(work)

    async def _deliver(self, record: DeliveryRecord) -> Path:
        parked = self._parked.get(record.job)

        def gather(tx: Transaction) -> _Due:
            job = jobs.get(tx, record.job)
            return _Due(
                record=record,
                job=job,
                files=payloads.get(tx, job.payload).files,
                ask_room=parked is not None and parked.full,
            )

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
            self._failpoint("deliver: spool removed")
        return done.path

    # --- in threads -----------------------------------------------------------------------------

    def _put(self, flag: CancelFlag, due: _Due) -> _Done:
        """All that goes to folders; a step that an earlier try took is found."""
        publishing = self._publish_result if due.record.healthy else self._publish_failure
        path = publishing(flag, due)
        original = self._keep_original(flag, due, path)
        return _Done(path=path, size=_size(path), original=original)

    def _publish_result(self, flag: CancelFlag, due: _Due) -> Path:
        def build(building: Path) -> None:
            delivered = self._copy_outputs(flag, due, building)
            self._failpoint("deliver: copied")
            inputs = [self._input(file, due, flag) for file in _inputs(due)]
            document = reports.result(
                due.job, delivered, inputs, _origin(due.record), self._clock.now()
            )
            write_json(building / "result.json", document)

        return self._publish(self._roots.outbox, "result.json", due, build)

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
        self, flag: CancelFlag, due: _Due, building: Path
    ) -> list[reports.DeliveredFile]:
        assert due.job.snapshot is not None, "a job that ended healthy was started"
        pipeline = decode(due.job.snapshot)
        chosen = [
            (output, file, inside)
            for output in plan(pipeline, due.record.outputs)
            for file in due.files
            if (inside := _inside(file, output)) is not None
        ]
        if due.ask_room:
            _refuse_full(building, sum(file.size for _, file, _ in chosen))
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


def _refuse_full(folder: Path, needed: int) -> None:
    """Raises ENOSPC where so many bytes do not fit: cheaper than to find out by copying them."""
    space = os.statvfs(folder)
    if space.f_bavail * space.f_frsize < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.parent))


def _size(folder: Path) -> int:
    """Bytes of all files in it."""
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(above, name).lstat().st_size
    return total


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and files.is_full(error):
        where = f" of {error.filename}" if error.filename is not None else ""
        return f"the disk{where} is full; free some space there: {error.strerror}"
    if isinstance(error, OSError) and error.strerror is not None:
        where = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{where}"
    return str(error)
