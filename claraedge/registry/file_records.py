"""Database rows of pipelines that files of `pipelines.d` define."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claraedge.pipelines.model import DefinitionFile
from claraedge.registry.pipelines import store_definition
from claraedge.store.database import Transaction

_NAMESPACE = uuid.UUID("4b7a2a5e-96cf-4c43-9d5c-5f0a3a4a8f0e")
"""Must never change: ids of pipelines are derived from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfFile:
    """A pipeline that a file defines, or used to define."""

    id: str
    name: str
    source: str
    """The path of the file in the folder."""
    definition: str
    """The digest of its files."""
    gone: bool
    """Whether its file no longer exists, so that new jobs cannot use it."""


def id_of(source: str) -> str:
    """Returns the id of the pipeline of a file: the same on every device, and again when a file
    returns.
    """
    return uuid.uuid5(_NAMESPACE, source).hex


def known(tx: Transaction) -> Mapping[str, OfFile]:
    """Returns all of them by their source, in the order of their creation."""
    return {
        row["source"]: OfFile(
            id=row["id"],
            name=row["name"],
            source=row["source"],
            definition=row["definition"],
            gone=row["removed"] is not None,
        )
        for row in tx.rows("file_pipelines")
    }


def put(
    tx: Transaction, source: str, name: str, definition: Sequence[DefinitionFile], now: float
) -> bool:
    """Registers, changes or enables the pipeline of a file.

    Returns False, and changes nothing, where a client gave the id to a pipeline of its own.
    """
    pipeline = id_of(source)
    before = tx.row("pipeline_ever", id=pipeline)
    if before is not None and before["source"] is None:
        return False
    digest = store_definition(tx, definition)
    tx.run(
        "put_file_pipeline",
        id=pipeline,
        name=name,
        name_folded=name.casefold(),
        definition=digest,
        now=now,
        source=source,
    )
    if before is not None and before["definition"] != digest:
        tx.run("drop_unused_definition", digest=before["definition"])
    return True


def disable(tx: Transaction, source: str, now: float) -> None:
    """Disables the pipeline of a missing file for new jobs. Its metadata stay."""
    tx.run("remove_pipeline", id=id_of(source), now=now)
