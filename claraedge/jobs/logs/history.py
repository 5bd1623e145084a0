"""A job's own log: one line for each event of the job, readable while it runs."""

from __future__ import annotations

from collections.abc import Iterable

from claraedge.clock import rfc3339
from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.store.database import Row

#: Operator names that select the job's own log, unless the job has an operator of that name. The
#: second is the original's. Source: Clara 0.8.1, Jobs ReadLogs.
NAMES = ("claraedge-engine", "clara-pod-manager")


def lines(rows: Iterable[Row]) -> list[str]:
    """Returns the rows of a job's log as lines: a time as in RFC 3339, a space, the event.

    A message of several lines becomes several lines, each with the time.
    """
    return [
        f"{rfc3339(row['time'])} {line}\n"
        for row in rows
        for line in _text(row).splitlines() or [""]
    ]


def _text(row: Row) -> str:
    match row["what"]:
        case "created":
            return f"job created, of the pipeline {row['text']}"
        case "queued":
            return "job queued"
        case "started":
            return "job started"
        case "canceling":
            return f"cancel asked for: {row['text'] or 'no reason given'}"
        case "stopped":
            return f"job stopped: {JobStatus(row['number']).name}"
        case "operator":
            return f"operator {row['operator']} {_operator(row)}"
    return str(row["text"])


def _operator(row: Row) -> str:
    status = OperatorStatus(row["number"])
    if status is OperatorStatus.RUNNING:
        return f"started, attempt {row['attempt']}"
    if status is OperatorStatus.PENDING:
        return "waits to be started again"
    code = "" if row["exit_code"] is None else f", exit code {row['exit_code']}"
    return f"ended: {status.name}{code}"
