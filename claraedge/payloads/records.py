"""Database rows of payloads. Each function runs inside a transaction of its caller."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from claraedge import metadata
from claraedge.errors import (
    FileChangedError,
    FileCollisionError,
    FileNotFoundInPayloadError,
    PayloadNotFoundError,
    PayloadStateError,
)
from claraedge.payloads.model import Payload, PayloadFile, PayloadType, etag_of
from claraedge.payloads.names import folders, match
from claraedge.payloads.tree import disposable_blob
from claraedge.store import disposable
from claraedge.store.database import Row, Transaction

#: JobState.STOPPED, which cannot be imported: jobs are a layer above payloads.
_STOPPED = 3


def add(tx: Transaction, payload: str, kind: PayloadType, now: float) -> None:
    """Adds an empty payload. `now` is in Unix seconds."""
    tx.run("add_payload", id=payload, type=int(kind), created=now)


def get(tx: Transaction, payload: str, *, with_files: bool = True) -> Payload:
    """Returns the payload. Raises PayloadNotFoundError."""
    row = refuse_missing(tx, payload)
    files = (
        tuple(of_row(r) for r in tx.rows("payload_files", payload=payload)) if with_files else ()
    )
    return Payload(
        id=payload,
        type=PayloadType(row["type"]),
        sealed=bool(row["sealed"]),
        job=row["job"],
        files=files,
        metadata=metadata.read(tx, payload),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFolders:
    """What the database knows of some names of folders."""

    known: frozenset[str]
    """Payloads that exist."""
    deleted: frozenset[str]
    """Payloads that were deleted."""
    claimed: Mapping[str, bool]
    """Items that became no job -> whether they may still become one."""


def named(tx: Transaction, names: Iterable[str]) -> NamedFolders:
    """Returns which of the names are those of payloads or of items without a payload."""
    present = [name for name in names if name.isascii()]
    rows = tx.rows("payloads_named", names=json.dumps(present))
    others = json.dumps(list(set(present) - {row["id"] for row in rows}))
    return NamedFolders(
        known=frozenset(row["id"] for row in rows if row["deleted"] is None),
        deleted=frozenset(row["id"] for row in rows if row["deleted"] is not None),
        claimed={
            row["id"]: row["state"] in ("claimed", "parked")
            for row in tx.rows("items_named", names=others)
        },
    )


def refuse_missing(tx: Transaction, payload: str) -> Row:
    """Returns the payload's row. Raises PayloadNotFoundError."""
    row = tx.row("payload", id=payload)
    if row is None:
        raise PayloadNotFoundError(f"there is no payload {payload}; it may have been deleted")
    return row


def delete(tx: Transaction, payload: str, now: float) -> None:
    """Deletes a payload unconditionally: from now on it is not found.

    Its files are still on the disk; `Payloads.discard` removes them once this is committed.
    """
    tx.run("drop_payload_files", payload=payload)
    tx.run("payload_deleted", id=payload, now=now)
    metadata.forget(tx, payload)


def refuse_needed(tx: Transaction, payload: str) -> None:
    """Raises PayloadNotFoundError, and PayloadStateError where its job still needs the payload.

    A job needs it until it has stopped and its results, if they are to be delivered, are delivered.
    """
    get(tx, payload, with_files=False)
    row = tx.row("payload", id=payload)
    assert row is not None
    if row["job"] is None:
        return
    if row["job_state"] != _STOPPED:
        raise PayloadStateError(
            f"the payload {payload} belongs to the job {row['job']}, which has not stopped;"
            " cancel the job first, or wait for its end"
        )
    if row["delivery"] not in (None, "done"):
        why = f" ({row['delivery_reason']})" if row["delivery_reason"] else ""
        raise PayloadStateError(
            f"the results of the job {row['job']} in the payload {payload} are not delivered"
            f" yet{why}; wait for that"
        )


def remove_file(tx: Transaction, payload: str, name: str) -> bytes:
    """Removes the file that a client means by a normalised name; returns its blob, which is
    recorded as disposable.

    Raises what `find_file` raises, and PayloadStateError for a sealed payload.
    """
    refuse_sealed(get(tx, payload, with_files=False))
    file = find_file(tx, payload, name)
    tx.run("drop_payload_file", payload=payload, name=file.name)
    disposable.add(tx, [disposable_blob(payload, file.blob)])
    return file.blob


def refuse_job(payload: Payload) -> None:
    """Raises PayloadStateError for a job's payload: only reusable ones have metadata."""
    if payload.type is not PayloadType.REUSABLE:
        raise PayloadStateError(
            f"the payload {payload.id} belongs to the job {payload.job}, and only reusable ones"
            " have metadata; give them to the job"
        )


