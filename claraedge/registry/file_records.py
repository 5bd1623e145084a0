"""Rows of pipelines that files of `pipelines.d` define."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claraedge.pipelines.model import DefinitionFile
from claraedge.registry.pipelines import store_definition
from claraedge.store.database import Transaction

_NAMESPACE = uuid.UUID("4b7a2a5e-96cf-4c43-9d5c-5f0a3a4a8f0e")
"""Never changed: ids of pipelines rest on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfFile:
    """A pipeline that a file defines, or defined."""

    id: str
    name: str
    source: str
    """The file's path in the folder."""
    definition: str
    """Digest of its files."""
    gone: bool
    """Its file is not there any more: it is none for new jobs."""


def id_of(source: str) -> str:
    """The id of the pipeline of a file: the same on every device and after every return."""
    return uuid.uuid5(_NAMESPACE, source).hex


def known(tx: Transaction) -> Mapping[str, OfFile]:
    """All, by their source, in the order of their creation."""
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

    False, and nothing is changed: a client gave the id to a pipeline of its own.
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
    """Takes the pipeline of a file that is gone away from new jobs. Its metadata stay."""
    tx.run("remove_pipeline", id=id_of(source), now=now)
