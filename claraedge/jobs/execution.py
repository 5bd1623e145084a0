"""One operator of a job, from its first container to its end.

Everything is recorded before it is acted on: RUNNING with the attempt and its container's id before
that is started, the files it wrote (fsynced) with COMPLETED. So whatever ends the daemon in
between, the next one finds a row and at most one container that tell how it stands; a container
that was made and not recorded never ran, and is removed.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from claraedge import files
from claraedge.blocking import in_thread
from claraedge.errors import (
    ContainerError,
    ImageNotFoundError,
    ImagePullError,
    PipelineLoadError,
    StorageFullError,
)
from claraedge.jobs import records
from claraedge.jobs.container import container_spec, make_output_folders
from claraedge.jobs.lookups import Lookups
from claraedge.jobs.machine import Machine
from claraedge.jobs.model import Job, OperatorRecord, OperatorStatus
from claraedge.jobs.placing import Placing
from claraedge.jobs.registering import register
from claraedge.jobs.transitions import MAX_INTERRUPTIONS
from claraedge.jobs.values import UnusableValueError, clear, written
from claraedge.pipelines import requests
from claraedge.pipelines.model import Operator, Pipeline
from claraedge.pipelines.registration import is_registration
from claraedge.runner.protocol import (
    LABEL_ATTEMPT,
    LABEL_INSTANCE,
    LABEL_JOB,
    LABEL_OPERATOR,
    Container,
    ContainerSpec,
    Exit,
    ExitCause,
    Image,
    Phase,
)
from claraedge.store.database import Transaction

_log = logging.getLogger(__name__)

_KILLED = 128 + signal.SIGKILL
#: How long somebody else's removal of a container may take after the kill that it begins with.
_REMOVAL_CHECK = 0.2
_REMOVAL_CHECKS = 5


class _FailedError(Exception):
    """The attempt cannot be made; the message is for the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """An attempt that needs no more than its start."""

    attempt: int
    image: str
    container: str


