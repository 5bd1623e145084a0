"""Adds files of this machine to a payload by links: a crash neither loses nor doubles one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from claraedge.blocking import in_thread
from claraedge.errors import PayloadNotFoundError
from claraedge.fs import files
from claraedge.payloads.model import PayloadFile
from claraedge.payloads.records import ANY
from claraedge.payloads.tree import PayloadTree, disposable_blob
from claraedge.payloads.uploads import forget, record
from claraedge.store import disposable
from claraedge.store.database import Database, Transaction

#: Called in the transaction that makes a file visible.
Also = Callable[[Transaction, PayloadFile], None]
_MODE = 0o644


async def add_link(
    database: Database,
    tree: PayloadTree,
    changing: Callable[[str], AbstractContextManager[None]],
    payload: str,
    source: Path,
    name: str,
    *,
    key: str,
    also: Also,
) -> PayloadFile:
    """Adds a file under `name`, or a name like it that is free; the source stays.

    `key`: the name of its blob. Raises PayloadNotFoundError, PayloadStateError, OSError, and what
    `also` raises.
    """
    waiting = disposable_blob(payload, b"blobs/" + key.encode())
    await database.write(lambda tx: disposable.add(tx, [waiting]))

    def store() -> tuple[bytes, int]:
        files.sync_file(source)
        tree.discard(payload, [b"blobs/" + key.encode()])  # of an attempt that met an error
        blob = tree.adopt(payload, source, mode=_MODE, keep=True, name=key)
        tree.sync_blobs(payload)
        return blob, source.stat().st_size

    def work(tx: Transaction) -> PayloadFile:
        file = PayloadFile(name=_free(tx, payload, name), size=size, mode=_MODE, blob=blob)
        record(tx, payload, waiting, [file], ANY)
        also(tx, file)
        return file

    try:
        blob, size = await in_thread(store)
    except FileNotFoundError as error:
        if tree.folder(payload).is_dir():
            raise
        await forget(database, [waiting])
        raise PayloadNotFoundError(f"there is no payload {payload}; it was deleted") from error
    with changing(payload):
        return await database.write(work)


def _free(tx: Transaction, payload: str, name: str) -> str:
    """Returns a name that no file of the payload has."""
    stem, dot, ending = name.partition(".")
    found, number = name, 1
    while tx.row("payload_file", payload=payload, name=found) is not None:
        number += 1
        found = f"{stem}-{number}{dot}{ending}"
    return found
