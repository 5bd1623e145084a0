"""Serves `nvidia.clara.platform.Jobs` and `claraedge.v1.Logs`."""

from __future__ import annotations

import math
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

from claraedge.api.answers import ok
from claraedge.api.translate import EPOCH, id_of, identifier, old_time, timestamp, unix_seconds
from claraedge.blocking import in_thread
from claraedge.errors import (
    InvalidJobIdError,
    InvalidPayloadIdError,
    InvalidPipelineIdError,
    InvalidRequestError,
    PipelineLoadError,
)
from claraedge.ids import parse_id
from claraedge.jobs.following import LogRequest
from claraedge.jobs.jobs import Jobs, variables_of
from claraedge.jobs.listing import JobFilter, ListedJob
from claraedge.jobs.model import Job, Priority
from claraedge.pipelines.model import Pipeline
from claraedge.wire.claraedge.v1 import logs_pb2 as own
from claraedge.wire.nvidia.clara.platform import common_pb2 as common
from claraedge.wire.nvidia.clara.platform import jobs_pb2 as wire

#: Bytes of log text in one message.
_LOG_CHUNK = 512 * 1024
_OK = ok()


class JobsServicer:
    """Implements AddMetadata, Cancel, Create, List, ReadLogs, RemoveMetadata, Start, Status."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def Create(self, request: wire.JobsCreateRequest) -> wire.JobsCreateResponse:
        """Answers Jobs.Create. Raises InvalidRequestError if the priority is unknown."""
        try:
            priority = Priority(request.priority or Priority.NORMAL)
        except ValueError:
            raise InvalidRequestError(
                f"{request.priority} is no priority; use 1 (lower) to 4 (immediate)"
            ) from None
        job = await self._jobs.create(
            pipeline=id_of(request.pipeline_id, "pipeline", InvalidPipelineIdError),
            name=request.name,
            priority=priority,
            input_payloads=[
                id_of(payload, "payload", InvalidPayloadIdError)
                for payload in request.input_payloads
            ],
            entries=dict(request.metadata),
        )
        return wire.JobsCreateResponse(
            header=ok(), job_id=identifier(job.id), payload_id=identifier(job.payload)
        )

    async def Start(self, request: wire.JobsStartRequest) -> wire.JobsStartResponse:
        job = await self._jobs.start(
            _job_id(request), variables_of([(v.name, v.value) for v in request.Variables])
        )
        return wire.JobsStartResponse(
            header=ok(), state=_state(job), status=_status(job), priority=_priority(job)
        )

    async def Status(self, request: wire.JobsStatusRequest) -> wire.JobsStatusResponse:
        job = await self._jobs.get(_job_id(request))
        return wire.JobsStatusResponse(
            header=ok(),
            job_id=identifier(job.id),
            pipeline_id=identifier(job.pipeline),
            payload_id=identifier(job.payload),
            state=_state(job),
            status=_status(job),
            name=job.name,
            messages=job.messages,
            priority=_priority(job),
            timestamp_created=old_time(job.created),
            timestamp_started=old_time(job.started),
            timestamp_stopped=old_time(job.stopped),
            created=timestamp(job.created),
            started=timestamp(job.started),
            stopped=timestamp(job.stopped),
            operator_details=[
                wire.JobsStatusResponse.JobOperatorDetails(
                    name=operator.name,
                    status=wire.JobOperatorStatus.ValueType(operator.status),
                    created=timestamp(operator.created),
                    started=timestamp(operator.started),
                    stopped=timestamp(operator.stopped),
                )
                for operator in job.operators
            ],
            metadata=job.metadata,
            dag=await self._dag(job),
        )

    async def List(self, request: wire.JobsListRequest) -> AsyncIterator[bytes]:
        empty = True
        jobs = self._jobs.select(_filter(request.filter), _listed, sys.getsizeof)
        async with aclosing(jobs) as messages:
            async for message in messages:
                empty = False
                yield message
        if empty:
            yield wire.JobsListResponse(header=_OK).SerializeToString()

    async def ReadLogs(
        self, request: wire.JobsReadLogsRequest
    ) -> AsyncIterator[wire.JobsReadLogsResponse]:
        """Answers Jobs.ReadLogs. Raises InvalidRequestError if the request names no operator."""
        job = _job_id(request)
        if not request.operator_name:
            raise InvalidRequestError(
                f"the request for a log of the job {job} names no operator; set operator_name"
            )
        lines = await self._jobs.logs(job, request.operator_name)
        batch = await in_thread(_batch, lines)
        while True:
            yield wire.JobsReadLogsResponse(
                header=ok(),
                job_id=identifier(job),
                operator_name=request.operator_name,
                logs=batch,
            )
            batch = await in_thread(_batch, lines)
            if not batch:
                return

    async def Cancel(self, request: wire.JobsCancelRequest) -> wire.JobsCancelResponse:
        job = await self._jobs.cancel(_job_id(request), request.reason)
        return wire.JobsCancelResponse(
            header=ok(), job_id=identifier(job.id), job_state=_state(job), job_status=_status(job)
        )

    async def AddMetadata(
        self, request: wire.JobsAddMetadataRequest
    ) -> wire.JobsAddMetadataResponse:
        job = _job_id(request)
        entries = await self._jobs.add_metadata(job, dict(request.metadata))
        return wire.JobsAddMetadataResponse(header=ok(), job_id=identifier(job), metadata=entries)

    async def RemoveMetadata(
        self, request: wire.JobsRemoveMetadataRequest
    ) -> wire.JobsRemoveMetadataResponse:
        job = _job_id(request)
        entries = await self._jobs.remove_metadata(job, list(request.keys))
        return wire.JobsRemoveMetadataResponse(
            header=ok(), job_id=identifier(job), metadata=entries
        )

    async def _dag(self, job: Job) -> list[wire.JobsStatusResponse.JobDagNode]:
        try:
            return _graph(await self._jobs.graph(job))
        except PipelineLoadError:  # a newer version may refuse what an older one accepted
            return []


def _listed(job: ListedJob) -> bytes:
    """Returns the encoded message of a job. Fields are set in place, which is twice as fast."""
    message = wire.JobsListResponse(header=_OK)
    details = message.job_details
    details.job_id.value = job.id
    details.payload_id.value = job.payload
    details.pipeline_id.value = job.pipeline
    details.job_name = job.name
    details.state = wire.JobState.ValueType(job.state)
    details.status = wire.JobStatus.ValueType(job.status)
    details.priority = wire.JobPriority.ValueType(job.priority)
    details.created.value = int(job.created) + EPOCH
    details.timestamp_created = old_time(job.created)
    if job.started is not None:
        details.started.value = int(job.started) + EPOCH
        details.timestamp_started = old_time(job.started)
    if job.stopped is not None:
        details.stopped.value = int(job.stopped) + EPOCH
        details.timestamp_stopped = old_time(job.stopped)
    if job.metadata:
        details.metadata.update(job.metadata)
    return message.SerializeToString()


class LogsServicer:
    """Implements `claraedge.v1.Logs`: ReadLog."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def ReadLog(self, request: own.ReadLogRequest) -> AsyncIterator[own.ReadLogResponse]:
        """Answers Logs.ReadLog. Raises InvalidRequestError if the request names no operator."""
        job = parse_id(request.job_id, InvalidJobIdError)
        if not request.operator:
            raise InvalidRequestError(
                f"the request for a log of the job {job} names no operator; set operator"
            )
        wanted = LogRequest(
            job=job,
            operator=request.operator,
            attempt=request.attempt,
            follow=request.follow,
            tail=request.tail,
        )
        async with aclosing(self._jobs.read_log(wanted)) as found:
            async for attempt, lines in found:
                rest = iter(lines)
                while batch := _batch(rest):
                    yield own.ReadLogResponse(attempt=attempt, lines=batch)


