"""Fills the database of a state folder as a daemon would have, without running a job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.clock import Moment, SystemClock
from claraedge.delivery import records as deliveries
from claraedge.ids import new_id
from claraedge.inbox import records as items
from claraedge.inbox.intake.definitions import Definitions
from claraedge.inbox.intake.submit import Filled, Prepared, Resolved, submit
from claraedge.inbox.model import Claimed, ItemOptions
from claraedge.jobs import records
from claraedge.jobs.model import JobStatus, Priority
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.tree import PayloadTree
from claraedge.pipelines.checks.device import Device
from claraedge.pipelines.model import DefinitionFile, Pipeline
from claraedge.registry import pipelines as registry
from claraedge.registry.pipelines import Pipelines
from claraedge.store.database import Database, Transaction

_BATCH = 500
_EVENTS = 100_000
_SECONDS = 10.0
_SIZE = 4096
_DEFINITION = """\
api-version: 0.4.0
name: books
operators:
- name: only
  container: {image: wait, tag: "1"}
  input: [{path: /input}]
  output: [{path: /output}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The jobs of a database, in the order of their creation."""

    jobs: Sequence[str]
    pipeline: str

    @property
    def some(self) -> str:
        """A job in the middle, which has stopped."""
        return self.jobs[len(self.jobs) // 3]


@dataclass(frozen=True, slots=True)
class _Source:
    registered: registry.Registered
    checked: Pipeline
    resolved: Resolved


async def fill(state: Path, count: int, *, live: int = 0, folders: bool = False) -> Books:
    """Fills the database of `state` with `count` jobs, half of them from the inbox.

    The last `live` of them are queued. All others have stopped, one in a hundred by a fault, and
    their results are delivered. `folders`: also creates the folders of their payloads.
    """
    await asyncio.to_thread(state.mkdir, parents=True, exist_ok=True)
    jobs: list[str] = []
    payloads: list[str] = []
    begin = time.time() - _SECONDS * count
    async with Database(state / "claraedge.db") as database:
        source = await _registered(database)
        for start in range(0, count, _BATCH):
            numbers = range(start, min(start + _BATCH, count))

            def work(tx: Transaction, numbers: range = numbers) -> list[tuple[str, str]]:
                made = []
                for number in numbers:
                    at = min(begin + _SECONDS * number, time.time() - 3600)
                    job, payload = _add(tx, source, number, at)
                    if number < count - live:
                        _end(tx, job, payload, number, at)
                    made.append((job, payload))
                tx.run("prune_events", before=0.0, keep=_EVENTS)
                return made

            made = await database.write(work)
            jobs += [job for job, _ in made]
            payloads += [payload for _, payload in made]
    if folders:
        await asyncio.to_thread(_make_folders, PayloadTree(state), payloads)
    return Books(jobs=jobs, pipeline=source.registered.id)


def _make_folders(tree: PayloadTree, payloads: Sequence[str]) -> None:
    for payload in payloads:
        blobs = tree.folder(payload) / "blobs"
        blobs.mkdir(parents=True)
        (blobs / payload).write_bytes(bytes(_SIZE))


async def _registered(database: Database) -> _Source:
    device = Device(cores=64, memory=1 << 20, gpus=8)
    pipelines = Pipelines(database, SystemClock(), new_id, lambda: device)
    file = DefinitionFile(path="p.yaml", content=_DEFINITION)
    created = await pipelines.create([file], {}, None)
    registered = await database.read(lambda tx: registry.get(tx, created.id))
    found = await Definitions(database).find(created.id, (), {})
    assert found.resolved is not None, found.problem
    return _Source(registered, registry.check_definition(registered.files), found.resolved)


def _add(tx: Transaction, source: _Source, number: int, at: float) -> tuple[str, str]:
    """Adds one queued job; returns its id and that of its payload."""
    job, payload = new_id(), new_id()
    file = PayloadFile(
        name=f"input/scan-{number}.dcm", size=_SIZE, mode=0o644, blob=b"blobs/" + payload.encode()
    )
    if number % 2:
        item = Claimed(
            id=payload,
            folder=Path("/inbox/books"),
            name=b"scan-%d.dcm" % number,
            pipeline=source.registered.id,
            deliver=(),
            options=ItemOptions(),
            fingerprint="f" * 40,
            content="c" * 40,
            size=_SIZE,
            first_seen=at,
        )
        filled = Filled(files=[file], digest=f"{number:064x}")
        items.claim(tx, item, at)
        prepared = Prepared(item=item, job=job, filled=filled, resolved=source.resolved)
        submit(tx, prepared, source.registered, at)
        return job, payload
    records.add(
        tx,
        job=job,
        payload=payload,
        name=f"scan-{number}",
        pipeline=source.registered,
        checked=source.checked,
        priority=Priority.NORMAL,
        entries={"Patient": f"patient-{number}"},
        now=at,
    )
    records.start(tx, records.get(tx, job), source.resolved.pipeline, {})
    deliveries.add(tx, job, f"books/scan-{number}-{job[:8]}")
    return job, payload


def _end(tx: Transaction, job: str, payload: str, number: int, at: float) -> None:
    moment = Moment(now=at + 1, elapsed=at + 1)
    records.run_operator(
        tx, job, "only", attempt=1, image="image", container=new_id(), boot="boot", at=moment
    )
    output = PayloadFile(
        name="operators/only/1/out.bin", size=_SIZE, mode=0o644, blob=b"operators/only/1/out.bin"
    )
    records.complete(tx, records.get(tx, job), "only", 0, [output], moment)
    faulted = number % 100 == 0
    records.stop(tx, job, JobStatus.FAULTED if faulted else JobStatus.HEALTHY, at + 2)
    delivery = deliveries.get(tx, job)
    assert delivery is not None
    failure = "it failed" if faulted else None
    deliveries.done(tx, delivery, f"/outbox/{delivery.folder}", at + 3, failure, size=_SIZE)
    tx.run("artifacts_measured", job=job, payload_size=2 * _SIZE, log_size=100)
