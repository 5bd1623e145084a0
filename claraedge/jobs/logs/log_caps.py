"""Limits the size of each operator's log: the first half and the last half are kept.

conmon could limit it (`log_size`), but it begins a new file and drops the earliest lines, which
often show why an operator failed. Reading the output here would let a slow reader slow the
operator. So conmon appends to one file, and the excess becomes a hole in the middle of the file.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Collection, Mapping, Sequence, Set
from pathlib import Path

from claraedge.blocking import Threads
from claraedge.errors import ClaraedgeError
from claraedge.fs import files
from claraedge.jobs.logs.log_holes import BLOCK, can_punch, data_from, punch
from claraedge.jobs.logs.logs import AttemptLog, JobLogs
from claraedge.jobs.model import JobState, OperatorStatus
from claraedge.store.database import Database, Transaction

_log = logging.getLogger(__name__)

#: Longest and shortest seconds between two checks of the sizes of open logs. A log may pass its
#: limit by what its operator writes in that time; the pause shortens with the observed write rate.
_PAUSE = 0.25
_LEAST_PAUSE = 0.02
#: Seconds between two checks of which operators have ended.
_ENDS_PAUSE = 1.0


class LogCaps:
    """Watches the logs of running operators while `run` runs."""

    def __init__(self, database: Database, logs: JobLogs, *, limit: int) -> None:
        """`limit`: bytes of one log, at least 1 MiB."""
        self._database = database
        self._logs = logs
        self._limit = limit
        self._sizes: dict[AttemptLog, int] = {}
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._able = True
        self._trouble = ""
        #: One thread of its own, because a busy file system may delay a cut.
        self._threads = Threads(1, "log-caps")

    @property
    def jobs(self) -> Set[str]:
        """The jobs whose logs are watched."""
        return {log.job for log in self._sizes}

    def warnings(self) -> Sequence[str]:
        """Returns the reasons why logs cannot be cut, for `claraedge status`."""
        if not self._able:
            return [
                f"the file system of {self._logs.root} cannot free the middle of a file, so"
                " engine.operator_log_mb is not kept; put the state folder on ext4, XFS or Btrfs"
            ]
        if self._trouble:
            return [f"a log that passed engine.operator_log_mb is not cut: {self._trouble}"]
        return []

    async def prepare(self) -> None:
        """Tests the file system's support for holes, and watches the logs of running operators."""
        self._loop = asyncio.get_running_loop()
        self._able = await self._threads.run(self._probe)
        for warning in self.warnings():
            _log.warning("logs are not cut: %s", warning)
        for row in await self._database.read(lambda tx: tx.rows("running_containers")):
            self._watch(AttemptLog(job=row["job"], operator=row["name"], attempt=row["attempt"]))

    def watch(self, log: AttemptLog) -> None:
        """Watches a log that is about to be written, once `prepare` was called; in any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._watch, log)

    async def run(self) -> None:
        """Checks sizes until cancelled; sleeps while no operator runs."""
        loop = asyncio.get_running_loop()
        ends = before = loop.time()
        while True:
            if not self._sizes:
                self._woken.clear()
                await self._woken.wait()
                before = loop.time()
            ended: Collection[AttemptLog] = ()
            if loop.time() >= ends:
                ends = loop.time() + _ENDS_PAUSE
                ended = await self._ended()
            grown = await self._check(ended)
            now = loop.time()
            rate = grown / max(now - before, _LEAST_PAUSE)
            before = now
            pause = self._limit / 4 / rate if rate > 0 else _PAUSE
            await asyncio.sleep(min(_PAUSE, max(_LEAST_PAUSE, pause)))

    def cut(self, path: Path) -> int:
        """Cuts a log that is over the limit, even while it is written.

        Blocking. Returns its size in bytes, hole included; 0 if it does not exist or cannot be cut.
        """
        try:
            size = path.stat().st_size
            if self._able and size > self._limit:
                cut(path, self._limit)
                self._trouble = ""
        except FileNotFoundError:
            return 0
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
                self._able = False
            if str(error) != self._trouble:
                _log.warning("a log is not cut", extra={"path": str(path), "reason": str(error)})
            self._trouble = str(error)
            return 0
        return size

    def _probe(self) -> bool:
        try:
            files.make_folders(self._logs.root)
            return can_punch(self._logs.root)
        except OSError as error:  # a full disk: holes most likely work, and each cut reports
            _log.warning("it is not known whether logs can be cut: %s", error)
            return True

    def _watch(self, log: AttemptLog) -> None:
        self._sizes.setdefault(log, 0)
        self._woken.set()

    async def _ended(self) -> Collection[AttemptLog]:
        """Returns the watched logs that are not written any more."""
        watched = list(self._sizes)

        def work(tx: Transaction) -> list[AttemptLog]:
            open_attempts = {job: _open_attempts(tx, job) for job in {log.job for log in watched}}
            return [
                log
                for log in watched
                if log.attempt < open_attempts[log.job].get(log.operator, log.attempt + 1)
            ]

        try:
            return await self._database.read(work)
        except ClaraedgeError as error:
            _log.warning("it is not known which logs are complete: %s", error)
            return ()

    async def _check(self, ended: Collection[AttemptLog]) -> int:
        """Cuts logs that are over the limit; returns the largest growth of one log, in bytes."""
        watched = list(self._sizes)
        sizes = await self._threads.run(self._cut_all, watched)
        grown = [size - self._sizes[log] for log, size in sizes.items()]
        self._sizes |= sizes
        for log in ended:
            del self._sizes[log]
        return max(grown, default=0)

    def _cut_all(self, logs: Sequence[AttemptLog]) -> Mapping[AttemptLog, int]:
        return {log: self.cut(self._logs.path(log.job, log.operator, log.attempt)) for log in logs}


def cut(path: Path, limit: int) -> int:
    """Punches a hole into the middle of a file whose data exceeds `limit` bytes.

    Returns the size of the hole in bytes; 0 if none is needed. Keeps the first half of the limit,
    and of the last half a sixteenth of the limit less, so that the next cut is not due at once.
    Blocking; raises OSError.
    """
    start = _down(limit // 2)
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if start + size - data_from(descriptor, start, size) <= limit:
            return 0
        end = _down(size - (limit // 2 - limit // 16))
        punch(descriptor, start, end)
        return end - start
    finally:
        os.close(descriptor)


def _down(position: int) -> int:
    return position - position % BLOCK


def _open_attempts(tx: Transaction, job: str) -> Mapping[str, int]:
    """Returns the operators of a job that run or may run, with the number of their last attempt."""
    row = tx.row("job", id=job)
    if row is None or row["state"] == JobState.STOPPED:
        return {}
    return {
        row["name"]: row["attempt"]
        for row in tx.rows("operators", job=job)
        if row["status"] in (OperatorStatus.PENDING, OperatorStatus.RUNNING)
    }
