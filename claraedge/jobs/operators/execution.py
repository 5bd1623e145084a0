"""Executes one operator of a job, from its first container to its end.

Each step is recorded before it is carried out: RUNNING with the attempt and its container's id
before the container is started, and the written files (fsynced) with COMPLETED. So if the daemon
ends in between, the next one finds a row and at most one container that show the operator's state.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Mapping

from claraedge.blocking import in_thread
from claraedge.errors import ContainerError, SetAsideError, StorageFullError
from claraedge.fs import files
from claraedge.jobs.model import JobStatus, OperatorRecord, OperatorStatus
from claraedge.jobs.operators import failures
from claraedge.jobs.operators.attempt import Attempt, Setting, UnmakeableError, unless
from claraedge.jobs.operators.container_run import ContainerRun
from claraedge.jobs.operators.machine import Machine
from claraedge.jobs.operators.progress import Progress
from claraedge.jobs.operators.registering import register
from claraedge.jobs.operators.shared_values import SharedValues
from claraedge.jobs.operators.values import UnusableValueError
from claraedge.jobs.retries import next_attempt
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.tree import ForeignOutputError, UnusableOutputError
from claraedge.pipelines.model import Operator
from claraedge.pipelines.registration import is_registration
from claraedge.runner.protocol import Container, Exit, ExitCause, Phase
from claraedge.suspects import Work


class Execution:
    """Runs one operator; `record` is equal to its database row."""

    def __init__(
        self,
        machine: Machine,
        setting: Setting,
        record: OperatorRecord,
        on_change: Callable[[OperatorRecord], None],
        on_placed: Callable[[], None],
    ) -> None:
        """`on_change` gets each committed record; `on_placed`: readers can be created now."""
        self._machine = machine
        self._setting = setting
        self._job = setting.job
        self._operator = setting.operator
        self._values = SharedValues(machine, setting.job, setting.operator, setting.upstream)
        self._on_change = on_change
        self._on_placed = on_placed
        self._ending = asyncio.Event()
        self._progress = Progress(machine, setting, record, self._changed)
        self._container = ContainerRun(machine, setting, self._ending)
        self._attempt = self._next()

    @property
    def record(self) -> OperatorRecord:
        """The record as last committed."""
        return self._progress.record

    @property
    def filled(self) -> Operator | None:
        """The operator completed by its image's manifest, if that changed it.

        It was not run, because it may need other resources now.
        """
        return self._attempt.filled

    @property
    def lacks_image(self) -> bool:
        """Whether its image has to be pulled: it was not run, and occupies no resources."""
        return self._attempt.lacks_image

    @property
    def placed(self) -> int | None:
        """The attempt whose folders exist; None: not yet."""
        if self.record.status is OperatorStatus.RUNNING:
            return self.record.attempt
        return self._attempt.placed

    @property
    def job_ending(self) -> JobStatus:
        """The status with which its job ends if it does not complete."""
        return JobStatus.TERMINATED if self._container.timed_out else JobStatus.FAULTED

    def prepare(self) -> None:
        """Starts to create the container before the operator's turn; `run` reports errors."""
        self._attempt.begin()

    def fits(self, upstream: Mapping[str, int]) -> bool:
        """Returns whether the prepared container is usable with these upstream attempts."""
        sources = self._operator.sources
        return not self._attempt.failed and all(
            self._setting.upstream[source] == upstream[source] for source in sources
        )

    async def discard(self) -> None:
        """Removes the prepared container without running the operator.

        Raises RunnerUnavailableError if the container may remain.
        """
        await self._attempt.discard()

    def end(self) -> None:
        """Requests the end with the job: nothing new starts, a running container stops."""
        self._ending.set()

    async def abort(self, text: str) -> None:
        """Records a failure after an unexpected exception in `run`; see `Progress.abort`."""
        await self._progress.abort(text)

    async def run(self) -> OperatorRecord:
        """Runs the operator, and returns its record.

        It is COMPLETED or FAULTED. It is PENDING, to be admitted again, if the job ends before it
        began, if it is `filled` or `lacks_image`, if it has no usable GPU, or if a retry has to
        wait.

        Raises RunnerUnavailableError or StorageFullError: no work is lost, call it again later.
        """
        try:
            return await self._run()
        except OSError as error:
            if error.errno == errno.EIO:
                await self._fail(
                    f"{error.filename or 'a file of the state'} cannot be read or written"
                    f" ({error.strerror}): `dmesg` says why; check that disk, then send the files"
                    " again, for a new job",
                    None,
                )
                return self.record
            if not files.is_full(error):
                raise
            raise StorageFullError(
                f"{error.filename or 'the state folder'}: the disk is full; free some space,"
                " then work continues by itself"
            ) from error

    async def _run(self) -> OperatorRecord:
        if self.record.status is OperatorStatus.RUNNING:
            container = await self._container.find(self.record.attempt)
            if container is not None and self._container.may_adopt(container, self.record):
                self._progress.log("operator adopted", phase=container.phase.value)
                self._container.adopt(container, self.record)
                return await self._finish(container.id, ended=container.phase is Phase.STOPPED)
            await self._never_ran(container)
        while (
            self.record.status is OperatorStatus.PENDING
            and self.record.not_before is None
            and self.filled is None
            and not self.lacks_image
            and not self._attempt.lacks_device
            and not self._lacks_gpu
            and not self._ending.is_set()
        ):
            await self._run_once()
        if self.record.status is OperatorStatus.PENDING and self._ending.is_set():
            await self._attempt.discard()
        return self.record

    @property
    def _lacks_gpu(self) -> bool:
        """Whether it has fewer GPUs than requested, because a restart found it running."""
        return len(self._setting.devices) < self._setting.requests.devices

    # --- one attempt ---------------------------------------------------------------------------

    async def _run_once(self) -> None:
        try:
            await self._values.check(self._setting.pipeline)
        except UnusableValueError as error:
            await self._fail(str(error), None)
            return
        if is_registration(self._operator):
            record = await register(self._machine, self._job, self._operator, self.record)
            self._progress.note(record)
            self._progress.log("results registered")
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
                await self._progress.fill(self.filled)
            return
        if self._ending.is_set():
            return
        await self._progress.run(made)
        try:
            await self._machine.runner.start(made.container)
        except ContainerError as error:
            if (
                await self._container.find(made.attempt) is None
            ):  # for example with its image, by `podman rmi --force`
                await self._progress.interrupt("its container was removed before its start")
                return
            reference = self._operator.container.reference
            image = await self._machine.images.why_unusable(reference, made.image)
            await self._fail(f"its container could not be started: {image or error}", None)
            await self._remove(made.container)
            return
        self._progress.log("operator started", container=made.container[:12])
        await self._finish(made.container)

    async def _free_gpu(self) -> None:
        """Makes an unused inference server or service release its GPU at once."""
        services = self._machine.services
        usage = services.usage()
        if usage.gpus and self._job.id not in usage.gpu_users:
            await unless(self._ending, services.yield_gpu())

    async def _finish(self, container: str, *, ended: bool = False) -> OperatorRecord:
        """Waits for the container's end, and records the result.

        `ended`: it ended by itself before it was adopted.
        """
        end = await self._container.end(container, self.record, ended=ended)
        if end.cause is ExitCause.VANISHED and not self._container.timed_out:
            await self._progress.interrupt(end.cause.value)
            return await self._run()
        whole = end.code == 0 and not self._container.cut_short
        if whole and await self._values.are_lost(self.record.attempt):
            await self._progress.interrupt("its values in shared memory are gone")
            await self._remove(container)
            return await self._run()
        if whole:
            await self._complete()
        else:
            await self._fail_or_retry(await self._reason(end), end.code)
        self._machine.removals.add(container, **self._setting.about)
        return await self._run() if self.record.status is OperatorStatus.PENDING else self.record

    async def _complete(self) -> None:
        """Collects its output files; if that is not possible, the operator has failed."""
        try:
            async with self._machine.suspects.during(Work.JOB, self._job.id):
                await self._values.keep(self.record.attempt)
                produced, others = await self._collect()
        except (UnusableValueError, UnusableOutputError, ContainerError) as error:
            await self._fail(str(error), 0)
            return
        except SetAsideError:  # the failed job is reported, and is not run again
            await self._machine.suspects.forget(Work.JOB, self._job.id)
            await self._fail(
                "the daemon ended twice while it collected the output of this operator; read"
                " `journalctl -u claraedge`, then run it as a new job",
                0,
            )
            return
        await self._progress.complete(produced, others)

    async def _collect(self) -> tuple[list[PayloadFile], int]:
        payload, name = self._job.payload, self.record.name
        tree = self._machine.payloads.tree
        folder = tree.attempt(payload, name, self.record.attempt)
        output = (payload, folder, f"operators/{name}")
        try:
            return await in_thread(tree.collect, *output)
        except ForeignOutputError:
            await self._machine.runner.reclaim(folder)
            return await in_thread(tree.collect, *output, reclaimed=True)

    async def _fail_or_retry(self, reason: str, code: int | None) -> None:
        retry = self._operator.retry
        if self._ending.is_set() or self._container.timed_out or retry is None:
            await self._fail(reason, code)
            return
        delay = next_attempt(retry, self.record.retries, code)
        if isinstance(delay, str):
            await self._fail(f"{reason}; {delay}", code)
            return
        await self._progress.retry(reason, code, delay, retry.attempts)

    async def _fail(self, reason: str, code: int | None) -> None:
        await self._progress.fail(reason, code, self.job_ending)

    async def _reason(self, end: Exit) -> str:
        if self._container.timed_out:
            return f"took longer than its {self._operator.timeout} s (`timeout`) and was stopped"
        if self._ending.is_set():
            return "was stopped because its job ends"
        return await failures.reason(self._machine, self._setting, self.record, end)

    # --- after a break -------------------------------------------------------------------------

    async def _never_ran(self, container: Container | None) -> None:
        """Handles a row that says RUNNING although no container runs any more.

        The attempt was interrupted, or never started.
        """
        if container is not None:
            await self._remove(container.id)
        if container is None or container.phase is not Phase.CREATED:
            await self._progress.interrupt("the machine ended it")
            return
        attempt = (self._job.id, self.record.name, self.record.attempt)
        # Podman keeps no record of a start during which it was killed itself.
        if await in_thread(self._machine.logs.tail, *attempt, 1):
            await self._progress.interrupt("Podman ended while it started it")
            return
        await self._progress.undo()

    # --- small things --------------------------------------------------------------------------

    def _changed(self, record: OperatorRecord) -> None:
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
