"""The jobs service that the API and the inbox call."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from claraedge import metadata
from claraedge.blocking import CancelFlag, in_cancellable_thread, in_thread, to_its_end
from claraedge.clock import Clock
from claraedge.errors import (
    ClaraedgeError,
    FileCollisionError,
    InvalidRequestError,
    JobListError,
    JobStateError,
    JobStoreError,
    PayloadStateError,
)
from claraedge.ids import NewId
from claraedge.jobs import finding, records
from claraedge.jobs.engine.engine import Engine
from claraedge.jobs.engine.waits import Wait, explained
from claraedge.jobs.finding import FoundJob
from claraedge.jobs.following import LogReader, LogRequest, record_of
from claraedge.jobs.listing import OPEN, JobFilter, ListedJob, bounds, listing
from claraedge.jobs.logs import history
from claraedge.jobs.logs.logs import JobLogs
from claraedge.jobs.model import Job, JobStage, JobState, JobStatus, Priority
from claraedge.payloads import records as payload_records
from claraedge.payloads.model import Payload, PayloadFile, PayloadType
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.model import Pipeline, decode
from claraedge.registry import pipelines as registry
from claraedge.searching.page import SearchPage
from claraedge.store import disposable
from claraedge.store.database import Database, Transaction
from claraedge.store.failures import reported_as
from claraedge.store.pages import pages

_log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_REASON = 1024


class Jobs:
    """Creates, starts, lists and cancels jobs.

    A call that uses the database also raises what `Database.read` and `Database.write` raise.
    """

    def __init__(
        self,
        database: Database,
        engine: Engine,
        tree: PayloadTree,
        logs: JobLogs,
        clock: Clock,
        new_id: NewId,
        *,
        grace: float,
        on_queued: Callable[[Transaction, Job, Pipeline], None],
        applied: Callable[[Pipeline], Awaitable[Pipeline]],
    ) -> None:
        """`grace`: seconds from TERM to KILL; `applied` completes a pipeline by manifests."""
        self._database = database
        self._engine = engine
        self._tree = tree
        self._logs = logs
        self._clock = clock
        self._new_id = new_id
        self._grace = grace
        self._on_queued = on_queued
        self._applied = applied

    async def create(
        self,
        *,
        pipeline: str,
        name: str,
        priority: Priority,
        input_payloads: Sequence[str],
        entries: Mapping[str, str],
    ) -> Job:
        """Creates a job with its payload; the job is PENDING and not started.

        The files of reusable payloads are copied into its input in the given order. Source: Clara
        0.8.1, Jobs Create. Raises InvalidJobNameError, InvalidMetadataError, PipelineNotFoundError,
        PayloadNotFoundError; PayloadStateError if an input payload is not reusable or a file of it
        is missing; FileCollisionError if two input payloads have a file of the same name;
        JobStoreError if the state cannot be written, for example because the disk is full.
        """
        records.check_name(name)
        checked = metadata.check(entries)
        registered = await self._database.read(lambda tx: registry.get(tx, pipeline))
        definition = await in_thread(registry.check_definition, registered.files)
        job, payload = self._new_id(), self._new_id()
        copies: list[PayloadFile] = []
        copied = [f"payloads/{payload}"] if input_payloads else []

        def work(tx: Transaction) -> Job:
            records.add(
                tx,
                job=job,
                payload=payload,
                name=name,
                pipeline=registered,
                checked=definition,
                priority=priority,
                entries=checked,
                now=self._clock.now(),
            )
            payload_records.put_files(tx, payload, copies)
            disposable.drop(tx, copied)
            return records.get(tx, job)

        with reported_as(JobStoreError, "the job could not be stored"):
            try:
                await in_thread(self._tree.make, payload)
                if input_payloads:
                    await self._database.write(lambda tx: disposable.add(tx, copied))
                    copies += await self._copies(payload, input_payloads)
            except BaseException:  # also if the caller is cancelled
                await to_its_end(self._undo(payload, copied))
                raise
            try:
                created = await self._database.write(work)
            except (ClaraedgeError, OSError, sqlite3.Error):
                await self._undo(payload, copied)
                raise
        _log.info("job created", extra={"job": job, "payload": payload, "pipeline": pipeline})
        return created

    async def start(self, job: str, variables: Mapping[str, str]) -> Job:
        """Queues a job. If it was started before, returns it in its present state.

        Raises JobNotFoundError; JobStateError if the job was started with other variables, or
        cancelled before its start; PipelineLoadError if the variables do not fit, or the manifest
        of an application image is wrong.
        """
        found = await self.get(job)
        if not found.was_started and found.state is not JobState.STOPPED:
            files = await self._database.read(
                lambda tx: registry.definition_files(tx, found.definition)
            )
            pipeline = await self._applied(await in_thread(registry.resolve, files, variables, job))

            def work(tx: Transaction) -> bool:
                current = records.get(tx, job)
                if current.was_started or current.state is JobState.STOPPED:
                    return False
                records.start(tx, current, pipeline, variables)
                self._on_queued(tx, current, pipeline)
                return True

            async def queue() -> None:
                if await self._database.write(work):
                    self.queued(job, found.priority)

            # The engine must be notified once this is committed, even if the caller is cancelled.
            await to_its_end(queue())
            found = await self.get(job)
        if not found.was_started:
            raise JobStateError(f"the job {job} was cancelled before its start; create a new job")
        if dict(found.variables or {}) != dict(variables):
            raise JobStateError(
                f"the job {job} was started before with other variables; create a new job for these"
            )
        return found

    def queued(self, job: str, priority: Priority) -> None:
        """Passes a job to the engine, once the caller's transaction that queued it is committed."""
        _log.info("job queued", extra={"job": job, "priority": priority.name})
        self._engine.enqueue(job, priority)

    async def get(self, job: str) -> Job:
        """Returns the complete job. Raises JobNotFoundError."""
        return await self._database.read(lambda tx: records.get(tx, job))

    async def waits(self, job: str) -> Sequence[Wait]:
        """Returns what a job and its operators wait for now. Raises JobNotFoundError."""
        found = await self.get(job)
        return explained(found, self._engine.waits(job))

    async def graph(self, job: Job) -> Pipeline:
        """Returns the graph of a job: of its snapshot or, before its start, of its definition."""

        def files(tx: Transaction) -> Pipeline:
            return registry.check_definition(registry.definition_files(tx, job.definition))

        if job.snapshot is not None:
            return decode(job.snapshot)
        return await self._database.read(files)

    async def select(
        self, wanted: JobFilter | None, convert: Callable[[ListedJob], T], cost: Callable[[T], int]
    ) -> AsyncGenerator[T, None]:
        """Yields the matching jobs in the order of creation; without a filter, the open ones.

        Each job has the state of the moment when its page was read. `convert` is called with it in
        a thread; `cost` returns the bytes of the result. Raises JobListError if the database cannot
        be read.
        """
        filter_ = wanted or OPEN
        with reported_as(JobListError, "the jobs could not be listed"):
            within = await self._database.read(lambda tx: bounds(tx, filter_))
            if within is None:
                return
            found = pages(self._database, listing(filter_, within, convert, cost))
            async with aclosing(found) as jobs:
                async for job in jobs:
                    yield job

    async def find(
        self, page: SearchPage | None, stages: Collection[JobStage]
    ) -> tuple[list[FoundJob], Mapping[JobStage, int]]:
        """Returns the matching jobs of a page in its order, and how many jobs are in each stage.

        Without a page: no jobs. See `finding.find`.
        """

        def work(tx: Transaction) -> tuple[list[FoundJob], Mapping[JobStage, int]]:
            found = [] if page is None else finding.find(tx, page, stages)
            return found, finding.stage_counts(tx)

        return await self._database.read_page(work)

    async def add_metadata(self, job: str, entries: Mapping[str, str]) -> dict[str, str]:
        """Adds entries to the metadata, and returns all entries. See `metadata.merge`.

        Raises JobNotFoundError, InvalidMetadataError.
        """

        def work(tx: Transaction) -> dict[str, str]:
            records.get(tx, job)
            return metadata.merge(tx, job, entries)

        return await self._database.write(work)

    async def remove_metadata(self, job: str, keys: Iterable[str]) -> dict[str, str]:
        """Removes keys from the metadata, and returns the other entries. See `metadata.remove`.

        Raises JobNotFoundError.
        """

        def work(tx: Transaction) -> dict[str, str]:
            records.get(tx, job)
            return metadata.remove(tx, job, keys)

        return await self._database.write(work)

    async def cancel(self, job: str, reason: str) -> Job:
        """Ends a pending or running job, and returns it after its end.

        Waits for the end for grace + 2 seconds at most. Returns a stopped job unchanged. Raises
        JobNotFoundError.
        """
        text = reason[:MAX_REASON]

        def work(tx: Transaction) -> Job:
            current = records.get(tx, job)
            if current.state is not JobState.STOPPED:
                tx.run("job_cancelling", id=job, reason=text)
                if not current.was_started:
                    now = self._clock.now()
                    records.say(tx, job, now, f"canceled: {text or 'no reason given'}")
                    records.stop(tx, job, JobStatus.CANCELED, now)
            return current

        async def end() -> None:
            before = await self._database.write(work)
            if before.state is JobState.STOPPED:
                return
            if before.was_started:
                await self._engine.cancel(job, self._grace + 2)
            else:
                self._engine.canceled()

        await to_its_end(end())  # also if the caller is cancelled
        return await self.get(job)

    async def counts(self) -> Mapping[str, int]:
        """Returns how many jobs are unstarted, queued and running."""
        rows = await self._database.read(lambda tx: tx.rows("open_job_counts"))
        return {"unstarted": 0, "queued": 0, "running": 0} | {r["state"]: r["count"] for r in rows}

    async def logs(self, job: str, operator: str) -> Iterator[str]:
        """Returns the present lines of an operator's log; iterating blocks, so do it in a thread.

        A name of `history.NAMES` selects the job's own log. Raises JobNotFoundError,
        OperatorNotFoundError.
        """
        found = await self.get(job)
        record = record_of(found, operator)
        if record is None:
            return iter(await self._history(job))
        return self._logs.lines(job, record.name, record.attempt)

    def read_log(self, wanted: LogRequest) -> AsyncGenerator[tuple[int, Sequence[str]], None]:
        """Yields attempts and lines; see `LogReader.read`."""
        return LogReader(self._logs, self.get, self._history).read(wanted)

    async def _history(self, job: str) -> Sequence[str]:
        """Returns the lines of a job's own log."""
        rows = await self._database.read(lambda tx: tx.rows("job_log", job=job))
        return history.lines(rows)

    async def _undo(self, payload: str, copied: Sequence[str]) -> None:
        """Removes the payload of a job whose creation failed."""
        await in_thread(self._tree.remove, payload)
        if copied:
            with contextlib.suppress(ClaraedgeError):  # the next start removes this row
                await self._database.write(lambda tx: disposable.drop(tx, copied))

    async def _copies(self, payload: str, sources: Sequence[str]) -> list[PayloadFile]:
        wanted: dict[str, tuple[str, PayloadFile]] = {}
        for place, source in enumerate(sources):
            found = await self._database.read(partial(_payload, source))
            if found.type is not PayloadType.REUSABLE:
                raise PayloadStateError(
                    f"the payload {source} belongs to a job; only reusable ones can be inputs"
                )
            for file in found.files:
                name = f"input/{file.name}"
                if name in wanted:
                    raise FileCollisionError(
                        f"{file.name!r} is in the input payloads {wanted[name][0]} and {source}"
                        f" (number {place + 1}); leave one out or rename it"
                    )
                wanted[name] = (source, file)
        copies = await in_cancellable_thread(self._link, payload, wanted)
        await in_thread(self._tree.sync_blobs, payload)
        return copies

    def _link(
        self, flag: CancelFlag, payload: str, wanted: Mapping[str, tuple[str, PayloadFile]]
    ) -> list[PayloadFile]:
        copies = []
        for name, (source, file) in wanted.items():
            flag.check()
            path = self._tree.path(source, file)
            try:
                blob = self._tree.adopt(payload, path, mode=file.mode, keep=True)
            except FileNotFoundError as error:
                raise PayloadStateError(
                    f"the file {file.name!r} of the payload {source} is gone: it was changed while"
                    " it was copied, or its disk is damaged; try again, and upload it again where"
                    " that does not help"
                ) from error
            copies.append(PayloadFile(name=name, size=file.size, mode=file.mode, blob=blob))
        return copies


def _payload(payload: str, tx: Transaction) -> Payload:
    return payload_records.get(tx, payload)


def variables_of(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Returns the variables of a Start request as a mapping.

    Raises InvalidRequestError if a name is given twice with different values.
    """
    variables: dict[str, str] = {}
    for name, value in pairs:
        if variables.setdefault(name, value) != value:
            raise InvalidRequestError(f"the variable {name!r} is given twice, with two values")
    return variables