def _batch(lines: Iterator[str]) -> list[str]:
    batch, size = [], 0
    for line in lines:
        batch.append(line)
        size += len(line) + 8
        if size >= _LOG_CHUNK:
            break
    return batch


def _filter(filter_: wire.JobsListRequest.JobFilter) -> JobFilter | None:
    """Returns what to list; None for an empty filter, which equals no filter on the wire."""
    wanted = JobFilter(
        states=frozenset(filter_.has_state),
        statuses=frozenset(filter_.has_status),
        pipelines=frozenset(
            id_of(i, "pipeline", InvalidPipelineIdError) for i in filter_.pipeline_id
        ),
        created_after=_after(filter_.created_after),
        completed_before=_time(filter_.completed_before),
    )
    return None if wanted == JobFilter() else wanted


def _time(value: common.Timestamp) -> float | None:
    return unix_seconds(value) if value.value else None


def _after(value: common.Timestamp) -> float | None:
    """Returns the end of the second that a time of the wire names, because it has whole seconds.

    Jobs created after the result were created in a later second.
    """
    return math.nextafter(unix_seconds(value) + 1, 0) if value.value else None


def _graph(pipeline: Pipeline) -> list[wire.JobsStatusResponse.JobDagNode]:
    """Returns every operator once, with the operators whose output it reads or that precede it."""
    node = wire.JobsStatusResponse.JobDagNode
    return [
        node(
            name=operator.name,
            input_dependencies=[node(name=name) for name in sorted(operator.sources)],
            order_dependencies=[node(name=name) for name in sorted(operator.order)],
        )
        for operator in pipeline.operators
    ]


def _job_id(
    request: wire.JobsStartRequest
    | wire.JobsStatusRequest
    | wire.JobsReadLogsRequest
    | wire.JobsCancelRequest
    | wire.JobsAddMetadataRequest
    | wire.JobsRemoveMetadataRequest,
) -> str:
    return id_of(request.job_id, "job", InvalidJobIdError)


def _state(job: Job) -> wire.JobState.ValueType:
    return wire.JobState.ValueType(job.state)


def _status(job: Job) -> wire.JobStatus.ValueType:
    return wire.JobStatus.ValueType(job.status)


def _priority(job: Job) -> wire.JobPriority.ValueType:
    return wire.JobPriority.ValueType(job.priority)