class Execution:
    """Runs one operator; `record` follows what the row says."""

    def __init__(
        self,
        machine: Machine,
        job: Job,
        pipeline: Pipeline,
        record: OperatorRecord,
        upstream_attempts: Mapping[str, int],
        devices: tuple[str, ...],
        lookups: Lookups,
        on_placed: Callable[[], None],
    ) -> None:
        """`on_placed` is called once those that read from it can be prepared."""
        operator = pipeline.operator(record.name)
        assert operator is not None
        self.record = record
        self.filled: Operator | None = None
        """The operator as its image says, where that was not known before: it was not run, since it
        may need other resources now."""
        self._machine = machine
        self._job = job
        self._pipeline = pipeline
        self._operator: Operator = operator
        self._upstream_attempts = upstream_attempts
        self._values = Placing(machine, job, operator, upstream_attempts)
        self._devices = devices
        self._lookups = lookups
        self._ending = asyncio.Event()
        self._preparing: asyncio.Task[_Prepared | None] | None = None
        self._placed: int | None = None
        self._on_placed: Callable[[], None] = on_placed

    @property
    def placed(self) -> int | None:
        """The attempt whose folders are made; None: not yet."""
        if self.record.status is OperatorStatus.RUNNING:
            return self.record.attempt
        return self._placed

    def prepare(self) -> None:
        """Makes the container ahead of the operator's turn, up to the moment before its start.

        What goes wrong is told when its turn comes.
        """
        self._preparing = asyncio.create_task(self._prepare(), name=f"prepare {self.record.name}")

    def fits(self, upstream_attempts: Mapping[str, int]) -> bool:
        """Whether what was prepared reads what those attempts wrote, and was not in vain."""
        failed = (
            self._preparing is not None
            and self._preparing.done()
            and (self._preparing.cancelled() or self._preparing.exception() is not None)
        )
        return not failed and all(
            self._upstream_attempts[source] == upstream_attempts[source]
            for source in self._operator.sources
        )

    async def discard(self) -> None:
        """Takes back what was prepared; the operator is not run by this."""
        self._ending.set()
        if self._preparing is None:
            return
        self._preparing.cancel()
        (made,) = await asyncio.gather(self._preparing, return_exceptions=True)
        if isinstance(made, _Prepared):
            await self._machine.removals.remove(made.container, **self._about())

    def end(self) -> None:
        """The job is to end: nothing is started any more, and what runs is stopped."""
        self._ending.set()

    async def run(self) -> OperatorRecord:
        """The operator's end: COMPLETED or FAULTED, or PENDING where the job ends before it began,
        and where it is `filled`: then it is to be admitted anew.

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
            if container is not None and container.phase in (Phase.RUNNING, Phase.STOPPED):
                self._log("operator adopted", phase=container.phase.value)
                return await self._finish(container.id)
            await self._never_ran(container)
        while (
            self.record.status is OperatorStatus.PENDING
            and self.filled is None
            and not self._ending.is_set()
        ):
            await self._attempt()
        return self.record

    # --- one attempt ---------------------------------------------------------------------------

    async def _attempt(self) -> None:
        try:
            await self._values.have_room(self._pipeline)
        except UnusableValueError as error:
            await self._fail(str(error), None)
            return
        if is_registration(self._operator):
            self.record = await register(self._machine, self._job, self._operator, self.record)
            self._log("results registered")
        else:
            await self._run_container()

    async def _run_container(self) -> None:
        try:
            preparing, self._preparing = self._preparing, None
            prepared = await (preparing or self._prepare())
        except _FailedError as error:
            await self._fail(str(error), None)
            return
        if prepared is None:
            return
        container = prepared.container
        if self._ending.is_set():
            await self._remove(container)
            return
        await self._running(prepared)
        try:
            await self._machine.runner.start(container)
        except ContainerError as error:
            await self._fail(f"its container could not be started: {error}", None)
            await self._remove(container)
            return
        self._log("operator started", container=container[:12])
        await self._finish(container)

    async def _prepare(self) -> _Prepared | None:
        """The container of the next attempt; None where the job ends, or it is `filled`."""
        try:
            image = await self._image()
            if image is None or await self._is_filled(image.id):
                return None
            await self._machine.payloads.materialise(self._job.payload)
            attempt = self.record.attempt + 1
            await self._discard_older()
            await self._values.place(attempt)
            spec = await self._spec(image.id, attempt)
            self._placed = attempt
            self._on_placed()
            container = await self._machine.runner.create(spec)
        except (ImagePullError, PipelineLoadError, UnusableValueError) as error:
            raise _FailedError(str(error)) from error
        except (ContainerError, ImageNotFoundError) as error:
            made = "" if self._placed is None else "its container could not be made: "
            raise _FailedError(f"{made}{error}") from error
        return _Prepared(attempt=attempt, image=image.id, container=container)

    async def _image(self) -> Image | None:
        """The operator's image, pulled where need be; None where the job is to end meanwhile."""
        finding = asyncio.create_task(self._lookups.image(self._operator.container.reference))
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({finding, ending}, return_when=asyncio.FIRST_COMPLETED)
            return await finding if finding.done() else None
        finally:
            finding.cancel()
            ending.cancel()
            await asyncio.gather(finding, ending, return_exceptions=True)

    async def _is_filled(self, image: str) -> bool:
        """Whether the image says more of the operator than is known: then it is not run yet."""
        operator = await self._machine.applications.of_image(self._operator, image)
        if operator == self._operator:
            return False
        await self._machine.database.write(
            lambda tx: records.fill_operator(tx, self._job.id, operator)
        )
        self.filled = operator
        self._log("operator is an application", command=operator.container.entrypoint)
        return True

    async def _running(self, prepared: _Prepared) -> None:
        def work(tx: Transaction) -> float:
            now = self._machine.clock.now()
            tx.run("job_running", id=self._job.id, now=now)
            records.run_operator(
                tx,
                self._job.id,
                self.record.name,
                attempt=prepared.attempt,
                image=prepared.image,
                container=prepared.container,
                boot=self._machine.boot,
                now=now,
            )
            return now

        now = await self._machine.database.write(work)
        self.record = replace(
            self.record,
            status=OperatorStatus.RUNNING,
            attempt=prepared.attempt,
            image=prepared.image,
            container=prepared.container,
            exit_code=None,
            started=now,
        )

    async def _finish(self, container: str) -> OperatorRecord:
        end = await self._end_of(container)
        if end.code == _KILLED and not end.out_of_memory and await self._is_being_removed():
            end = Exit(cause=ExitCause.VANISHED)
        if end.cause is ExitCause.VANISHED:
            await self._interrupted(end.cause.value)
            return await self._run()
        if end.code == 0 and await self._values.are_lost(self.record.attempt):
            await self._interrupted("its values in shared memory are gone")
            await self._remove(container)
            return await self._run()
        if end.code == 0:
            try:
                await self._values.keep(self.record.attempt)
            except UnusableValueError as error:
                await self._fail(str(error), 0)
            else:
                await self._complete()
        else:
            await self._fail(self._reason(end), end.code)
        self._machine.removals.add(container, **self._about())
        return self.record

    async def _end_of(self, container: str) -> Exit:
        """Waits for the container; stops it where the job is to end."""
        waiting = asyncio.create_task(self._machine.runner.wait(container))
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({waiting, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                await self._machine.runner.stop(container, self._machine.grace)
            return await waiting
        finally:
            waiting.cancel()
            ending.cancel()
            await asyncio.gather(waiting, ending, return_exceptions=True)

    async def _is_being_removed(self) -> bool:
        """Whether the container goes away by itself: who removes one kills it first."""
        if self._ending.is_set():
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

        def work(tx: Transaction) -> float:
            now = self._machine.clock.now()
            records.complete(tx, self._job, name, 0, produced, now)
            if others:
                records.say(
                    tx,
                    self._job.id,
                    now,
                    f"operator {name}: {others} entries of its output are links, pipes or devices;"
                    " they are neither listed nor delivered",
                )
            return now

        now = await self._machine.database.write(work)
        self.record = replace(
            self.record, status=OperatorStatus.COMPLETED, exit_code=0, stopped=now
        )
        self._log("operator completed", files=len(produced))

    async def _fail(self, reason: str, code: int | None) -> None:
        name = self.record.name
        tail = await in_thread(self._machine.logs.tail, self._job.id, name, self.record.attempt, 1)
        text = f"operator {name}: {reason}"
        if tail:
            text += f"; its last line: {tail[0].strip()[:500]}"

        def work(tx: Transaction) -> float:
            now = self._machine.clock.now()
            records.end_operator(tx, self._job.id, name, OperatorStatus.FAULTED, code, now)
            records.say(tx, self._job.id, now, text)
            return now

        now = await self._machine.database.write(work)
        self.record = replace(
            self.record, status=OperatorStatus.FAULTED, exit_code=code, stopped=now
        )
        self._log("operator failed", reason=reason, exit_code=code)

    # --- after a break -------------------------------------------------------------------------

    async def _find(self) -> Container | None:
        found = await self._machine.runner.containers(
            {**self._labels(), LABEL_ATTEMPT: str(self.record.attempt)}
        )
        return found[0] if found else None

    async def _never_ran(self, container: Container | None) -> None:
        """The row says running, the machine says no: interrupted, or never started at all."""
        if container is not None:
            await self._remove(container.id)
        if container is not None and container.phase is Phase.CREATED:
            await self._machine.database.write(
                lambda tx: tx.run("operator_again", job=self._job.id, name=self.record.name)
            )
            self.record = replace(self.record, status=OperatorStatus.PENDING, container=None)
        else:
            await self._interrupted("the machine ended it")

    async def _interrupted(self, why: str) -> None:
        count = self.record.interruptions + 1
        self.record = replace(self.record, interruptions=count)
        if count > MAX_INTERRUPTIONS:
            await self._fail(f"was interrupted {count} times ({why}); not run again", None)
            return
        name = self.record.name

        def work(tx: Transaction) -> None:
            now = self._machine.clock.now()
            tx.run("operator_interrupted", job=self._job.id, name=name)
            records.say(tx, self._job.id, now, f"operator {name}: interrupted ({why}); run again")

        await self._machine.database.write(work)
        self.record = replace(self.record, status=OperatorStatus.PENDING, container=None)
        self._log("operator interrupted", reason=why, interruptions=count)

    async def _discard_older(self) -> None:
        """Removes what an earlier attempt left: its container and the files that it wrote."""
        if self.record.attempt == 0:
            return
        for container in await self._machine.runner.containers(self._labels()):
            await self._remove(container.id)
        job, name, attempt = self._job, self.record.name, self.record.attempt
        tree, runner = self._machine.payloads.tree, self._machine.runner
        await clear(runner, tree.attempt(job.payload, name, attempt))
        await self._values.discard(attempt)

    # --- the container -------------------------------------------------------------------------

    async def _remove(self, container: str) -> None:
        await self._machine.removals.remove(container, **self._about())

    async def _spec(self, image: str, attempt: int) -> ContainerSpec:
        job, name = self._job, self.record.name
        tree = self._machine.payloads.tree
        spec = container_spec(
            tree,
            self._machine.values,
            job,
            self._pipeline,
            self._operator,
            self._upstream_attempts,
            attempt=attempt,
            image=image,
            log=await in_thread(self._machine.logs.prepare, job.id, name, attempt),
            labels=self._labels(),
            devices=self._devices,
            memory=requests.memory(self._operator.requests, self._machine.profile).limit,
        )
        folder = tree.attempt(job.payload, name, attempt)
        await in_thread(make_output_folders, folder, self._operator)
        return spec

    def _labels(self) -> dict[str, str]:
        return {
            LABEL_INSTANCE: self._machine.instance,
            LABEL_JOB: self._job.id,
            LABEL_OPERATOR: self.record.name,
        }

    def _about(self) -> dict[str, str]:
        return {"job": self._job.id, "operator": self.record.name}

    def _reason(self, end: Exit) -> str:
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
        return text

    def _log(self, text: str, **fields: object) -> None:
        _log.info(
            text,
            extra={
                "job": self._job.id,
                "operator": self.record.name,
                "attempt": self.record.attempt,
                **fields,
            },
        )


def _signal(code: int) -> str:
    """The signal that an exit code stands for, as shells and runtimes report it."""
    try:
        return f" ({signal.Signals(code - 128).name})" if code > 128 else ""
    except ValueError:
        return ""
