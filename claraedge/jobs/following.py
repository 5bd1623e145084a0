"""Reads the log of any attempt of an operator, also while it is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from claraedge.blocking import in_thread
from claraedge.errors import OperatorNotFoundError
from claraedge.jobs.logs import history
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.model import Job, JobState, OperatorRecord, OperatorStatus
from claraedge.pipelines.syntax.problems import shown

#: Seconds between two reads of a log that a client follows: its writer does not report changes.
_PAUSE = 0.5
_ENDED = (OperatorStatus.COMPLETED, OperatorStatus.FAULTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRequest:
    """What to read of a log."""

    job: str
    operator: str
    """In any case; a name of `history.NAMES` is the job's own log."""
    attempt: int = 0
    """0: the last one, and those after it if it is followed."""
    follow: bool = False
    """Whether to wait for more, until the operator or the given attempt has ended."""
    tail: int = 0
    """Only so many of the last lines; 0: all."""


class LogReader:
    """Reads logs for clients."""

    def __init__(
        self,
        logs: JobLogs,
        job: Callable[[str], Awaitable[Job]],
        history: Callable[[str], Awaitable[Sequence[str]]],
    ) -> None:
        """`job` returns the job of an id, or raises JobNotFoundError; `history` the lines of a
        job's own log.
        """
        self._logs = logs
        self._job = job
        self._history = history

    async def read(self, wanted: LogRequest) -> AsyncGenerator[tuple[int, Sequence[str]], None]:
        """Yields lines with their ends, and the attempt that printed them; 0 for the job's own log.

        Raises JobNotFoundError, also if the job is removed meanwhile, and OperatorNotFoundError if
        it has no such operator or attempt.
        """
        job = await self._job(wanted.job)
        record = record_of(job, wanted.operator)
        if record is None:
            async for lines in self._own(wanted):
                yield 0, lines
            return
        if wanted.attempt > record.attempt:
            raise OperatorNotFoundError(
                f"the operator {shown(record.name)} of the job {job.id} has no attempt"
                f" {wanted.attempt}; it has had {record.attempt} so far"
            )
        attempt, tail = wanted.attempt or record.attempt, wanted.tail
        while True:
            if attempt:
                lines_of = self._attempt(wanted, record.name, attempt, tail)
                async with aclosing(lines_of) as found:
                    async for lines in found:
                        yield attempt, lines
            if not wanted.follow or wanted.attempt:
                return
            following = await self._next(wanted, attempt)
            if following is None:
                return
            attempt, tail = following, 0

    async def _attempt(
        self, wanted: LogRequest, operator: str, attempt: int, tail: int
    ) -> AsyncGenerator[Sequence[str], None]:
        """Yields the lines of one attempt, if it is followed until it has ended."""
        removed = await in_thread(self._logs.missing, wanted.job, operator, attempt)
        if removed:
            yield removed
            return
        with self._logs.grows(wanted.job, operator, attempt, tail) as log:
            while True:
                ended = not wanted.follow or await self._has_ended(wanted, attempt)
                if lines := await in_thread(log.more):
                    yield lines
                elif not ended:
                    await asyncio.sleep(_PAUSE)
                else:
                    break
            if lines := await in_thread(log.rest):
                yield lines

    async def _has_ended(self, wanted: LogRequest, attempt: int) -> bool:
        job = await self._job(wanted.job)
        record = record_of(job, wanted.operator)
        return (
            job.state is JobState.STOPPED
            or record is None
            or record.attempt > attempt
            or record.status is not OperatorStatus.RUNNING
        )

    async def _next(self, wanted: LogRequest, attempt: int) -> int | None:
        """Returns the next attempt once there is one; None if none will come."""
        while True:
            job = await self._job(wanted.job)
            record = record_of(job, wanted.operator)
            if record is None:
                return None
            if record.attempt > attempt:
                return record.attempt
            if job.state is JobState.STOPPED or record.status in _ENDED:
                return None
            await asyncio.sleep(_PAUSE)

    async def _own(self, wanted: LogRequest) -> AsyncIterator[Sequence[str]]:
        """Yields the lines of the job's own log."""
        count, tail = 0, wanted.tail
        while True:
            job = await self._job(wanted.job)
            lines = await self._history(wanted.job)
            new = lines[count:]
            count = len(lines)
            if new:
                yield new[-tail:] if tail else new
                tail = 0
            if not wanted.follow or (job.state is JobState.STOPPED and not new):
                return
            if not new:
                await asyncio.sleep(_PAUSE)


def record_of(job: Job, operator: str) -> OperatorRecord | None:
    """Returns the record of an operator, by its name in any case; None for the job's own log.

    Raises OperatorNotFoundError.
    """
    folded = operator.casefold()
    record = next((o for o in job.operators if o.name.casefold() == folded), None)
    if record is None and folded not in history.NAMES:
        names = ", ".join(o.name for o in job.operators)
        raise OperatorNotFoundError(
            f"the job {job.id} has no operator {operator[:40]!r}; its operators are {names}, and"
            f" {history.NAMES[0]} has the log of the job itself"
        )
    return record
