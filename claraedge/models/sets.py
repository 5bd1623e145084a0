"""Catalogs and instances: sets of models that have an id."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from claraedge.clock import Clock
from claraedge.errors import CatalogNotFoundError, InstanceNotFoundError
from claraedge.ids import NewId
from claraedge.models import records
from claraedge.models.model import ModelSet, SetKind
from claraedge.store.database import Database, Transaction
from claraedge.store.pages import Listing, pages

_MISSING = {SetKind.CATALOG: CatalogNotFoundError, SetKind.INSTANCE: InstanceNotFoundError}


class ModelSets:
    """All sets of one kind. An id of the other kind is treated as unknown.

    Methods with a `set_id` raise CatalogNotFoundError or InstanceNotFoundError for an unknown one.
    """

    def __init__(self, database: Database, clock: Clock, new_id: NewId, kind: SetKind) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._kind = kind

    async def create(self) -> str:
        """Creates an empty set; returns its id."""
        set_id = self._new_id()
        await self._database.write(
            lambda tx: tx.run(
                "add_model_set", id=set_id, kind=self._kind.value, created=self._clock.now()
            )
        )
        return set_id

    async def delete(self, set_id: str) -> None:
        """Removes a set; its models stay."""

        def work(tx: Transaction) -> None:
            self._check(tx, set_id)
            tx.run("clear_model_set", id=set_id)
            tx.run("drop_model_set", id=set_id)

        await self._database.write(work)

    async def each(self) -> AsyncGenerator[ModelSet, None]:
        """Yields all sets with their models, in the order of their creation."""
        listing = Listing(
            rows=lambda tx, after: tx.each("model_sets", after=after, kind=self._kind.value),
            key="sequence",
            first=0,
            read=lambda tx, row: _read(tx, row["id"]),
            cost=ModelSet.memory,
        )
        async with aclosing(pages(self._database, listing)) as found:
            async for one in found:
                yield one

    async def read(self, set_id: str) -> ModelSet:
        """Returns a set with its models."""

        def work(tx: Transaction) -> ModelSet:
            self._check(tx, set_id)
            return _read(tx, set_id)

        return await self._database.read(work)

    async def update(self, set_id: str, models: Iterable[str]) -> None:
        """Replaces the models of a set by these, each once. An unknown model changes nothing.

        Raises ModelNotFoundError.
        """
        wanted = list(dict.fromkeys(models))

        def work(tx: Transaction) -> None:
            self._check(tx, set_id)
            tx.run("clear_model_set", id=set_id)
            for position, model in enumerate(wanted):
                records.get(tx, model)
                tx.run("add_model_set_member", id=set_id, model=model, position=position)

        await self._database.write(work)

    def _check(self, tx: Transaction, set_id: str) -> None:
        if tx.row("model_set", id=set_id, kind=self._kind.value) is None:
            raise _MISSING[self._kind](
                f"there is no {self._kind} {set_id}; it may have been deleted"
            )


def _read(tx: Transaction, set_id: str) -> ModelSet:
    rows = tx.rows("model_set_members", id=set_id)
    return ModelSet(id=set_id, models=tuple(records.of_row(tx, row) for row in rows))
