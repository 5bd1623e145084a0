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
#: Controls, formats, surrogates, private use. Not Cn:
#: what this Python's Unicode does not know yet may be a character all the same.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co"})


def check_name(name: str) -> str:
    """The name, if it keeps the rule; else InvalidJobNameError with the rule."""
    printable = not any(unicodedata.category(c) in _UNPRINTABLE for c in name)
    if not name or not printable or len(name) > MAX_NAME or len(name.encode()) > MAX_NAME:
        shown = repr(name if len(name) <= 40 else name[:37] + "...")
        raise InvalidJobNameError(
            f"{shown} is no name for a job: it takes 1 to {MAX_NAME} printable characters,"
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
    """A new job with its payload, never started; `checked` names the operators it will have."""
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


def queue(tx: Transaction, job: Job, pipeline: Pipeline, variables: Mapping[str, str]) -> None:
    """Starts a job: its definition is resolved for good, its payload sealed, its place taken."""
    tx.run("drop_operators", job=job.id)
    _add_operators(tx, job.id, pipeline, job.created)
    tx.run(
        "queue_job",
        id=job.id,
        snapshot=encode(pipeline),
        variables=msgspec.json.encode(dict(variables)).decode(),
    )
    tx.run("seal_payload", id=job.payload)


def fill_operator(tx: Transaction, job: str, operator: Operator) -> None:
    """Puts an operator into a job's snapshot that says more than the one of its name there."""
    snapshot = get(tx, job).snapshot
    assert snapshot is not None, "a started job has its snapshot"
    tx.run("job_snapshot", id=job, snapshot=encode(decode(snapshot).with_operator(operator)))


def get(tx: Transaction, job: str) -> Job:
    """The job, whole. Raises JobNotFoundError."""
    return read(tx, _row(tx, job))


def _row(tx: Transaction, job: str) -> Row:
    row = tx.row("job", id=job)
    if row is None:
        raise JobNotFoundError(
            f"there is no job {job}; `claraedge list jobs` shows those there are"
        )
    return row


def read(tx: Transaction, row: Row, *, whole: bool = True) -> Job:
    """A job of its row, with metadata, and where `whole` with all that may be large beside it:
    snapshot, variables, operators, messages.
    """
    return Job(
        id=row["id"],
        name=row["name"],
        pipeline=row["pipeline"],
        pipeline_name=row["pipeline_name"],
        payload=row["payload"],
        definition=row["definition"],
        snapshot=row["snapshot"] if whole else None,
        variables=None
        if row["variables"] is None or not whole
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
        operators=tuple(_operator(r) for r in tx.rows("operators", job=row["id"])) if whole else (),
        messages=tuple(r["text"] for r in tx.rows("job_messages", job=row["id"])) if whole else (),
        metadata=metadata.read(tx, row["id"]),
    )


def say(tx: Transaction, job: str, now: float, text: str) -> None:
    """Adds a message to the job, which clients see in its status."""
    tx.run("add_job_message", job=job, time=now, text=text)


def stop(tx: Transaction, job: str, status: JobStatus, now: float) -> None:
    """The end of a job; a delivery that waits for it becomes due in the same transaction."""
    tx.run("job_stopped", id=job, status=int(status), now=now)
    tx.run("delivery_due", job=job)
    row = tx.row("job", id=job)
    assert row is not None
    tx.run("seal_payload", id=row["payload"])


def end_job(tx: Transaction, job: str, status: JobStatus, text: str, now: float) -> None:
    """Decides how a job is to end, where that was not decided before; its operators end next."""
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
) -> None:
    """An attempt that is about to be started."""
    tx.run("job_running", id=job, now=at.now)
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


def complete(
    tx: Transaction,
    job: Job,
    operator: str,
    exit_code: int | None,
    produced: Sequence[PayloadFile],
    at: Moment,
) -> None:
    """An operator's success, and with it the files that it wrote. No code: no process ran."""
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
    """The end of an operator."""
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
    """An operator's failure, and with it how its job ends, where that was not decided before."""
    end_operator(tx, job, operator, OperatorStatus.FAULTED, exit_code, at)
    if _ending(_row(tx, job)) is None:
        tx.run("job_ending", id=job, status=int(ending))


def retry_operator(
    tx: Transaction, job: str, operator: str, exit_code: int | None, not_before: float, at: Moment
) -> None:
    """A failed attempt that is followed by one more."""
    tx.run("operator_retry", job=job, name=operator, exit_code=exit_code, not_before=not_before)
    tx.run("job_ran", job=job, elapsed=at.elapsed)


def interrupt_operator(tx: Transaction, job: str, operator: str, at: Moment) -> None:
    """An attempt that the machine ended; it is run again."""
    tx.run("operator_interrupted", job=job, name=operator)
    tx.run("job_ran", job=job, elapsed=at.elapsed)


def undo_operator(tx: Transaction, job: str, operator: str, at: Moment) -> None:
    """An attempt that was recorded as running and never started."""
    tx.run("operator_again", job=job, name=operator)
    tx.run("job_ran", job=job, elapsed=at.elapsed)


def pause(tx: Transaction, job: str, elapsed: float) -> None:
    """Nothing of a job has run since then, although its operators are recorded as running."""
    tx.run("job_paused", job=job, elapsed=elapsed)


def unstarted(tx: Transaction) -> list[Unstarted]:
    """The jobs that wait for their start, in the order of their creation."""
    return [
        Unstarted(id=row["id"], payload=row["payload"], created=row["created"])
        for row in tx.rows("unstarted_jobs")
    ]


def forget_unstarted(tx: Transaction, job: Unstarted, now: float) -> bool:
    """Removes a job with its payload, as if it had never been; False where it was started."""
    current = tx.row("job", id=job.id)
    if current is None or current["queue_position"] is not None or current["state"] != 1:
        return False
    payloads.delete(tx, job.payload, now)
    _forget(tx, job.id, job.payload)
    return True


def forget_stopped(tx: Transaction, job: str) -> bool:
    """Removes all rows of a stopped job; False where its payload is there, or undelivered."""
    row = tx.row("stopped_job", job=job)
    if row is None or row["deleted"] is None or row["delivery"] not in (None, "done"):
        return False
    tx.run("forget_delivery", job=job)
    tx.run("forget_item", job=job)
    tx.run("forget_leaving", job=job)
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
