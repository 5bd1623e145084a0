"""Calls of the Jobs service.

Every call also raises what the methods of `Connection` raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from claraedge.client.connection import HEADER, Connection
from claraedge.client.prefix import by_prefix, full_id
from claraedge.client.values import JobDetails, JobInfo, JobOperator, JobWait, moment
from claraedge.errors import InvalidJobIdError, JobNotFoundError, NotSupportedError
from claraedge.wire.claraedge.v1 import appliance_pb2 as own
from claraedge.wire.claraedge.v1.appliance_pb2_grpc import QueueStub
from claraedge.wire.claraedge.v1.logs_pb2 import ReadLogRequest
from claraedge.wire.claraedge.v1.logs_pb2_grpc import LogsStub
from claraedge.wire.nvidia.clara.platform import jobs_pb2 as pb
from claraedge.wire.nvidia.clara.platform.common_pb2 import Identifier
from claraedge.wire.nvidia.clara.platform.jobs_pb2_grpc import JobsStub

_STATES = (pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING, pb.JOB_STATE_STOPPED)


def create(
    connection: Connection,
    pipeline_id: str,
    name: str,
    priority: str = "NORMAL",
    *,
    metadata: Mapping[str, str] | None = None,
    inputs: Sequence[str] = (),
) -> tuple[str, str]:
    """Creates a job that waits for its start; returns its job id and payload id.

    `inputs` are ids of reusable payloads, whose files are copied into the job in this order.
    """
    reply = connection.unary(
        JobsStub(connection.channel).Create,
        pb.JobsCreateRequest(
            header=HEADER,
            pipeline_id=Identifier(value=pipeline_id),
            name=name,
            priority=pb.JobPriority.Value(f"JOB_PRIORITY_{priority}"),
            metadata=metadata or {},
            input_payloads=[Identifier(value=payload) for payload in inputs],
        ),
    )
    return reply.job_id.value, reply.payload_id.value


def start(connection: Connection, job_id: str, variables: Mapping[str, str]) -> tuple[str, str]:
    """Queues a job; returns its state and status."""
    named = [pb.JobsStartRequest.NamedValue(name=n, value=v) for n, v in variables.items()]
    reply = connection.unary(
        JobsStub(connection.channel).Start,
        pb.JobsStartRequest(header=HEADER, job_id=Identifier(value=job_id), Variables=named),
    )
    return state_name(reply.state), status_name(reply.status)


def cancel(connection: Connection, job_id: str, reason: str) -> tuple[str, str]:
    """Cancels a job; returns its new state and status. A job that has ended keeps its own."""
    reply = connection.unary(
        JobsStub(connection.channel).Cancel,
        pb.JobsCancelRequest(header=HEADER, job_id=Identifier(value=job_id), reason=reason),
    )
    return state_name(reply.job_state), status_name(reply.job_status)


def change_metadata(
    connection: Connection, job_id: str, add: Mapping[str, str], remove: Sequence[str]
) -> dict[str, str]:
    """Removes keys, then adds entries; returns the complete set."""
    stub, job = JobsStub(connection.channel), Identifier(value=job_id)
    removed = connection.unary(
        stub.RemoveMetadata, pb.JobsRemoveMetadataRequest(header=HEADER, job_id=job, keys=remove)
    )
    if not add:
        return dict(removed.metadata)
    added = connection.unary(
        stub.AddMetadata, pb.JobsAddMetadataRequest(header=HEADER, job_id=job, metadata=add)
    )
    return dict(added.metadata)


def list_all(connection: Connection) -> list[JobInfo]:
    """Returns all jobs, the newest first."""
    only = pb.JobsListRequest.JobFilter(has_state=_STATES)
    replies = connection.stream(
        JobsStub(connection.channel).List, pb.JobsListRequest(header=HEADER, filter=only)
    )
    found = [
        JobInfo(
            id=job.job_id.value,
            name=job.job_name,
            pipeline_id=job.pipeline_id.value,
            payload_id=job.payload_id.value,
            state=state_name(job.state),
            status=status_name(job.status),
            priority=priority_name(job.priority),
            created=moment(job.created),
            started=moment(job.started),
            stopped=moment(job.stopped),
            metadata=dict(job.metadata),
        )
        for job in (reply.job_details for reply in replies)
        if job.job_id.value
    ]
    return found[::-1]  # the service sends them in the order of creation


def status(connection: Connection, job_id: str, timeout: float = 30.0) -> JobDetails:
    """Returns all details of one job, without its waits. `timeout` is in seconds."""
    reply = connection.unary(
        JobsStub(connection.channel).Status,
        pb.JobsStatusRequest(header=HEADER, job_id=Identifier(value=job_id)),
        timeout,
    )
    return JobDetails(
        id=reply.job_id.value,
        name=reply.name,
        pipeline_id=reply.pipeline_id.value,
        payload_id=reply.payload_id.value,
        state=state_name(reply.state),
        status=status_name(reply.status),
        priority=priority_name(reply.priority),
        created=moment(reply.created),
        started=moment(reply.started),
        stopped=moment(reply.stopped),
        metadata=dict(reply.metadata),
        messages=tuple(reply.messages),
        operators=tuple(
            JobOperator(
                name=operator.name,
                status=_name(pb.JobOperatorStatus.items(), "JOB_OPERATOR_STATUS_", operator.status),
                created=moment(operator.created),
                started=moment(operator.started),
                stopped=moment(operator.stopped),
            )
            for operator in reply.operator_details
        ),
    )


def described(connection: Connection, job_id: str, timeout: float = 30.0) -> JobDetails:
    """Returns all details of one job, including what it waits for. `timeout` is in seconds."""
    job = status(connection, job_id, timeout)
    if job.ended:
        return job
    return msgspec.structs.replace(job, waits=waits(connection, job_id, timeout))


def waits(connection: Connection, job_id: str, timeout: float = 30.0) -> tuple[JobWait, ...]:
    """Returns what a job and its operators wait for; empty if the daemon is too old to say.

    `timeout` is in seconds.
    """
    try:
        reply = connection.unary(
            QueueStub(connection.channel).Explain, own.ExplainRequest(job_id=job_id), timeout
        )
    except NotSupportedError:
        return ()
    return tuple(
        JobWait(operator=wait.operator, text=wait.text, upstream=tuple(wait.upstream))
        for wait in reply.waits
    )


def read_logs(connection: Connection, job_id: str, operator: str) -> Iterator[str]:
    """Yields the output of an operator so far, in lines with their line ends."""
    request = pb.JobsReadLogsRequest(
        header=HEADER, job_id=Identifier(value=job_id), operator_name=operator
    )
    for reply in connection.stream(JobsStub(connection.channel).ReadLogs, request):
        yield from reply.logs


def read_attempts(
    connection: Connection,
    job_id: str,
    operator: str,
    *,
    attempt: int = 0,
    follow: bool = False,
    tail: int = 0,
) -> Iterator[tuple[int, str]]:
    """Yields the lines of an operator's log with their ends, each with the attempt that printed it.

    `attempt` 0 means the last one. With `follow` it waits for more until the operator, or the given
    attempt, has ended. `tail` selects so many of the last lines; 0 means all. Raises
    NotSupportedError if the daemon is too old.
    """
    request = ReadLogRequest(
        job_id=job_id, operator=operator, attempt=attempt, follow=follow, tail=tail
    )
    for reply in connection.stream(LogsStub(connection.channel).ReadLog, request):
        for line in reply.lines:
            yield reply.attempt, line


def resolve(connection: Connection, text: str) -> str:
    """Returns the id that `text` means: a full id or a unique prefix.

    Raises InvalidJobIdError and JobNotFoundError.
    """
    return full_id(text) or by_prefix(
        text,
        [(job.id, job.name) for job in list_all(connection)],
        noun="job",
        invalid=InvalidJobIdError,
        missing=JobNotFoundError,
        see="claraedge list jobs",
    )


def state_name(number: int) -> str:
    return _name(pb.JobState.items(), "JOB_STATE_", number)


def status_name(number: int) -> str:
    return _name(pb.JobStatus.items(), "JOB_STATUS_", number)


def priority_name(number: int) -> str:
    return _name(pb.JobPriority.items(), "JOB_PRIORITY_", number)


def _name(values: Iterable[tuple[str, int]], prefix: str, number: int) -> str:
    """Returns the name of an enum value; an unknown one (of a newer daemon) as its number."""
    return next((n.removeprefix(prefix) for n, v in values if v == number), str(number))
