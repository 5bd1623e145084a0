"""Rows of deliveries. Each function runs inside a transaction of its caller."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from claraedge.decoding import decode_json
from claraedge.jobs.model import Job, JobStatus
from claraedge.pipelines.model import Pipeline
from claraedge.pipelines.registration import is_registration
from claraedge.spool.slug import result_folder
from claraedge.store.database import Row, Transaction


class DeliveryState(enum.Enum):
    """The state of a delivery."""

    WAITING = "waiting"
    """The job has not stopped."""
    DUE = "due"
    PARKED = "parked"
    """It failed and will be retried; the reason says why it failed."""
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """A delivery, and the inbox item whose original goes with it."""

    job: str
    folder: str
    outputs: tuple[str, ...]
    item: str | None
    state: DeliveryState
    reason: str
    """Why a parked delivery failed; empty otherwise."""
    path: str | None
    """Folder of the results or of the failure, once it is done."""
    healthy: bool
    """Whether the job ended HEALTHY."""
    keep_original: float | None
    """Days to keep the original; 0: removed once the results are delivered; None: as configured."""
    item_name: bytes | None
    item_folder: str | None
    first_seen: float | None
    """Unix seconds when the inbox first saw the item."""


def add(
    tx: Transaction, job: str, folder: str, outputs: Sequence[str] = (), item: str | None = None
) -> None:
    """Adds a delivery for a job; it becomes due when the job stops.

    `folder` is from `slug.result_folder`; `outputs` are those that a trigger names; `item` is the
    inbox item whose original is delivered with it.
    """
    tx.run(
        "add_delivery",
        job=job,
        folder=folder,
        outputs=msgspec.json.encode(list(outputs)).decode(),
        item=item,
    )


def add_for_job(tx: Transaction, job: Job, pipeline: Pipeline, *, all_jobs: bool) -> None:
    """Adds a delivery for a job that came over the API.

    Without `all_jobs`, only if an operator registers results, which requests their delivery.
    """
    if all_jobs or any(map(is_registration, pipeline.operators)):
        add(tx, job.id, result_folder(pipeline.name, job.name, job.id))


def get(tx: Transaction, job: str) -> DeliveryRecord | None:
    """Returns the delivery of a job, or None if its results are not delivered."""
    row = tx.row("delivery", job=job)
    return None if row is None else _record(row)


def due(tx: Transaction, *, healthy: bool) -> Sequence[DeliveryRecord]:
    """Returns the deliveries of stopped jobs that are not done, in the order of their jobs.

    `healthy`: those of jobs that ended HEALTHY, or else of all other jobs.
    """
    status = int(JobStatus.HEALTHY)
    return [_record(row) for row in tx.rows("deliveries_due", status=status, healthy=healthy)]


def park(tx: Transaction, job: str, reason: str) -> None:
    """Records why a delivery failed; it is retried."""
    tx.run("delivery_parked", job=job, reason=reason)


def done(
    tx: Transaction,
    record: DeliveryRecord,
    path: str,
    now: float,
    failure: str | None,
    *,
    size: int = 0,
    original: str | None = None,
) -> None:
    """Records the end of a delivery, and of its item; `failure`: why the job failed, or None.

    `size`: bytes of the files at `path`. `original`: the folder in which the item is kept, if that
    is not the folder of the failure.
    """
    tx.run("delivery_done", job=record.job, path=path, size=size)
    if record.item is not None:
        if original is not None:
            tx.run("original_kept", id=record.item, path=original)
        tx.run(
            "item_ended",
            id=record.item,
            state="delivered" if failure is None else "failed",
            reason=failure or "",
            path=path,
            now=now,
        )


def _record(row: Row) -> DeliveryRecord:
    return DeliveryRecord(
        job=row["job"],
        folder=row["folder"],
        outputs=decode_json(row["outputs"], tuple[str, ...]),
        item=row["item"],
        state=DeliveryState(row["state"]),
        reason=row["reason"],
        path=row["path"],
        healthy=row["status"] == JobStatus.HEALTHY,
        keep_original=row["keep_originals_days"],
        item_name=None if row["item_name"] is None else bytes(row["item_name"]),
        item_folder=row["item_folder"],
        first_seen=row["first_seen"],
    )