def find_file(tx: Transaction, payload: str, name: str) -> PayloadFile:
    """Returns the file that a client means by a normalised name.

    Raises PayloadNotFoundError, FileNotFoundInPayloadError, AmbiguousFileNameError.
    """
    get(tx, payload, with_files=False)
    row = tx.row("payload_file", payload=payload, name=name)
    if row is None:
        stored = match((r["name"] for r in tx.each("payload_files", payload=payload)), name)
        row = tx.row("payload_file", payload=payload, name=stored)
    assert row is not None
    return of_row(row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What must be true of a file when it is replaced. By default it may exist or not."""

    absent: bool = False
    """The file must not exist."""
    etag: str = ""
    """The file must exist, with this ETag; `*`: with any. Empty: no condition."""


ANY = Condition()


def refuse_changed(tx: Transaction, payload: str, name: str, condition: Condition) -> None:
    """Raises FileChangedError where a stored file does not meet the condition."""
    if not condition.absent and not condition.etag:
        return
    row = tx.row("payload_file", payload=payload, name=name)
    if condition.absent and row is not None:
        raise FileChangedError(
            f"the payload {payload} has a file {name!r} already; leave out the condition to"
            " replace it, or choose another name"
        )
    if not condition.etag:
        return
    if row is None:
        raise FileChangedError(
            f"the payload {payload} has no file {name!r} that could be replaced; leave out the"
            " condition to store it"
        )
    if condition.etag not in ("*", etag_of(payload, of_row(row))):
        raise FileChangedError(
            f"the file {name!r} of the payload {payload} was replaced meanwhile; ask for it again,"
            " and repeat the request with its new ETag"
        )


def entries(tx: Transaction, payload: str, folder: str, after: str) -> Iterator[Row]:
    """Yields a row for each file and folder that lies in a folder itself, after that of `after`.

    `folder` ends with a slash, and is empty for the root. The row of a folder is its first file;
    `entry` tells both apart. One row is read for each.
    """
    end = f"{folder[:-1]}0" if folder else "\U0010ffff"  # 0 is the character after a slash
    while True:
        if slash := after.find("/", len(folder)) + 1:
            row = tx.row(
                "payload_file_from", payload=payload, name=f"{after[: slash - 1]}0", end=end
            )
        else:
            row = tx.row("payload_file_after", payload=payload, name=after, end=end)
        if row is None:
            return
        yield row
        after = row["name"]


def find_entry(tx: Transaction, payload: str, name: str, *, folder: bool) -> PayloadFile | None:
    """Returns the file that a client means by a normalised name; None for a folder of that name.

    `folder`: only a folder is meant; the root folder, whose name is empty, always exists. Raises
    what `find_file` raises, and FileNotFoundInPayloadError if there is no such folder.
    """
    refuse_missing(tx, payload)
    if not name:
        return None
    row = None if folder else tx.row("payload_file", payload=payload, name=name)
    if row is not None:
        return of_row(row)
    if tx.row("payload_files_below", payload=payload, folder=name) is not None:
        return None
    if folder:
        raise FileNotFoundInPayloadError(
            f"the payload has no folder {name!r}; its Details list the names of its files"
        )
    return find_file(tx, payload, name)


def put_files(tx: Transaction, payload: str, files: Iterable[PayloadFile]) -> list[bytes]:
    """Adds files, or replaces those of the same name; returns the blobs that no row names any more,
    which are recorded as disposable.

    Raises FileCollisionError where a name would be both a file and a folder.
    """
    replaced = []
    checked: set[str] = set()
    for file in files:
        for folder in folders(file.name):
            if folder in checked:
                continue
            checked.add(folder)
            if tx.row("payload_file", payload=payload, name=folder) is not None:
                raise FileCollisionError(
                    f"{file.name!r} cannot be stored in payload {payload}:"
                    f" {folder!r} is a file there; rename one of them"
                )
        below = tx.row("payload_files_below", payload=payload, folder=file.name)
        if below is not None:
            raise FileCollisionError(
                f"{file.name!r} cannot be stored in payload {payload}: it is a folder there,"
                f" with {below['name']!r} in it; rename one of them"
            )
        old = tx.row("payload_file", payload=payload, name=file.name)
        if old is not None:
            replaced.append(bytes(old["blob"]))
        tx.run(
            "put_payload_file",
            payload=payload,
            name=file.name,
            size=file.size,
            mode=file.mode,
            blob=file.blob,
            sha256=file.sha256,
        )
    disposable.add(tx, [disposable_blob(payload, blob) for blob in replaced])
    return replaced


def refuse_sealed(payload: Payload) -> None:
    """Raises PayloadStateError where clients may not change the payload any more."""
    if payload.sealed:
        raise PayloadStateError(
            f"the payload {payload.id} accepts no changes: its job {payload.job} was started or"
            " cancelled; create a new job for other inputs"
        )


def of_row(row: Row) -> PayloadFile:
    """Returns the file of a row."""
    return PayloadFile(
        name=row["name"],
        size=row["size"],
        mode=row["mode"],
        blob=bytes(row["blob"]),
        sha256=row["sha256"],
    )
