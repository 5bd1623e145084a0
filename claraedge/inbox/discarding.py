"""Removes failed items for good, as a person asked, with the original in their failure."""

from __future__ import annotations

import asyncio
from pathlib import Path

from claraedge.delivery.expiry import Expiry
from claraedge.errors import ItemNotRemovedError
from claraedge.inbox import records
from claraedge.inbox.model import Item, ItemState
from claraedge.store.database import Database


class Discards:
    """Removes the failures of items, each in its own turn with its retries."""

    def __init__(self, database: Database, expiry: Expiry, turn: asyncio.Lock) -> None:
        """`turn`: the lock that retries have as well."""
        self._database = database
        self._expiry = expiry
        self._turn = turn

    async def discard(self, found: Item) -> None:
        """Removes the failure of an item; does nothing where it was removed before.

        Raises ItemNotRemovedError, and RemovalPendingError if the removal has only begun.
        """
        if found.state is not ItemState.FAILED:
            raise ItemNotRemovedError(
                f"{found.name} ({found.id}) is {found.state.value}, not failed: {_instead(found)}"
            )
        async with self._turn:
            now = await self._database.read(lambda tx: records.item(tx, found.id))
            if now is None or now.removed is not None or now.result_path is None:
                return
            if now.reason != found.reason:  # a retry came first
                raise ItemNotRemovedError(
                    f"{found.name} ({found.id}) was tried again at the same time: its original is"
                    " in the inbox, as a new item; what is left of the failure goes by another call"
                )
            path = Path(now.result_path)
            await self._expiry.discard(path)
        await self._expiry.remove_discarded(path)


def _instead(item: Item) -> str:
    match item.state:
        case ItemState.DELIVERED:
            return (
                "its results are removed after outbox.keep_days, or remove their folder"
                f" {item.result_path} yourself"
            )
        case ItemState.SUBMITTED:
            return f"cancel its job {item.job} first (`claraedge cancel job {item.job}`)"
        case ItemState.CLAIMED:
            return "wait until it has a job or has failed"
        case ItemState.PARKED if item.reason:
            return (
                f"it waits ({item.reason}); remove that cause, or remove the file from"
                f" {item.folder} if it still lies there"
            )
        case _:
            return f"it lies in {item.folder}; remove it there, or move it to another place"
