"""Runs an operator that registers results: the daemon does this work itself, in one commit."""

from __future__ import annotations

from dataclasses import replace

from claraedge.blocking import in_thread
from claraedge.clock import moment, rfc3339
from claraedge.fs import files
from claraedge.jobs import records
from claraedge.jobs.model import Job, OperatorRecord, OperatorStatus
from claraedge.jobs.observing import AttemptResult
from claraedge.jobs.operators.container import make_output_folders
from claraedge.jobs.operators.machine import Machine
from claraedge.pipelines import contract, registration
from claraedge.pipelines.model import Operator
from claraedge.store.database import Transaction


async def register(
    machine: Machine, job: Job, operator: Operator, record: OperatorRecord
) -> OperatorRecord:
    """Completes the operator; returns its record.

    Its inputs are delivered with its job's results (`delivery.plan`), and `result.json` lists what
    it registers. Steps before the commit may be repeated after a crash.
    """
    name, attempt = record.name, record.attempt + 1
    variables = contract.environment(operator, job_id=job.id, job_name=job.name)
    registered = registration.registration(operator, variables)
    assert registered is not None, "its image was inspected"
    text = registration.summary(operator, registered)
    # Operators that read an output of it find an empty folder.
    folder = machine.payloads.tree.attempt(job.payload, name, attempt)
    await in_thread(files.sync_folders, await in_thread(make_output_folders, folder, operator))
    at = moment(machine.clock)
    now = at.now
    log = await in_thread(machine.logs.prepare, job.id, name, attempt)
    line = f"{rfc3339(now)} stdout F {text}\n"
    await in_thread(files.replace, log, line.encode("utf-8", "backslashreplace"))

    def work(tx: Transaction) -> float | None:
        waited = records.run_operator(
            tx,
            job.id,
            name,
            attempt=attempt,
            image=None,
            container=None,
            boot=machine.boot,
            at=at,
        )
        records.complete(tx, job, name, None, (), at)
        records.say(tx, job.id, now, f"operator {name}: {text}")
        return waited

    waited = await machine.database.write(work)
    if waited is not None:
        machine.observer.job_began(waited)
    machine.observer.attempt_ended(AttemptResult.COMPLETED, None)
    return replace(
        record, status=OperatorStatus.COMPLETED, attempt=attempt, started=now, stopped=now
    )
