"""Keeps each log of an operator below its limit: the first half and the last are kept.

conmon could do it (`log_size`), but begins a new file and drops what came first, which often tells
why an operator failed. Reading the output here would let a slow reader slow the operator. So conmon
appends to one file, and what is too much becomes a hole in its middle.
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

#: Seconds between two looks at the sizes of the logs that are being written. How far a log passes
#: its limit is what its operator writes meanwhile: less, once it was seen how fast that is.
_PAUSE = 0.25
_LEAST_PAUSE = 0.02
#: Seconds between two looks at which operators have ended.
_ENDS_PAUSE = 1.0


class LogCaps:
    """Watches the logs of operators that run, for as long as `run` runs."""

    def __init__(self, database: Database, logs: JobLogs, *, limit: int) -> None:
        """`limit`: bytes of one log, at least 1 MiB."""
        self._database = database
        self._logs = logs
        self._limit = limit
        self._sizes: dict[AttemptLog, int] = {}
        self._woken = asyncio.Event()
        self._able = True
        self._trouble = ""
        #: A file system that has much to write may let a cut wait.
        self._threads = Threads(1, "log-caps")

    @property
    def jobs(self) -> Set[str]:
        """The jobs whose logs are watched."""
        return {log.job for log in self._sizes}

    def warnings(self) -> Sequence[str]:
        """What keeps logs from being cut, for `claraedge status`."""
        if not self._able:
            return [
                f"the file system of {self._logs.root} cannot free the middle of a file, so"
                " engine.operator_log_mb is not kept; put the state folder on ext4, XFS or Btrfs"
            ]
        if self._trouble:
            return [f"a log that passed engine.operator_log_mb is not cut: {self._trouble}"]
        return []

    async def prepare(self) -> None:
        """Sees what the file system can, and watches the logs of operators that run already."""
        loop = asyncio.get_running_loop()
        self._able = await self._threads.run(self._probe)
        for warning in self.warnings():
            _log.warning("logs are not cut: %s", warning)
        for row in await self._database.read(lambda tx: tx.rows("running_containers")):
            self._watch(AttemptLog(job=row["job"], operator=row["name"], attempt=row["attempt"]))

        def on_prepared(log: AttemptLog) -> None:
            loop.call_soon_threadsafe(self._watch, log)

        self._logs.on_prepared = on_prepared

    async def run(self) -> None:
        """Looks until cancelled; sleeps while no operator runs."""
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
            grown = await self._look(ended)
            now = loop.time()
            rate = grown / max(now - before, _LEAST_PAUSE)
            before = now
            pause = self._limit / 4 / rate if rate > 0 else _PAUSE
            await asyncio.sleep(min(_PAUSE, max(_LEAST_PAUSE, pause)))

    def cut(self, path: Path) -> int:
        """Cuts a log that is too long, also while it is written; returns its size with the hole.

        Blocking. Nothing there is size 0.
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
        except OSError as error:  # a full disk: most likely it can, and each cut tells
            _log.warning("it is not known whether logs can be cut: %s", error)
            return True

    def _watch(self, log: AttemptLog) -> None:
        self._sizes.setdefault(log, 0)
        self._woken.set()

    async def _ended(self) -> Collection[AttemptLog]:
        """The watched logs that nobody writes any more."""
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

    async def _look(self, ended: Collection[AttemptLog]) -> int:
        """Cuts what is too long; returns by how many bytes the log grew that grew most."""
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
    """Makes a hole in the middle of a file where its data passes `limit` bytes; returns its size.

    The first half of the limit is kept, and of the last a sixteenth of the limit less, so that the
    next cut is not due at once. Blocking; raises OSError.
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
    """The operators of a job that run, or may yet, each with the number of its last attempt."""
    row = tx.row("job", id=job)
    if row is None or row["state"] == JobState.STOPPED:
        return {}
    return {
        row["name"]: row["attempt"]
        for row in tx.rows("operators", job=job)
        if row["status"] in (OperatorStatus.PENDING, OperatorStatus.RUNNING)
    }
