"""Rows of jobs and operators. Each function runs inside a transaction of its caller."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

import msgspec

from claraedge import metadata
from claraedge.clock import Moment
from claraedge.decoding import decode_json
from claraedge.errors import InvalidJobNameError, JobNotFoundError
from claraedge.jobs.model import (
    Job,
    JobState,
    JobStatus,
    OperatorRecord,
    OperatorStatus,
    Priority,
    Unstarted,
)
from claraedge.jobs.runtime import RunTime
from claraedge.payloads import records as payloads
from claraedge.payloads.model import PayloadFile, PayloadType
from claraedge.pipelines.model import Operator, Pipeline, decode, encode
from claraedge.registry.pipelines import Registered
from claraedge.store.database import Row, Transaction

MAX_NAME = 255
#: Unicode categories of control, format, surrogate and private-use characters. Not Cn: a code point
#: that this Python's Unicode version does not know may be a printable character.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co"})


def check_name(name: str) -> str:
    """Returns the name. Raises InvalidJobNameError if it breaks the rule for job names."""
    printable = not any(unicodedata.category(c) in _UNPRINTABLE for c in name)
    if not name or not printable or len(name) > MAX_NAME or len(name.encode()) > MAX_NAME:
        shown = repr(name if len(name) <= 40 else name[:37] + "...")
        raise InvalidJobNameError(
            f"{shown} is no name for a job: it needs 1 to {MAX_NAME} printable characters,"
            f" at most {MAX_NAME} bytes of UTF-8"
        )
    return name


def add(
    tx: Transaction,
    *,
    job: str,
    payload: str,
    name: str,
    pipeline: Registered,
    checked: Pipeline,
    priority: Priority,
    entries: Mapping[str, str],
    now: float,
) -> None:
    """Adds a job that is not started, with its payload; `checked` names its operators."""
    payloads.add(tx, payload, PayloadType.PIPELINE, now)
    tx.run(
        "add_job",
        id=job,
        name=name,
        pipeline=pipeline.id,
        pipeline_name=pipeline.name,
        payload=payload,
        definition=pipeline.definition,
        priority=int(priority),
        created=now,
    )
    metadata.add(tx, job, entries)
    _add_operators(tx, job, checked, now)


def start(tx: Transaction, job: Job, pipeline: Pipeline, variables: Mapping[str, str]) -> None:
    """Queues a job that was added before, with the operators that its variables lead to."""
    tx.run("drop_operators", job=job.id)
    _add_operators(tx, job.id, pipeline, job.created)
    queue(tx, job.id, job.payload, pipeline, variables)


def queue(
    tx: Transaction, job: str, payload: str, pipeline: Pipeline, variables: Mapping[str, str]
) -> None:
    """Queues a job: stores its resolved definition, seals its payload, assigns its position."""
    tx.run(
        "queue_job",
        id=job,
        snapshot=encode(pipeline),
        variables=msgspec.json.encode(dict(variables)).decode(),
    )
    tx.run("seal_payload", id=payload)


def fill_operator(tx: Transaction, job: str, operator: Operator) -> None:
    """Replaces an operator in a job's snapshot by the form that its image's manifest completes."""
    snapshot = get(tx, job).snapshot
    assert snapshot is not None, "a started job has its snapshot"
    tx.run("job_snapshot", id=job, snapshot=encode(decode(snapshot).with_operator(operator)))


def get(tx: Transaction, job: str) -> Job:
    """Returns the complete job. Raises JobNotFoundError."""
    return read(tx, _row(tx, job))


def _row(tx: Transaction, job: str) -> Row:
    row = tx.row("job", id=job)
    if row is None:
        raise JobNotFoundError(
            f"there is no job {job}; `claraedge list jobs` shows those there are"
        )
    return row


def read(tx: Transaction, row: Row) -> Job:
    """Returns the complete job of a row."""
    return Job(
        id=row["id"],
        name=row["name"],
        pipeline=row["pipeline"],
        pipeline_name=row["pipeline_name"],
        payload=row["payload"],
        definition=row["definition"],
        snapshot=row["snapshot"],
        variables=None
        if row["variables"] is None
        else decode_json(row["variables"], dict[str, str]),
        state=JobState(row["state"]),
        status=JobStatus(row["status"]),
        priority=Priority(row["priority"]),
        queue_position=row["queue_position"],
        cancel_reason=row["cancel_reason"],
        ending=_ending(row),
        created=row["created"],
        started=row["started"],
        stopped=row["stopped"],
        run_time=RunTime(counted=row["ran"], since=row["ran_since"]),
        operators=tuple(_operator(r) for r in tx.rows("operators", job=row["id"])),
        messages=tuple(r["text"] for r in tx.rows("job_messages", job=row["id"])),
        metadata=metadata.read(tx, row["id"]),
    )


def say(tx: Transaction, job: str, now: float, text: str) -> None:
    """Adds a message to the job; clients see it in the job's status."""
    tx.run("add_job_message", job=job, time=now, text=text)


def stop(tx: Transaction, job: str, status: JobStatus, now: float) -> None:
    """Records the end of a job; its pending delivery becomes due in the same transaction."""
    tx.run("job_stopped", id=job, status=int(status), now=now)
    tx.run("delivery_due", job=job)
    row = tx.row("job", id=job)
    assert row is not None
    tx.run("seal_payload", id=row["payload"])


def end_job(tx: Transaction, job: str, status: JobStatus, text: str, now: float) -> None:
    """Records how a job is to end, unless that is decided already; its operators end next.

    Raises JobNotFoundError.
    """
    row = _row(tx, job)
    if _ending(row) is None and JobState(row["state"]) is not JobState.STOPPED:
        tx.run("job_ending", id=job, status=int(status))
        say(tx, job, now, text)


