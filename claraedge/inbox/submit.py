"""Makes a job of a secured item: its payload on the disk, then all rows in one transaction."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.blocking import CancelFlag
from claraedge.delivery import records as deliveries
from claraedge.delivery.slug import result_folder
from claraedge.delivery.trees import walk
from claraedge.errors import InvalidRequestError
from claraedge.inbox import records
from claraedge.inbox.model import Claimed
from claraedge.jobs import records as jobs
from claraedge.jobs.model import Priority
from claraedge.metadata import MAX_VALUE_CHARACTERS
from claraedge.payloads import records as payloads
from claraedge.payloads.model import PayloadFile, stored_mode
from claraedge.payloads.names import normalise
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.model import Pipeline
from claraedge.registry.pipelines import find
from claraedge.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The pipeline that an item's job will run, read before the transaction."""

    definition: str
    """Digest: the pipeline may be changed meanwhile."""
    pipeline: Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An item that needs no more than its rows."""

    item: Claimed
    job: str
    files: Sequence[PayloadFile]
    resolved: Resolved


class PipelineChangedError(InvalidRequestError):
    """The pipeline was removed, or changed since it was resolved: resolve it again."""

    name = "pipeline-changed"


def job_name(text: str) -> str:
    """A name that a job may have, near to the item's: printable, cut where it is too long."""
    printable = "".join("_" if unicodedata.category(c)[0] == "C" else c for c in text)
    return printable.encode()[: jobs.MAX_NAME].decode("utf-8", "ignore")


def fill_payload(
    flag: CancelFlag, item: Claimed, path: Path, tree: PayloadTree
) -> list[PayloadFile]:
    """The item's files as blobs of its payload, durable. Blocking; may be repeated.

    The payload has the id of the item, so that what a crash left of an earlier try is found.
    """
    tree.make(item.id)
    tree.sweep(item.id, ())
    filled = []
    for entry in walk(path):
        flag.check()
        if not entry.is_file:
            continue
        source = path / os.fsdecode(entry.path) if entry.path else path
        mode = stored_mode(entry.status.st_mode & 0o777)
        filled.append(
            PayloadFile(
                name=normalise("input/" + (entry.path or entry.name).decode()),
                size=entry.status.st_size,
                mode=mode,
                blob=tree.adopt(item.id, source, mode=mode, keep=True),
            )
        )
    tree.sync_blobs(item.id)
    return filled


def submit(tx: Transaction, prepared: Prepared, now: float) -> None:
    """Payload, files, queued job, delivery and the item's state: all, or nothing.

    Raises PipelineChangedError. An item that is a job already is left as it is.
    """
    item, pipeline = prepared.item, prepared.resolved.pipeline
    registered = find(tx, item.pipeline)
    if registered is None or registered.definition != prepared.resolved.definition:
        raise PipelineChangedError(f"the pipeline {item.pipeline} was changed or removed")
    state = records.state(tx, item.id)
    if state is None or state.value not in ("claimed", "parked"):
        return
    jobs.add(
        tx,
        job=prepared.job,
        payload=item.id,
        name=jobs.check_name(job_name(item.text)),
        pipeline=registered,
        checked=pipeline,
        priority=Priority.NORMAL,
        entries={"Source": "inbox", "Item": item.text[:MAX_VALUE_CHARACTERS]},
        now=now,
    )
    payloads.put_files(tx, item.id, prepared.files)
    jobs.queue(tx, jobs.get(tx, prepared.job), pipeline, {})
    folder = result_folder(registered.name, item.text, prepared.job)
    deliveries.add(tx, prepared.job, folder, item.deliver, item.id)
    records.submit(tx, item.id, prepared.job, now)
