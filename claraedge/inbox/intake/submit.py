"""Makes a job of a secured item: its payload on the disk, then all rows in one transaction."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claraedge.blocking import CancelFlag
from claraedge.delivery import records as deliveries
from claraedge.errors import InvalidRequestError
from claraedge.formats.filenames import Names
from claraedge.fs import files
from claraedge.fs.hashing import digest
from claraedge.inbox import records
from claraedge.inbox.intake.claim import Secured, missing_members
from claraedge.inbox.intake.results import Duplicated, Later, Submitted
from claraedge.inbox.intake.unsynced import Unsynced
from claraedge.inbox.model import Claimed, ItemState
from claraedge.jobs import records as jobs
from claraedge.metadata import MAX_VALUE_CHARACTERS
from claraedge.payloads import records as payloads
from claraedge.payloads.model import PayloadFile, stored_mode
from claraedge.payloads.names import normalise
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.model import Pipeline
from claraedge.registry.pipelines import Registered, find
from claraedge.spool.slug import result_folder
from claraedge.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The pipeline that an item's job will run, read before the transaction."""

    definition: str
    """Its digest, to detect that the pipeline was changed meanwhile."""
    pipeline: Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """An item whose payload is on the disk."""

    files: Sequence[PayloadFile]
    incomplete: str = ""
    """Which members of its group were removed while it was claimed; empty: none."""
    digest: str
    """SHA-256 of a file, or of the names and digests of all files of a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An item for which only the rows of its job are missing."""

    item: Claimed
    job: str
    filled: Filled
    resolved: Resolved

    @property
    def work(self) -> str:
        """A digest that is equal for items whose jobs would do the same work."""
        parameters = json.dumps(dict(self.item.options.parameters), sort_keys=True)
        parts = (self.resolved.definition, self.filled.digest, parameters)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class PipelineChangedError(InvalidRequestError):
    """The pipeline was removed, or changed since it was resolved: resolve it again."""

    name = "pipeline-changed"


def job_name(text: str) -> str:
    """Returns a valid name of a job for an item's name: printable, cut where it is too long."""
    printable = "".join("_" if unicodedata.category(c)[0] == "C" else c for c in text)
    return printable.encode()[: jobs.MAX_NAME].decode("utf-8", "ignore")


def fill_payload(
    flag: CancelFlag,
    item: Claimed,
    secured: Secured,
    tree: PayloadTree,
    unsynced: Unsynced,
    names: Names,
) -> Filled:
    """Stores the item's files as blobs of its payload. Blocking; may be repeated.

    Files that programs left among them are no input. The payload is durable once what is noted in
    `unsynced` is. It has the id of the item, so that parts of an earlier try are found after a
    crash.
    """
    blobs = tree.folder(item.id) / "blobs"
    files.new_folders(blobs.parent)
    if not files.new_folders(blobs):
        tree.sweep(item.id, ())
    unsynced.add(blobs, blobs.parent, tree.payloads)
    left_out = item.members[-1:] if item.options.marker else ()
    filled: list[PayloadFile] = []
    digests: dict[bytes, str] = {}
    path = secured.path
    for entry in secured.survey.listing:
        flag.check()
        if not entry.is_file or entry.path in left_out:
            continue
        # Only a part of a broken transfer, which a whole file replaced, can be unfinished here.
        if entry.path and any(map(names.find, entry.path.split(b"/"))):
            continue
        source = path / os.fsdecode(entry.path) if entry.path else path
        mode = stored_mode(entry.mode & 0o777)
        hashed = digest(source, flag)
        digests[entry.path] = hashed.identity
        filled.append(
            PayloadFile(
                name=normalise("input/" + (entry.path or item.name).decode()),
                size=entry.size,
                mode=mode,
                blob=tree.adopt(item.id, source, mode=mode, keep=True),
                sha256=hashed.sha256,
            )
        )
    return Filled(
        files=filled, incomplete=missing_members(item, path), digest=_digest(item, digests)
    )


def _digest(item: Claimed, digests: Mapping[bytes, str]) -> str:
    """Returns the digest of an item's content, without its name and the names of group members."""
    if not item.members:
        if b"" in digests:
            return digests[b""]
        parts = [f"{one} ".encode() + path + b"\0" for path, one in sorted(digests.items())]
    else:
        parts = [one.encode() for one in sorted(digests.values())]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def submit_all(
    tx: Transaction, prepared: Sequence[Prepared], now: float
) -> list[Submitted | Duplicated | Later]:
    """Writes the rows of the jobs of several items. Raises as `submit` does."""
    names = {one.item.pipeline for one in prepared}
    registered = {name: find(tx, name, with_files=False) for name in names}
    return [submit(tx, one, registered[one.item.pipeline], now) for one in prepared]


def submit(
    tx: Transaction, prepared: Prepared, registered: Registered | None, now: float
) -> Submitted | Duplicated | Later:
    """Writes the rows of payload, files, queued job, delivery and item state: all, or none.

    `registered`: the item's pipeline as it is in this transaction; None: it was removed.
    An item that has a job already is not changed. Raises PipelineChangedError.
    """
    item, pipeline = prepared.item, prepared.resolved.pipeline
    if registered is None or registered.definition != prepared.resolved.definition:
        raise PipelineChangedError(f"the pipeline {item.pipeline} was changed or removed")
    state = records.state(tx, item.id)
    if state is None or state.value not in ("claimed", "parked"):
        return Submitted(job=prepared.job)
    known = {"digest": prepared.filled.digest, "work": prepared.work}
    if (before := _before(tx, prepared)) is not None:
        if before.state is ItemState.SUBMITTED:
            return Later(job=before.job)
        records.submit(tx, item.id, before.job, now, duplicate_of=before.id, **known)
        return Duplicated()
    options = item.options
    text = item.text[:MAX_VALUE_CHARACTERS]
    jobs.add(
        tx,
        job=prepared.job,
        payload=item.id,
        name=jobs.check_name(job_name(item.text)),
        pipeline=registered,
        checked=pipeline,
        priority=options.jobs_priority,
        entries={**options.metadata, "Source": "inbox", "Item": text},
        now=now,
    )
    for incomplete in (options.incomplete, prepared.filled.incomplete):
        if incomplete:
            text = (
                f"the input is incomplete: {incomplete}; for a complete one, send all of it again"
            )
            jobs.say(tx, prepared.job, now, text)
    if options.study and (earlier := records.earlier_part(tx, item)) is not None:
        jobs.say(
            tx,
            prepared.job,
            now,
            f"the input is only the later part of a study or series: job {earlier} has the earlier"
            " part (a longer quiet_seconds of the trigger keeps them together)",
        )
    payloads.put_files(tx, item.id, prepared.filled.files)
    jobs.queue(tx, prepared.job, item.id, pipeline, options.parameters)
    folder = result_folder(registered.name, item.text, prepared.job)
    deliveries.add(tx, prepared.job, folder, item.deliver, item.id)
    records.submit(tx, item.id, prepared.job, now, **known)
    return Submitted(job=prepared.job)


def _before(tx: Transaction, prepared: Prepared) -> records.Before | None:
    """Returns the earlier item whose results stand for this one's; None where a job is needed."""
    wish = prepared.item.options.duplicates
    before = None if wish == "run" else records.done_before(tx, prepared.item.id, prepared.work)
    if before is None or before.state not in (ItemState.SUBMITTED, ItemState.DELIVERED):
        return None
    # Removed results cannot be linked, so that the job runs again.
    return None if wish == "link" and before.removed else before
