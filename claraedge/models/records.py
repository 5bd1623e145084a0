"""Database rows of models. Each function runs inside a transaction of its caller."""

from __future__ import annotations

from collections.abc import Mapping

from claraedge import metadata
from claraedge.errors import ModelNotFoundError
from claraedge.models.model import Model, ModelType
from claraedge.store.database import Row, Transaction


def get(tx: Transaction, model: str) -> Model:
    """Returns the model of an id. Raises ModelNotFoundError."""
    row = tx.row("model", id=model)
    if row is None:
        raise ModelNotFoundError(
            f"there is no model {model}; `claraedge list models` shows those there are"
        )
    return of_row(tx, row)


def find(tx: Transaction, name: str) -> Model | None:
    """Returns the model of exactly this name; None where there is none."""
    row = tx.row("model_of_name", name=name)
    return None if row is None else of_row(tx, row)


def put(tx: Transaction, model: Model, entries: Mapping[str, str], now: float) -> Model:
    """Adds a model, or gives an existing one a new version, type and metadata."""
    tx.run(
        "put_model",
        id=model.id,
        name=model.name,
        type=int(model.type),
        generation=model.generation,
        created=now,
    )
    metadata.forget(tx, model.id)
    metadata.add(tx, model.id, entries)
    return get(tx, model.id)


def drop(tx: Transaction, model: str) -> Model:
    """Removes a model, also from every catalog and instance; returns the model as it was.

    Raises ModelNotFoundError.
    """
    found = get(tx, model)
    tx.run("leave_model_sets", model=model)
    tx.run("drop_model", id=model)
    metadata.forget(tx, model)
    return found


def of_row(tx: Transaction, row: Row) -> Model:
    """Returns the model of a row, with its metadata."""
    return Model(
        id=row["id"],
        name=row["name"],
        type=ModelType(row["type"]),
        generation=row["generation"],
        metadata=metadata.read(tx, row["id"]),
    )
