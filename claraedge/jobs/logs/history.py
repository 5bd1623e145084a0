"""A job's own log: one line for each thing that happened to it, while it runs as well."""

from __future__ import annotations

from collections.abc import Iterable

from claraedge.clock import rfc3339
from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.store.database import Row

#: Where a log of an operator of this name is asked for, and the job has none. The second is that of
#: the original. Source: Clara 0.8.1, Jobs ReadLogs.
NAMES = ("claraedge-engine", "clara-pod-manager")


def lines(rows: Iterable[Row]) -> list[str]:
    """The rows of a job's log as lines: `RFC 3339 time`, a space, what happened.

    A message of several lines becomes as many, each with the time.
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