def run_operator(
    tx: Transaction,
    job: str,
    operator: str,
    *,
    attempt: int,
    image: str | None,
    container: str | None,
    boot: str,
    at: Moment,
) -> float | None:
    """Records an attempt as running, just before its container is started.

    Returns the seconds from the Start of the job, if this is its first attempt.
    """
    first = tx.run("job_running", id=job, now=at.now) > 0
    tx.run("operator_attempt", job=job, name=operator, attempt=attempt, image=image)
    tx.run(
        "operator_running",
        job=job,
        name=operator,
        container=container,
        boot=boot,
        now=at.now,
        elapsed=at.elapsed,
    )
    tx.run("job_ran", job=job, elapsed=at.elapsed)
    queued = tx.row("job_queued", job=job) if first else None
    return None if queued is None else max(0.0, at.now - queued["time"])


def complete(
    tx: Transaction,
    job: Job,
    operator: str,
    exit_code: int | None,
    produced: Sequence[PayloadFile],
    at: Moment,
) -> None:
    """Records an operator's success together with the files that it wrote.

    `exit_code` None: no process ran. Raises FileCollisionError if a name would be a file and a
    folder.
    """
    payloads.put_files(tx, job.payload, produced)
    end_operator(tx, job.id, operator, OperatorStatus.COMPLETED, exit_code, at)


def end_operator(
    tx: Transaction,
    job: str,
    operator: str,
    status: OperatorStatus,
    exit_code: int | None,
    at: Moment,
) -> None:
    """Records the end of an operator."""
    tx.run(
        "operator_ended",
        job=job,
        name=operator,
        status=int(status),
        exit_code=exit_code,
        now=at.now,
    )
    tx.run("job_ran", job=job, elapsed=at.elapsed)


def fault_operator(
    tx: Transaction,
    job: str,
    operator: str,
    exit_code: int | None,
    at: Moment,
    *,
    ending: JobStatus,
) -> None:
    """Records an operator's failure, and how its job ends unless that is decided already."""
    end_operator(tx, job, operator, OperatorStatus.FAULTED, exit_code, at)
    if _ending(_row(tx, job)) is None:
        tx.run("job_ending", id=job, status=int(ending))


def retry_operator(
    tx: Transaction, job: str, operator: str, exit_code: int | None, not_before: float, at: Moment
) -> None:
    """Records a failed attempt that is retried, not before `not_before` (Unix seconds)."""
    tx.run("operator_retry", job=job, name=operator, exit_code=exit_code, not_before=not_before)
    tx.run("job_ran", job=job, elapsed=at.elapsed)


def interrupt_operator(tx: Transaction, job: str, operator: str, at: Moment) -> None:
    """Records that the machine ended an attempt; the operator is run again."""
    tx.run("operator_interrupted", job=job, name=operator)
    tx.run("job_ran", job=job, elapsed=at.elapsed)


def undo_operator(tx: Transaction, job: str, operator: str, at: Moment) -> None:
    """Undoes an attempt that was recorded as running but was never started."""
    tx.run("operator_again", job=job, name=operator)
    tx.run("job_ran", job=job, elapsed=at.elapsed)


def pause(tx: Transaction, job: str, elapsed: float) -> None:
    """Ends a job's run time at `elapsed` (BOOTTIME, seconds), despite operators in RUNNING."""
    tx.run("job_paused", job=job, elapsed=elapsed)


def unstarted(tx: Transaction) -> list[Unstarted]:
    """Returns the jobs that were not started, in the order of their creation."""
    return [
        Unstarted(id=row["id"], payload=row["payload"], created=row["created"])
        for row in tx.rows("unstarted_jobs")
    ]


def forget_unstarted(tx: Transaction, job: Unstarted, now: float) -> bool:
    """Removes a job and its payload without a trace. Returns False if the job was started."""
    current = tx.row("job", id=job.id)
    if current is None or current["queue_position"] is not None or current["state"] != 1:
        return False
    payloads.delete(tx, job.payload, now)
    _forget(tx, job.id, job.payload)
    return True


def forget_stopped(tx: Transaction, job: str) -> bool:
    """Removes all rows of a stopped job.

    Returns False, and removes nothing, if its payload still exists or its delivery is not done.
    """
    row = tx.row("stopped_job", job=job)
    if row is None or row["deleted"] is None or row["delivery"] not in (None, "done"):
        return False
    tx.run("forget_delivery", job=job)
    tx.run("forget_item", job=job)
    tx.run("forget_artifacts", job=job)
    _forget(tx, job, row["payload"])
    return True


def _forget(tx: Transaction, job: str, payload: str) -> None:
    tx.run("drop_operators", job=job)
    tx.run("forget_messages", job=job)
    tx.run("forget_job_log", job=job)
    metadata.forget(tx, job)
    tx.run("forget_job", id=job)
    tx.run("forget_payload", payload=payload)


def _add_operators(tx: Transaction, job: str, pipeline: Pipeline, now: float) -> None:
    for position, operator in enumerate(pipeline.operators):
        tx.run("add_operator", job=job, position=position, name=operator.name, created=now)


def _ending(row: Row) -> JobStatus | None:
    if row["ending"] is not None:
        return JobStatus(row["ending"])
    return None if row["cancel_reason"] is None else JobStatus.CANCELED


def _operator(row: Row) -> OperatorRecord:
    return OperatorRecord(
        name=row["name"],
        status=OperatorStatus(row["status"]),
        attempt=row["attempt"],
        interruptions=row["interruptions"],
        image=row["image"],
        container=row["container"],
        exit_code=row["exit_code"],
        boot=row["boot"],
        began=row["began"],
        retries=row["retries"],
        not_before=row["not_before"],
        created=row["created"],
        started=row["started"],
        stopped=row["stopped"],
    )
