"""`claraedge repair state`: builds a new database from the readable parts of a damaged one.

Nothing is deleted: the damaged files are moved to a separate folder, together with files that the
new database does not know, because the daemon would remove these as orphans.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claraedge.appliance.lock import FileLock
from claraedge.appliance.state import prepare_state
from claraedge.clock import SystemClock, moment
from claraedge.config import load_config
from claraedge.errors import BrokenDiskError, DamagedStateError
from claraedge.fs import files
from claraedge.jobs import records
from claraedge.jobs.model import JobStatus, OperatorStatus
from claraedge.store.database import Database, Transaction
from claraedge.store.queries import load_queries
from claraedge.store.salvage import Table, salvage
from claraedge.store.soundness import wal

#: Tables that must be complete: otherwise it is unknown what an unfinished job still has to do.
_OF_JOBS = frozenset(
    ("definitions", "payloads", "payload_files", "jobs", "operators", "deliveries", "inbox_items")
)
_JOBLESS = (
    "SELECT id FROM payloads WHERE type = 1 AND deleted IS NULL"
    " AND id NOT IN (SELECT payload FROM jobs)"
)
_ENDED = (
    "the state was damaged and repaired, and parts of this job may be lost; send its files again"
    " (`claraedge retry inbox` does so for a dropped file)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """The result of a repair."""

    damage: str
    put_aside: Path
    """The folder of the damaged database and of files that the new one does not know."""
    tables: Sequence[Table]
    lost_jobs: Sequence[str]
    """Ids of jobs whose rows are lost, known from other rows and folders."""
    jobless: Sequence[str]
    """Ids of payloads whose jobs are lost; not of reusable ones, which need no job."""
    ended_jobs: Sequence[str]
    """Ids of unfinished jobs that are FAULTED now."""
    unknown: Sequence[str]
    """Other files and folders that were put aside, relative to the state."""


def repair(config: Path | None, given: Mapping[str, str]) -> Repaired | None:
    """Repairs the state of a configuration; returns None if it is sound.

    The daemon must not run. Raises AlreadyRunningError if it does, and StateFolderError if the
    state cannot be used for a reason other than damage.
    """
    state = load_config(config, os.environ, given).state_dir
    prepare_state(state)
    path = state / "claraedge.db"
    damage = asyncio.run(_damage(path))
    if damage is None:
        return None
    lock = FileLock(path.with_suffix(".lock"))
    lock.acquire()
    try:
        return _repair(state, path, damage)
    finally:
        lock.release()


async def _damage(path: Path) -> str | None:
    try:
        async with Database(path):
            return None
    except (BrokenDiskError, DamagedStateError) as error:
        return str(error).partition(". Nothing was changed")[0]


def _repair(state: Path, path: Path, damage: str) -> Repaired:
    aside = state / time.strftime("damaged-%Y%m%d-%H%M%S")
    files.make_folders(aside)
    for old in (path, wal(path)):
        if old.exists():  # prefers a hard link: a failing disk may not return the bytes
            files.link_or_copy(old, aside / old.name)
    files.sync_folder(aside)
    new = aside / "repaired.db"
    tables = salvage(path, new)
    with contextlib.closing(sqlite3.connect(new)) as connection:
        connection.isolation_level = None
        connection.row_factory = sqlite3.Row
        tx = Transaction(connection, load_queries())
        log_lost = damage.startswith(str(wal(path)))
        unfinished = log_lost or any(t.name in _OF_JOBS and not t.whole for t in tables)
        ended = _end_unfinished(connection, tx) if unfinished else []
        lost = sorted(_mentioned(connection, state) - _ids(connection, "SELECT id FROM jobs"))
        jobs_whole = all(t.whole for t in tables if t.name == "jobs")
        jobless = [] if jobs_whole else sorted(_ids(connection, _JOBLESS))
        unknown = list(_put_aside(state, aside, connection))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _replace(path, new)
    return Repaired(
        damage=damage,
        put_aside=aside,
        tables=tables,
        lost_jobs=lost,
        jobless=jobless,
        ended_jobs=ended,
        unknown=unknown,
    )


def _replace(path: Path, new: Path) -> None:
    """Moves the new database into place; SQLite would use an old log next to it as its own."""
    for old in (wal(path), path.with_name(f"{path.name}-shm")):
        old.unlink(missing_ok=True)
    files.sync_folder(path.parent)
    files.sync_file(new)
    new.rename(path)
    files.sync_folder(path.parent)


def _end_unfinished(connection: sqlite3.Connection, tx: Transaction) -> list[str]:
    """Ends the jobs that have not stopped, because none may run on a part of its input."""
    ended = sorted(_ids(connection, "SELECT id FROM jobs WHERE state < 3"))
    clock = SystemClock()
    connection.execute("BEGIN")
    for job in ended:
        at = moment(clock)
        for operator in records.get(tx, job).operators:
            if operator.status in (OperatorStatus.PENDING, OperatorStatus.RUNNING):
                records.end_operator(tx, job, operator.name, OperatorStatus.FAULTED, None, at)
        records.say(tx, job, at.now, _ENDED)
        records.stop(tx, job, JobStatus.FAULTED, at.now)
    connection.execute("COMMIT")
    return ended


def _ids(connection: sqlite3.Connection, query: str) -> set[str]:
    return {str(row[0]) for row in connection.execute(query)}


def _mentioned(connection: sqlite3.Connection, state: Path) -> set[str]:
    """Returns ids of jobs that are known from events and folders, which cannot exist without them.

    Jobs that were removed are excluded.
    """
    mentioned = _ids(connection, "SELECT DISTINCT job FROM events WHERE job IS NOT NULL")
    removed = _ids(
        connection, "SELECT DISTINCT job FROM events WHERE json_extract(body, '$.removed')"
    )
    with contextlib.suppress(FileNotFoundError):
        mentioned |= {entry.name for entry in os.scandir(state / "jobs")}
    return mentioned - removed


def _put_aside(state: Path, aside: Path, connection: sqlite3.Connection) -> Iterator[str]:
    """Moves files that no row names out of the state; yields their paths.

    Otherwise the daemon would remove them.
    """
    payloads = _ids(connection, "SELECT id FROM payloads WHERE deleted IS NULL")
    yield from _move(state, aside, "payloads", payloads)
    for payload in sorted(payloads):
        rows = connection.execute("SELECT blob FROM payload_files WHERE payload = ?", (payload,))
        blobs = {Path(os.fsdecode(row[0])).name for row in rows}
        yield from _move(state, aside, f"payloads/{payload}/blobs", blobs)
    rows = connection.execute("SELECT id, generation FROM models")
    models = {row[0]: str(row[1]) for row in rows}
    yield from _move(state, aside, "models", {*models, "staging"})
    for model, generation in models.items():
        yield from _move(state, aside, f"models/{model}", {generation})


def _move(state: Path, aside: Path, folder: str, known: Container[str]) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(entry.name for entry in os.scandir(state / folder)):
            if name not in known:
                target = aside / "unknown" / folder
                files.make_folders(target)
                (state / folder / name).rename(target / name)
                files.sync_folder(target)
                yield f"{folder}/{name}"
