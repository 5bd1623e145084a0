"""One operator of a job, from its first container to its end.

Everything is recorded before it is acted on: RUNNING with the attempt and its container's id before
that is started, the files it wrote (fsynced) with COMPLETED. So whatever ends the daemon in
between, the next one finds a row and at most one container that tell how it stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace

from claraedge import files
from claraedge.blocking import in_thread
from claraedge.clock import moment
from claraedge.errors import ContainerError, StorageFullError
from claraedge.jobs import records
from claraedge.jobs.attempt import Attempt, Made, Setting, UnmakeableError, unless
from claraedge.jobs.machine import Machine
from claraedge.jobs.model import JobStatus, OperatorRecord, OperatorStatus
from claraedge.jobs.placing import Placing
from claraedge.jobs.registering import register
from claraedge.jobs.retries import next_attempt
from claraedge.jobs.runtime import ran_until
from claraedge.jobs.transitions import MAX_INTERRUPTIONS
from claraedge.jobs.values import UnusableValueError, written
from claraedge.pipelines import requests
from claraedge.pipelines.model import Operator
from claraedge.pipelines.registration import is_registration
from claraedge.runner.protocol import (
    LABEL_ATTEMPT,
    LABEL_INSTANCE,
    Container,
    Exit,
    ExitCause,
    Phase,
)
from claraedge.store.database import Transaction

_log = logging.getLogger(__name__)

#: An operator that fails with so many bytes free, or more, has failed of something else.
_ROOM = 16 << 20
#: Seconds by which the time of an end that the runner tells may be too early.
_WHOLE = 1.0
_KILLED = 128 + signal.SIGKILL
#: How long somebody else's removal of a container may take after the kill that it begins with.
_REMOVAL_CHECK = 0.2
_REMOVAL_CHECKS = 5


class Execution:
    """Runs one operator; `record` follows what the row says."""

    def __init__(
        self,
        machine: Machine,
        setting: Setting,
        record: OperatorRecord,
        on_change: Callable[[OperatorRecord], None],
        on_placed: Callable[[], None],
    ) -> None:
        """`on_change` is called with each change of the record, once it is committed; `on_placed`
        once those that read from it can be made.
        """
        self.record = record
        self.timed_out = False
        """Its own time was over, and it was stopped."""
        self._cut_short = False
        """It was told to end while it ran: what it wrote is half, whatever its exit code says."""
        self._machine = machine
        self._setting = setting
        self._job = setting.job
        self._operator = setting.operator
        self._values = Placing(machine, setting.job, setting.operator, setting.upstream)
        self._on_change = on_change
        self._on_placed = on_placed
        self._ending = asyncio.Event()
        self._attempt = self._next()

    @property
    def filled(self) -> Operator | None:
        """The operator as its image says, where that was not known before: it was not run, since it
        may need other resources now.
        """
        return self._attempt.filled

    @property
    def lacks_image(self) -> bool:
        """Its image is to be fetched: it was not run, and holds nothing while that lasts."""
        return self._attempt.lacks_image

    @property
    def placed(self) -> int | None:
        """The attempt whose folders are made; None: not yet."""
        if self.record.status is OperatorStatus.RUNNING:
            return self.record.attempt
        return self._attempt.placed

    @property
    def job_ending(self) -> JobStatus:
        """How its job ends where it does not complete."""
        return JobStatus.TERMINATED if self.timed_out else JobStatus.FAULTED

    def prepare(self) -> None:
        """Makes the container ahead of the operator's turn.

        What goes wrong is told when its turn comes.
        """
        self._attempt.begin()

    def fits(self, upstream: Mapping[str, int]) -> bool:
        """Whether what was prepared reads what those attempts wrote, and was not in vain."""
        sources = self._operator.sources
        return not self._attempt.failed and all(
            self._setting.upstream[source] == upstream[source] for source in sources
        )

    async def discard(self) -> None:
        """Takes back what was prepared; the operator is not run by this."""
        await self._attempt.discard()

    def end(self) -> None:
        """The job is to end: nothing is started any more, and what runs is stopped."""
        self._ending.set()

    async def run(self) -> OperatorRecord:
        """The operator's end: COMPLETED or FAULTED, or PENDING where the job ends before it began,
        where it is `filled` or `lacks_image`, where it has no GPU, and where a retry has to wait:
        then it is to be admitted anew.

        May raise RunnerUnavailableError or StorageFullError: nothing is lost, call again later; and
        RoomTakenError, before the first operator of a job.
        """
        try:
            return await self._run()
        except OSError as error:
            if not files.is_full(error):
                raise
            raise StorageFullError(
                f"{error.filename or 'the state folder'}: the disk is full; free some space and"
                " work goes on"
            ) from error

    async def _run(self) -> OperatorRecord:
        if self.record.status is OperatorStatus.RUNNING:
            container = await self._find()
            if container is not None and self._is_ours(container):
                self._log("operator adopted", phase=container.phase.value)
                # Where its end was decided before, it was perhaps told so before.
                self.timed_out = self._came_late(container)
                self._cut_short = self._ending.is_set() or self.timed_out
                return await self._finish(container.id, ended=container.phase is Phase.STOPPED)
            await self._never_ran(container)
        while (
            self.record.status is OperatorStatus.PENDING
            and self.record.not_before is None
            and self.filled is None
            and not self.lacks_image
            and not self._lacks_gpu
            and not self._ending.is_set()
        ):
            await self._run_once()
        if self.record.status is OperatorStatus.PENDING and self._ending.is_set():
            await self._attempt.discard()
        return self.record

    @property
    def _lacks_gpu(self) -> bool:
        """It was given none of what it asks for, as it was found running after a restart."""
        return len(self._setting.devices) < requests.devices(self._operator)

    # --- one attempt ---------------------------------------------------------------------------

    async def _run_once(self) -> None:
        try:
            await self._values.have_room(self._setting.pipeline)
        except UnusableValueError as error:
            await self._fail(str(error), None)
            return
        if is_registration(self._operator):
            record = await register(self._machine, self._job, self._operator, self.record)
            self._changed(record)
            self._log("results registered")
        else:
            await self._run_container()

    async def _run_container(self) -> None:
        if self._setting.devices:
            await self._free_gpu()
        try:
            made = await self._attempt.made()
        except UnmakeableError as error:
            await self._fail(str(error), None)
            return
        if made is None:
            if self.filled is not None:
                await self._keep_filled(self.filled)
            return
        if self._ending.is_set():
            return
        await self._running(made)
        try:
            await self._machine.runner.start(made.container)
        except ContainerError as error:
            if await self._find() is None:  # such as with its image, by `podman rmi --force`
                await self._interrupted("its container was removed before its start")
                return
            await self._fail(f"its container could not be started: {error}", None)
            await self._remove(made.container)
            return
        self._log("operator started", container=made.container[:12])
        await self._finish(made.container)

    async def _free_gpu(self) -> None:
        """An inference server or a service that nobody uses gives its GPU back at once."""
        services = self._machine.services
        use = services.gpu_use()
        if use.gpus and self._job.id not in use.jobs:
            await unless(self._ending, services.yield_gpu())

    async def _keep_filled(self, operator: Operator) -> None:
        await self._machine.database.write(
            lambda tx: records.fill_operator(tx, self._job.id, operator)
        )
        self._log("operator is an application", command=operator.container.entrypoint)

    async def _running(self, made: Made) -> None:
        def work(tx: Transaction) -> OperatorRecord:
            at = moment(self._machine.clock)
            records.run_operator(
                tx,
                self._job.id,
                self.record.name,
                attempt=made.attempt,
                image=made.image,
                container=made.container,
                boot=self._machine.boot,
                at=at,
            )
            return replace(
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

        self._changed(await self._machine.database.write(work))

    async def _finish(self, container: str, *, ended: bool = False) -> OperatorRecord:
        """`ended`: by itself, before it was adopted: its time is not over, whatever it is now."""
        end = await self._end_of(container, None if ended else self._left())
        if end.code == _KILLED and not end.out_of_memory and await self._is_being_removed():
            end = Exit(cause=ExitCause.VANISHED)
        if end.cause is ExitCause.VANISHED and not self.timed_out:
            await self._interrupted(end.cause.value)
            return await self._run()
        whole = end.code == 0 and not self._cut_short
        if whole and await self._values.are_lost(self.record.attempt):
            await self._interrupted("its values in shared memory are gone")
            await self._remove(container)
            return await self._run()
        if whole:
            try:
                await self._values.keep(self.record.attempt)
            except UnusableValueError as error:
                await self._fail(str(error), 0)
            else:
                await self._complete()
        else:
            await self._fail_or_retry(self._reason(end), end.code)
        self._machine.removals.add(container, **self._setting.about)
        return await self._run() if self.record.status is OperatorStatus.PENDING else self.record

    async def _end_of(self, container: str, left: float | None) -> Exit:
        """Waits for the container; stops it where the job is to end, or its own time is over."""
        waiting = asyncio.create_task(self._machine.runner.wait(container))
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({waiting, ending}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                self.timed_out = not ending.done()
                told = await self._machine.runner.stop(container, self._machine.grace)
                self._cut_short |= told or self.timed_out
            return await waiting
        finally:
            waiting.cancel()
            ending.cancel()
            await asyncio.gather(waiting, ending, return_exceptions=True)

    def _left(self) -> float | None:
        """Seconds that this attempt may still take; None: as long as its job."""
        if self._operator.timeout is None or self.record.began is None:
            return None
        return max(0.0, self.record.began + self._operator.timeout - self._machine.clock.elapsed())

    def _came_late(self, container: Container) -> bool:
        """Whether what has ended while nobody looked had taken longer than its own time."""
        limit, began = self._operator.timeout, self.record.began
        if limit is None or began is None or container.ended is None:
            return False
        took = ran_until(moment(self._machine.clock), container.ended, began) - began
        return took + _WHOLE > limit

    async def _is_being_removed(self) -> bool:
        """Whether the container goes away by itself: who removes one kills it first."""
        if self._ending.is_set() or self.timed_out:
            return False
        for _ in range(_REMOVAL_CHECKS):
            await asyncio.sleep(_REMOVAL_CHECK)
            if await self._find() is None:
                return True
        return False

    async def _complete(self) -> None:
        payload, name = self._job.payload, self.record.name
        tree = self._machine.payloads.tree
        folder = tree.attempt(payload, name, self.record.attempt)
        if await in_thread(files.has_foreign, folder):
            await self._machine.runner.reclaim(folder)
        produced, others = await in_thread(tree.collect, payload, folder, f"operators/{name}")

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

        self._changed(await self._machine.database.write(work))
        self._log("operator completed", files=len(produced))

    # --- an attempt that failed ----------------------------------------------------------------

    async def _fail_or_retry(self, reason: str, code: int | None) -> None:
        retry = self._operator.retry
        if self._ending.is_set() or self.timed_out or retry is None:
            await self._fail(reason, code)
            return
        delay = next_attempt(retry, self.record.retries, code)
        if isinstance(delay, str):
            await self._fail(f"{reason}; {delay}", code)
            return
        count = self.record.retries + 1
        text = await self._told(
            f"{reason}; it is run again in {delay} s (attempt {count + 1} of {retry.attempts})"
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

        self._changed(await self._machine.database.write(work))
        self._log("operator is run again", reason=reason, exit_code=code, delay=delay)

    async def _fail(self, reason: str, code: int | None) -> None:
        text = await self._told(reason)

        def work(tx: Transaction) -> OperatorRecord:
            at = moment(self._machine.clock)
            records.fault_operator(
                tx, self._job.id, self.record.name, code, at, ending=self.job_ending
            )
            records.say(tx, self._job.id, at.now, text)
            return replace(
                self.record, status=OperatorStatus.FAULTED, exit_code=code, stopped=at.now
            )

        self._changed(await self._machine.database.write(work))
        self._log("operator failed", reason=reason, exit_code=code)

    async def _told(self, reason: str) -> str:
        """The message for the job, with the last line that the operator wrote."""
        name = self.record.name
        tail = await in_thread(self._machine.logs.tail, self._job.id, name, self.record.attempt, 1)
        last = f"; its last line: {tail[0].strip()[:500]}" if tail else ""
        return f"operator {name}: {reason}{last}"

    def _reason(self, end: Exit) -> str:
        if self.timed_out:
            return f"took longer than its {self._operator.timeout} s (`timeout`) and was stopped"
        if self._ending.is_set():
            return "was stopped because its job ends"
        if end.code is None:
            return end.cause.value
        if end.out_of_memory:
            profile = self._machine.profile
            return requests.out_of_memory(
                requests.memory(self._operator.requests, profile), profile
            )
        text = f"failed with exit code {end.code}{_signal(end.code)}"
        if end.code == 128 + signal.SIGBUS and written(self._operator):
            values = self._machine.values
            text += (
                f"; {values.folder}, where its values lie, may be full:"
                f" {values.space().free >> 20} MB of it are free"
            )
        return text + self._told_of_disk()

    def _told_of_disk(self) -> str:
        """For an operator that failed while its outputs had hardly any room: that is likely why."""
        tree, name = self._machine.payloads.tree, self.record.name
        try:
            found = os.statvfs(tree.attempt(self._job.payload, name, self.record.attempt))
        except OSError:
            return ""
        free = found.f_bavail * found.f_frsize
        if free >= _ROOM:
            return ""
        return (
            f"; the disk of its outputs may be full: {free >> 20} MiB of it are free. Free some"
            " space, then create the job again"
        )

    # --- after a break -------------------------------------------------------------------------

    async def _find(self) -> Container | None:
        found = await self._machine.runner.containers(
            {
                LABEL_INSTANCE: self._machine.instance,
                **self._setting.labels,
                LABEL_ATTEMPT: str(self.record.attempt),
            }
        )
        return found[0] if found else None

    def _is_ours(self, container: Container) -> bool:
        """Whether a container that was found runs, or came to its end by itself.

        A machine that goes down ends the processes in a container one by one, and what is left of
        an operator may call that a success. So nothing that ended unseen before a restart of the
        machine counts.
        """
        if container.phase is Phase.STOPPED:
            return self.record.boot == self._machine.boot
        return container.phase is Phase.RUNNING

    async def _never_ran(self, container: Container | None) -> None:
        """The row says running, the machine says no: interrupted, or never started at all."""
        if container is not None:
            await self._remove(container.id)
        if container is None or container.phase is not Phase.CREATED:
            await self._interrupted("the machine ended it")
            return
        attempt = (self._job.id, self.record.name, self.record.attempt)
        # Podman cannot tell of a start that it died in.
        if await in_thread(self._machine.logs.tail, *attempt, 1):
            await self._interrupted("Podman ended while it started it")
            return
        await self._machine.database.write(
            lambda tx: records.undo_operator(
                tx, self._job.id, self.record.name, moment(self._machine.clock)
            )
        )
        self._pending(self.record.interruptions)

    async def _interrupted(self, why: str) -> None:
        count = self.record.interruptions + 1
        if count > MAX_INTERRUPTIONS:
            self.record = replace(self.record, interruptions=count)
            await self._fail(f"was interrupted {count} times ({why}); not run again", None)
            return
        name = self.record.name

        def work(tx: Transaction) -> None:
            at = moment(self._machine.clock)
            records.interrupt_operator(tx, self._job.id, name, at)
            text = f"operator {name}: interrupted ({why}); run again"
            records.say(tx, self._job.id, at.now, text)

        await self._machine.database.write(work)
        self._pending(count)
        self._log("operator interrupted", reason=why, interruptions=count)

    def _pending(self, interruptions: int) -> None:
        """The attempt counts no more; the next one may begin."""
        self._changed(
            replace(
                self.record,
                status=OperatorStatus.PENDING,
                interruptions=interruptions,
                container=None,
            )
        )

    # --- small things --------------------------------------------------------------------------

    def _changed(self, record: OperatorRecord) -> None:
        self.record = record
        if record.status is OperatorStatus.PENDING:
            self._attempt = self._next()
        self._on_change(record)

    def _next(self) -> Attempt:
        return Attempt(
            self._machine,
            self._setting,
            self._values,
            self.record,
            self._ending,
            self._on_placed,
        )

    async def _remove(self, container: str) -> None:
        await self._machine.removals.remove(container, **self._setting.about)

    def _log(self, text: str, **fields: object) -> None:
        extra = {**self._setting.about, "attempt": self.record.attempt, **fields}
        _log.info(text, extra=extra)


def _signal(code: int) -> str:
    """The signal that an exit code stands for, as shells and runtimes report it."""
    with contextlib.suppress(ValueError):
        return f" ({signal.Signals(code - 128).name})" if code > 128 else ""
    return ""
