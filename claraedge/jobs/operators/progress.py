"""Records an operator's progress: each step is committed, then applied here, then reported.

So if the daemon ends in between, the next one finds a row that shows the operator's state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from claraedge.clock import moment
from claraedge.errors import ClaraedgeError
from claraedge.jobs import records
from claraedge.jobs.model import JobStatus, OperatorRecord, OperatorStatus
from claraedge.jobs.observing import AttemptResult
from claraedge.jobs.operators import failures
from claraedge.jobs.operators.attempt import Made, Setting
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.transitions import MAX_INTERRUPTIONS
from claraedge.payloads.model import PayloadFile
from claraedge.pipelines.model import Operator
from claraedge.store.database import Transaction

_log = logging.getLogger(__name__)


class Progress:
    """The row of one operator; every method but `note` and `log` writes to the database."""

    def __init__(
        self,
        machine: Machine,
        setting: Setting,
        record: OperatorRecord,
        on_change: Callable[[OperatorRecord], None],
    ) -> None:
        self.record = record
        """The record as last committed."""
        self._machine = machine
        self._setting = setting
        self._job = setting.job
        self._on_change = on_change

    def note(self, record: OperatorRecord) -> None:
        """Applies a committed record, and reports it."""
        self.record = record
        self._on_change(record)

    def log(self, text: str, **fields: object) -> None:
        """Logs a line about the operator."""
        extra = {**self._setting.about, "attempt": self.record.attempt, **fields}
        _log.info(text, extra=extra)

    async def fill(self, operator: Operator) -> None:
        """Stores the operator as completed by its image's manifest; the record does not change."""
        await self._machine.database.write(
            lambda tx: records.fill_operator(tx, self._job.id, operator)
        )
        self.log("operator is an application", command=operator.container.entrypoint)

    async def run(self, made: Made) -> None:
        """Records the attempt as running, just before its container is started."""

        def work(tx: Transaction) -> tuple[OperatorRecord, float | None]:
            at = moment(self._machine.clock)
            waited = records.run_operator(
                tx,
                self._job.id,
                self.record.name,
                attempt=made.attempt,
                image=made.image,
                container=made.container,
                boot=self._machine.boot,
                at=at,
            )
            record = replace(
                self.record,
                status=OperatorStatus.RUNNING,
                attempt=made.attempt,
                image=made.image,
                container=made.container,
                boot=self._machine.boot,
                began=at.elapsed,
                exit_code=None,
                started=at.now,
                stopped=None,
                not_before=None,
            )
            return record, waited

        record, waited = await self._machine.database.write(work)
        self.note(record)
        if waited is not None:
            self._machine.observer.job_began(waited)

    async def complete(self, produced: Sequence[PayloadFile], others: int) -> None:
        """Records the success of the operator.

        `produced`: the files that it wrote, which are durable; `others`: number of entries in its
        output that are not files.
        """
        name = self.record.name

        def work(tx: Transaction) -> OperatorRecord:
            at = moment(self._machine.clock)
            records.complete(tx, self._job, name, 0, produced, at)
            if others:
                records.say(
                    tx,
                    self._job.id,
                    at.now,
                    f"operator {name}: {others} entries of its output are links, pipes or devices;"
                    " they are neither listed nor delivered",
                )
            return replace(
                self.record, status=OperatorStatus.COMPLETED, exit_code=0, stopped=at.now
            )

        completed = await self._machine.database.write(work)
        self._observe(AttemptResult.COMPLETED)
        self.note(completed)
        self.log("operator completed", files=len(produced))

    async def fail(self, reason: str, code: int | None, ending: JobStatus) -> None:
        """Records the final failure; `ending`: the status with which the job ends."""
        await self._fault(await self._message(reason), code, ending)
        self.log("operator failed", reason=reason, exit_code=code)

    async def abort(self, text: str) -> None:
        """Marks the operator as failed after an unexpected exception.

        It is marked in memory even if that cannot be recorded; then the error of the database is
        raised.
        """
        try:
            await self._fault(
                f"operator {self.record.name}: internal error: {text}",
                self.record.exit_code,
                JobStatus.FAULTED,
            )
        except ClaraedgeError:
            now = self._machine.clock.now()
            self.record = replace(self.record, status=OperatorStatus.FAULTED, stopped=now)
            raise

    async def retry(self, reason: str, code: int | None, delay: int, attempts: int) -> None:
        """Records a failure that is retried in `delay` seconds.

        `attempts`: the most attempts in total, for the message.
        """
        count = self.record.retries + 1
        text = await self._message(
            f"{reason}; it is run again in {delay} s (attempt {count + 1} of {attempts})"
        )

        def work(tx: Transaction) -> OperatorRecord:
            at = moment(self._machine.clock)
            again = at.now + delay
            records.retry_operator(tx, self._job.id, self.record.name, code, again, at)
            records.say(tx, self._job.id, at.now, text)
            return replace(
                self.record,
                status=OperatorStatus.PENDING,
                retries=count,
                not_before=again,
                exit_code=code,
                container=None,
            )

        pending = await self._machine.database.write(work)
        self._observe(AttemptResult.RETRIED)
        self.note(pending)
        self.log("operator is run again", reason=reason, exit_code=code, delay=delay)

    async def interrupt(self, why: str) -> None:
        """Records an attempt that the machine ended, and runs it again.

        After more than `MAX_INTERRUPTIONS` interruptions, the operator fails.
        """
        count = self.record.interruptions + 1
        if count > MAX_INTERRUPTIONS:
            self.record = replace(self.record, interruptions=count)
            reason = f"was interrupted {count} times ({why}); not run again: create the job again"
            await self.fail(reason, None, JobStatus.FAULTED)
            return
        name = self.record.name

        def work(tx: Transaction) -> None:
            at = moment(self._machine.clock)
            records.interrupt_operator(tx, self._job.id, name, at)
            text = f"operator {name}: interrupted ({why}); run again"
            records.say(tx, self._job.id, at.now, text)

        await self._machine.database.write(work)
        self._observe(AttemptResult.INTERRUPTED)
        self._pending(count)
        self.log("operator interrupted", reason=why, interruptions=count)

    async def undo(self) -> None:
        """Undoes an attempt that is recorded as running but was never started."""
        await self._machine.database.write(
            lambda tx: records.undo_operator(
                tx, self._job.id, self.record.name, moment(self._machine.clock)
            )
        )
        self._pending(self.record.interruptions)

    def _pending(self, interruptions: int) -> None:
        """Makes the operator pending again."""
        self.note(
            replace(
                self.record,
                status=OperatorStatus.PENDING,
                interruptions=interruptions,
                container=None,
            )
        )

    async def _fault(self, text: str, code: int | None, ending: JobStatus) -> None:
        def work(tx: Transaction) -> OperatorRecord:
            at = moment(self._machine.clock)
            records.fault_operator(tx, self._job.id, self.record.name, code, at, ending=ending)
            records.say(tx, self._job.id, at.now, text)
            return replace(
                self.record, status=OperatorStatus.FAULTED, exit_code=code, stopped=at.now
            )

        faulted = await self._machine.database.write(work)
        self._observe(AttemptResult.FAILED)
        self.note(faulted)

    def _observe(self, result: AttemptResult) -> None:
        """Reports the end of the attempt that the record still shows as running."""
        record, seconds = self.record, None
        ran = record.status is OperatorStatus.RUNNING and record.boot == self._machine.boot
        if ran and record.began is not None:
            seconds = max(0.0, self._machine.clock.elapsed() - record.began)
        self._machine.observer.attempt_ended(result, seconds)

    async def _message(self, reason: str) -> str:
        attempt = self.record.attempt
        return await failures.with_last_line(self._machine, self._setting, attempt, reason)
